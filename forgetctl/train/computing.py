"""How a run is computed on this machine: planned once, within what the owner allows, and kept with the run."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..errors import RunError
from ..files.disk import refuse_beyond_disk
from ..losses.methods import Role, WeightedSum
from ..model.encoding import Encoded
from ..model.processes import Ranks
from ..model.protocol import Model
from ..runs.run import DEFAULT_RUNS, Run
from .job import Job, Sample
from .plan import ComputePlan, OtherPlanError, Workload, asked_limit, disk_bytes, make_plan, memory_limit
from .schedule import RowsByRole
from .term_inputs import RoleRows


def refuse_beyond(job: Job, device: torch.device, ranks: Ranks) -> None:
    """Raise MemoryExceeded if the job does not fit into what is free, or what its owner allows, before anything is
    loaded."""
    limit = memory_limit(job.options.max_memory, device, ranks)
    make_plan(expected_work(job, device, ranks), limit=limit)


def refuse_full_disk(job: Job) -> None:
    """Raise RunError if the job's checkpoints and its model cannot all be written where the run will be."""
    refuse_beyond_disk(job.options.out or DEFAULT_RUNS, disk_bytes(job.facts, job.recipe), "checkpoints and the model")


def find_plan(run: Run, job: Job, sample: Sample, model: Model, free: int, ranks: Ranks) -> ComputePlan:
    """How the run was computed before it was interrupted, else what suits the machine and its owner.

    free: bytes that may be used. Raises RunError as `known_plan`, MemoryExceeded as `make_plan`.
    """
    if (known := known_plan(run)) is not None:
        return known
    work = _workload(job, sample.train, model.device, ranks)
    return make_plan(work, free=free, limit=asked_limit(job.options.max_memory))


def known_plan(run: Run, remedy: str = "start a new run") -> ComputePlan | None:
    """How the run was computed so far, None if it was not.

    Raises RunError, ending with the remedy, for a run that another version of forgetctl began.
    """
    known = run.record.get("stages", {}).get("unlearn", {}).get("computing")
    if known is None:
        return None
    try:
        return ComputePlan.from_json(known)
    except OtherPlanError:
        why = "was begun by another version of forgetctl, and this one cannot continue it exactly"
        raise RunError(f"{run.path} {why}; {remedy}") from None


def expected_work(job: Job, device: torch.device, ranks: Ranks) -> Workload:
    """What will be computed; a retain sample that has yet to be made is taken to be like the request."""
    return _workload(job, job.sample.train if job.sample else job.encoded, device, ranks)


def rows_by_role(job: Job, retain: Sequence[Encoded]) -> dict[Role, RoleRows]:
    """The rows of each role that a run may read. retain: those of the sample that are trained on; held beside them is
    what rows with spans leave."""
    return {"forget": RoleRows(job.encoded), "retain": RoleRows([*retain, *job.rests]), "unseen": job.stand_ins}


def _workload(job: Job, retain: Sequence[Encoded], device: torch.device, ranks: Ranks) -> Workload:
    """Of the rows that the loss reads."""
    reads = WeightedSum(job.recipe.weighted_terms(), {}).reads
    rows: RowsByRole = {role: rows.rows for role, rows in rows_by_role(job, retain).items() if reads(role)}
    holders = ranks.count if ranks.sharded else 1
    return Workload(facts=job.facts, rows=rows, recipe=job.recipe, device=device, holders=holders)
