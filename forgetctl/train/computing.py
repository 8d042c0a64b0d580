"""How a run is computed on this machine: planned once, within what the owner allows, and kept with the run."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..errors import RunError
from ..model.encoding import Encoded
from ..model.processes import Ranks
from ..model.protocol import Model
from ..runs.run import Run
from .plan import ComputePlan, Workload, asked_limit, make_plan, memory_limit
from .prepare import Job, expected_rows, read_rows_of
from .schedule import RowsByRole


def refuse_beyond(job: Job, device: torch.device, ranks: Ranks) -> None:
    """Raise MemoryExceeded if the job does not fit into what is free, or what its owner allows, before anything is
    loaded."""
    limit = memory_limit(job.options.max_memory, device, ranks)
    make_plan(_workload(job, expected_rows(job), device, ranks), limit=limit)


def find_plan(run: Run, job: Job, retain: Sequence[Encoded], model: Model, free: int, ranks: Ranks) -> ComputePlan:
    """How the run was computed before it was interrupted, else what suits the machine and its owner.

    free: bytes that may be used. Raises RunError for a record that is damaged, MemoryExceeded as `make_plan`.
    """
    known = run.record.get("stages", {}).get("unlearn", {}).get("computing")
    if known is not None:
        try:
            return ComputePlan.from_json(known)
        except (TypeError, KeyError):
            raise RunError(f"{run.record_file} is damaged: it does not say how the run was computed") from None
    work = _workload(job, read_rows_of(job, retain), model.device, ranks)
    return make_plan(work, free=free, limit=asked_limit(job.options.max_memory))


def _workload(job: Job, rows: RowsByRole, device: torch.device, ranks: Ranks) -> Workload:
    holders = ranks.count if ranks.sharded else 1
    return Workload(facts=job.facts, rows=rows, recipe=job.recipe, device=device, holders=holders)
