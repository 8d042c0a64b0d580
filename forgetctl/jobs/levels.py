"""Where each forget row is to end, learned from the start model and the holdout rows that calibrate a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..engine.encoding import Encoded
from ..engine.ranks import Ranks
from ..engine.shares import shared_scores
from ..errors import RunError
from ..files import read_json, write_json
from ..maths.unseen import unseen_levels
from ..run import Run
from .prepare import Job, encode


def levels_of(run: Run, job: Job, retain: Sequence[Encoded], model: Any, ranks: Ranks) -> list[float]:
    """In nats a token, of each forget row as it is encoded: computed once, then read from the run.

    model: the start model. retain: rows whose answers show what is usual. Raises RunError for levels of other rows.
    """
    known = ranks.from_first(lambda: _known(run, len(job.encoded)))
    if known is not None:
        return known
    found = learn_levels(job, retain, model, ranks)
    with ranks.agreed():
        if ranks.first:
            write_json(run.levels_file, {"levels": found})
    return found


def learn_levels(job: Job, retain: Sequence[Encoded], model: Any, ranks: Ranks) -> list[float]:
    """The same, computed now."""
    unseen = encode(job, job.unseen, job.options.holdout or Path())
    logp = shared_scores(ranks, model, unseen)
    per_token = [value / row.tokens for value, row in zip(logp, unseen, strict=True)]
    levels = unseen_levels(_answers(unseen), per_token, _answers(job.encoded), _answers(retain))
    return [float(level) for level in levels]


def _answers(rows: Sequence[Encoded]) -> list[tuple[int, ...]]:
    """Their tokens after the one that stands before."""
    return [row.ids[row.start - 1 :] for row in rows]


def _known(run: Run, rows: int) -> list[float] | None:
    if not run.levels_file.is_file():
        return None
    levels = read_json(run.levels_file).get("levels")
    if not isinstance(levels, list) or len(levels) != rows:
        raise RunError(f"{run.levels_file} does not belong to this request")
    return [float(level) for level in levels]
