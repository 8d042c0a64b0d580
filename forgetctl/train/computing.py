"""How a run is computed on this machine: chosen once, within what the owner allows, and kept with the run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ..errors import RunError
from ..files.disk import refuse_beyond_disk
from ..losses.methods import WeightedSum
from ..model.encoding import Encoded
from ..model.processes import Ranks
from ..runs.run import DEFAULT_RUNS, Run
from .estimate import Limit, disk_bytes, plan
from .fit import Fit, available_memory, free_memory
from .job import Job, Sample


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


def refuse_full_disk(job: Job) -> None:
    """Raise RunError if the job's checkpoints and its model cannot all be written where the run will be."""
    refuse_beyond_disk(job.options.out or DEFAULT_RUNS, disk_bytes(job.facts, job.recipe), "checkpoints and the model")


def asked_limit(most: int | None) -> Limit | None:
    """What the owner allows a process to take, if anything was said."""
    if most is None:
        return None
    return Limit(most, f"--max-memory {most / 2**30:.2f} GiB does not suffice", most)


def memory_limit(most: int | None, device: torch.device, ranks: Ranks) -> Limit:
    """The same, or what the device has for a process where that is less. most: bytes that the owner allows."""
    available = available_memory(device) // (ranks.neighbours if device.type == "cpu" else 1)
    asked = asked_limit(most)
    if asked is not None and asked.bytes <= available:
        return asked
    place = "of this machine" if device.type == "cpu" else f"of {device}"
    return Limit(available, f"the {available / 2**30:.2f} GiB of free memory {place} do not suffice", most)


def expected_retain(job: Job) -> Sequence[Encoded]:
    """The retain rows that the loss reads; a sample that has yet to be made is taken to be like the request."""
    return _read_retain(job, job.sample.train if job.sample else job.encoded)


def find_fit(run: Run, job: Job, sample: Sample, model: Any, free: int, ranks: Ranks) -> Fit:
    """How the run was computed before it was interrupted, else what suits the machine and its owner.

    Raises RunError for a record that is damaged, MemoryExceeded as `plan`.
    """
    known = run.record.get("stages", {}).get("unlearn", {}).get("computing")
    if known is not None:
        try:
            return Fit.from_json(known)
        except (TypeError, KeyError):
            raise RunError(f"{run.record_file} is damaged: it does not say how the run was computed") from None
    limit, holders = asked_limit(job.options.max_memory), _holders(ranks)
    rows, unseen = (job.encoded, _read_retain(job, sample.train)), job.stand_ins.rows
    return plan(job.facts, *rows, job.recipe, model.device, unseen=unseen, free=free, limit=limit, holders=holders)[0]


def _read_retain(job: Job, rows: Sequence[Encoded]) -> Sequence[Encoded]:
    """Retain rows if the loss reads any."""
    return rows if WeightedSum(job.recipe.weighted_terms(), {}).reads("retain") else []


def _holders(ranks: Ranks) -> int:
    return ranks.count if ranks.sharded else 1
