"""Where each forget row of a run is to end: learned once, then read from the run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import RunError
from ..files.writing import read_json, write_json
from ..model.encoding import Encoded
from ..model.processes import Ranks
from ..runs.run import Run
from .levels import learn_levels
from .prepare import Job, encode_unseen


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
