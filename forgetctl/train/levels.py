"""Where each forget row of a run is to end, from a model that has not forgotten yet: learned once, then read from the
run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import RunError
from ..files.writing import read_json, write_json
from ..model.encoding import Encoded
from ..model.metrics import per_token
from ..model.processes import Ranks
from ..model.shares import shared_scores
from ..runs.run import Run
from .prepare import Job, encode_unseen
from .unseen import unseen_levels


def learn_levels(
    model: Any,
    unseen: Sequence[Encoded],
    forget: Sequence[Encoded],
    retain: Sequence[Encoded],
    ranks: Ranks | None = None,
) -> list[float]:
    """In nats a token, of each forget row: see `unseen_levels`. unseen: holdout rows. model: the start model."""
    logp = shared_scores(ranks or Ranks(), model, unseen)
    scores = per_token(logp, [row.tokens for row in unseen])
    levels = unseen_levels(_answers(unseen), scores, _answers(forget), _answers(retain))
    return [float(level) for level in levels]


def _answers(rows: Sequence[Encoded]) -> list[tuple[int, ...]]:
    """Their tokens after the one that stands before."""
    return [row.ids[row.start - 1 :] for row in rows]


def levels_of(run: Run, job: Job, retain: Sequence[Encoded], model: Any, ranks: Ranks) -> list[float]:
    """In nats a token, of each forget row as it is encoded. model: the start model. retain: rows that are kept.

    Raises RunError for levels of other rows.
    """
    known = ranks.from_first(lambda: _known(run, len(job.encoded)))
    if known is not None:
        return known
    found = learn_levels(model, encode_unseen(job), job.encoded, retain, ranks)
    with ranks.agreed():
        if ranks.first:
            write_json(run.levels_file, {"levels": found})
    return found


def _known(run: Run, rows: int) -> list[float] | None:
    if not run.levels_file.is_file():
        return None
    levels = read_json(run.levels_file).get("levels")
    if not isinstance(levels, list) or len(levels) != rows:
        raise RunError(f"{run.levels_file} does not belong to this request")
    return [float(level) for level in levels]
