"""Where rows would lie for a model that never saw them, learned from holdout rows: the levels that forgetting ends at.

A model that is driven away from a row does not know where to stop. Rows that it never saw show where: their
log-probabilities a token have a distribution, and which of them lie high in it shows in part in the answers
themselves, from how usual their tokens are after one another. Nothing here sees what a verdict is reached from.
They are learned once, from the model that has not forgotten yet, and then read from the run.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import RunError
from ..files.writing import read_json, write_json
from ..model.encoding import Encoded
from ..model.metrics import per_token
from ..model.processes import Ranks
from ..model.protocol import Model
from ..model.shares import shared_scores
from ..model.usage import Answer, Usage, answer_of
from ..rows.holdout import FEWEST
from ..runs.run import Run

Floats = NDArray[np.float64]


def unseen_levels(
    holdout: Sequence[Encoded], scores: ArrayLike, rows: Sequence[Encoded], corpus: Iterable[Answer]
) -> Floats:
    """The log-probability a token, in nats, at which each of `rows` would lie had the model never seen it, (n,).

    scores: (m,) nats a token, the start model's of the `holdout` rows. corpus: answers of rows that are kept.
    A line is fitted to the holdout rows, from the means of `Usage.logp` over their scored tokens and of its square. It
    ranks `rows`, and each gets the holdout's quantile of its rank, moved by as much as the line expects `rows` to
    differ from the holdout on average. So the levels are distributed as unseen rows are, and rows that read easily lie
    high.
    Raises ValueError for fewer than 20 holdout rows, or scores that are not finite.
    """
    unseen = np.asarray(scores, dtype=float)
    if len(holdout) < FEWEST or unseen.shape != (len(holdout),):
        raise ValueError(f"{len(holdout)} holdout rows, {FEWEST} are needed")
    if not np.isfinite(unseen).all():
        raise ValueError("a score of the holdout is not finite")
    usage = Usage(corpus)
    known, asked = _features(usage, holdout), _features(usage, rows)
    line = np.linalg.lstsq(known, unseen, rcond=None)[0]
    expected = asked @ line
    ranks = expected.argsort(kind="stable").argsort(kind="stable")
    levels: Floats = np.quantile(unseen, (ranks + 0.5) / len(rows)) + expected.mean() - (known @ line).mean()
    return levels


def _features(usage: Usage, rows: Sequence[Encoded]) -> Floats:
    """(n, 3): one, the mean of the scored tokens' usage, and that of its square."""
    logps = [usage.logp(answer_of(row))[row.places] for row in rows]
    return np.array([(1.0, usual.mean(), (usual**2).mean()) for usual in logps])


def learn_levels(
    model: Model,
    unseen: Sequence[Encoded],
    forget: Sequence[Encoded],
    retain: Sequence[Encoded],
    ranks: Ranks | None = None,
) -> list[float]:
    """In nats a token, of each forget row: see `unseen_levels`. unseen: holdout rows. model: the start model."""
    logp = shared_scores(ranks or Ranks(), model, unseen)
    scores = per_token(logp, [row.tokens for row in unseen])
    levels = unseen_levels(unseen, scores, forget, map(answer_of, retain))
    return [float(level) for level in levels]


def levels_of(
    run: Run,
    model: Model,
    unseen: Sequence[Encoded],
    forget: Sequence[Encoded],
    retain: Sequence[Encoded],
    ranks: Ranks,
) -> list[float]:
    """The same, read from the run where they were learned before. Raises RunError for levels of other rows."""
    known = ranks.from_first(lambda: _known(run, len(forget)))
    if known is not None:
        return known
    levels = learn_levels(model, unseen, forget, retain, ranks)
    with ranks.agreed():
        if ranks.first:
            write_json(run.levels_file, {"levels": levels})
    return levels


def _known(run: Run, rows: int) -> list[float] | None:
    if not run.levels_file.is_file():
        return None
    levels = read_json(run.levels_file).get("levels")
    if not isinstance(levels, list) or len(levels) != rows:
        raise RunError(f"{run.levels_file} does not belong to this request")
    return [float(level) for level in levels]
