"""How a run is computed on this machine: chosen once, within what the owner allows, and kept with the run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ..errors import RunError
from ..losses.methods import WeightedSum
from ..model.encoding import Encoded
from ..model.processes import Ranks
from ..runs.run import Run
from .estimate import plan
from .fit import Fit, free_memory
from .prepare import Job, asked_limit, expected_retain, memory_limit


def refuse_beyond(job: Job, device: torch.device, ranks: Ranks) -> None:
    """Raise MemoryExceeded if the job does not fit into what is free, or what its owner allows, before anything is
    loaded."""
    rows, unseen = (job.encoded, expected_retain(job)), job.stand_ins.rows
    limit = memory_limit(job.options.max_memory, device, ranks)
    plan(job.facts, *rows, job.recipe, device, unseen=unseen, limit=limit, holders=_holders(ranks))


def usable_memory(model: Any, ranks: Ranks) -> int:
    """Bytes that this process may use, the start model's weights among them: they are counted in `static_bytes`."""
    users = ranks.neighbours if model.device.type == "cpu" else 1
    return free_memory(model.device) // users + int(model.get_memory_footprint())


def find_fit(run: Run, job: Job, retain: Sequence[Encoded], model: Any, free: int, ranks: Ranks) -> Fit:
    """How the run was computed before it was interrupted, else what suits the machine and its owner.

    Raises RunError for a record that is damaged, MemoryExceeded as `plan`.
    """
    known = run.record.get("stages", {}).get("unlearn", {}).get("computing")
    if known is not None:
        try:
            return Fit.from_json(known)
        except (TypeError, KeyError):
            raise RunError(f"{run.record_file} is damaged: it does not say how the run was computed") from None
    if not WeightedSum(job.recipe.weighted_terms(), {}).reads("retain"):
        retain = []
    limit, holders = asked_limit(job.options.max_memory), _holders(ranks)
    rows, unseen = (job.encoded, retain), job.stand_ins.rows
    return plan(job.facts, *rows, job.recipe, model.device, unseen=unseen, free=free, limit=limit, holders=holders)[0]


def _holders(ranks: Ranks) -> int:
    return ranks.count if ranks.sharded else 1
