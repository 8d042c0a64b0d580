"""The processes that compute one run together, as a launcher such as `accelerate launch` started them.

All do the same; where one must do something alone, it is the first. What they send each other goes
through torch.distributed. A process alone is the case of one, in which nothing is sent and nothing is waited for.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
from accelerate import PartialState
from accelerate.utils import DistributedType, disable_fsdp_ram_efficient_loading
from torch import distributed

from ..errors import DivergedError, EndedElsewhere, ForgetctlError, Interrupted, RunError, UsageError

Value = TypeVar("Value")
PATIENCE = timedelta(hours=3)
"""How long the others wait for one: the first saves large models, and may have the start model answer, alone."""


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """One of `count` processes, the one number `index` from 0.

    device: where the launcher wants this one to compute. sharded: each will hold a part of the model only, as under
    FSDP. neighbours: how many of them share this machine's memory.
    """

    index: int = 0
    count: int = 1
    device: torch.device | None = None
    sharded: bool = False
    neighbours: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes and speaks."""
        return self.index == 0

    def wait(self) -> None:
        """Go on when all have come this far."""
        self.gather(None)

    def broadcast(self, value: Value) -> Value:
        """The first process's value, in all of them."""
        if self.count == 1:
            return value
        values = [value]
        distributed.broadcast_object_list(values, src=0)
        return values[0]

    def gather(self, value: Value) -> list[Value]:
        """Every process's value, in all of them, in order."""
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        distributed.all_gather_object(values, value)
        return values

    def totals(self, values: Sequence[float]) -> list[float]:
        """Sums over the processes of each of the values, in float64, the same in all of them."""
        if self.count == 1:
            return list(values)
        sums = torch.tensor(values, dtype=torch.float64, device=self.device)
        distributed.all_reduce(sums)
        return sums.tolist()

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process."""
        return self.totals([float(flag)]) != [0.0]

    def from_first(self, make: Callable[[], Value]) -> Value:
        """What `make` returns in the first process, in all of them. Raises in all what it raises there."""
        made: Any = None
        with self.agreed():
            if self.first:
                made = make()
        received: Value = self.broadcast(made)
        return received

    @contextmanager
    def agreed(self) -> Iterator[None]:
        """Raise in all processes what is raised inside in any of them; nothing may be sent or awaited inside.

        The first one raises its own error, else one that names the process which failed; the others EndedElsewhere,
        or their own if it is none of ours, since only they can show where it came from.
        """
        if self.count == 1:
            yield
            return
        error: Exception | None = None
        try:
            yield
        except Exception as caught:  # noqa: BLE001  (raised again as soon as the others know)
            error = caught
        failures = [item for item in self.gather(_failure(self.index, error)) if item is not None]
        if not failures:
            return
        if error is not None and (self.first or not isinstance(error, ForgetctlError)):
            raise error
        if self.first:
            where, why, code = failures[0]
            failure = RunError(f"process {where}: {why}")
            failure.exit_code = code
            raise failure
        raise EndedElsewhere(f"process {self.index} ends with the others")

    @contextmanager
    def spoken_once(self) -> Iterator[None]:
        """Let the first process alone raise what all of them raise, once it has written what it had to.

        What one process raises alone, such as running out of memory, is its own to raise; the others learn of it by
        losing the connection, which becomes a RunError.
        """
        if self.count == 1:
            yield
            return
        try:
            yield
        except (DivergedError, Interrupted):
            self.wait()
            if self.first:
                raise
            raise EndedElsewhere(f"process {self.index} ends with the others") from None
        except RuntimeError as error:
            if not _lost(error):
                raise
            if self.first:
                raise RunError("another process of this run ended; what it said last is the reason") from None
            raise EndedElsewhere(f"process {self.index} lost another one") from None


def deal(lengths: Sequence[int], processes: int) -> list[list[int]]:
    """Positions of `lengths` for each process, in order: different ones, with about the same sum.

    The longest come first, each to the process that has least so far; every process gets one if there are enough.
    """
    shares: list[list[int]] = [[] for _ in range(processes)]
    loads = [0] * processes
    for position in sorted(range(len(lengths)), key=lambda position: -lengths[position]):
        least = loads.index(min(loads))
        shares[least].append(position)
        loads[least] += lengths[position]
    return [sorted(share) for share in shares]


def _failure(index: int, error: Exception | None) -> tuple[int, str, int] | None:
    """What the other processes learn of an error: of one that is not ours only its kind, since its words may be
    anything."""
    if error is None:
        return None
    if isinstance(error, ForgetctlError):
        return index, str(error), error.exit_code
    where = f" {error.filename}" if isinstance(error, OSError) and error.filename else ""
    return index, f"{type(error).__name__}{where}", ForgetctlError.exit_code


def _lost(error: RuntimeError) -> bool:
    """Whether another process is gone: gloo has no error type of its own for it."""
    return isinstance(error, distributed.DistError) or "gloo" in str(error)


def join(device: torch.device) -> Ranks:
    """This process's place among those that a launcher started; alone if none did.

    device: what was asked for; on a CPU they talk through gloo. Raises UsageError for FSDP's first version and for
    DeepSpeed, with which none of this is known to give the same numbers.
    """
    if _asked("ACCELERATE_USE_DEEPSPEED"):  # before accelerate looks for it
        raise UsageError("forgetctl does not compute with DeepSpeed; recipes/accelerate/fsdp2.yaml spreads as much")
    state = PartialState(cpu=device.type == "cpu", timeout=PATIENCE)
    if state.distributed_type == DistributedType.NO:
        return Ranks()
    fsdp = _asked("ACCELERATE_USE_FSDP")
    if fsdp:
        if os.environ.get("FSDP_VERSION", "1") != "2":
            raise UsageError("forgetctl shards with the second version of FSDP only: set fsdp_version: 2")
        # Else all but the first process would be given a model without weights, and all of them score the start model.
        disable_fsdp_ram_efficient_loading()
    return Ranks(
        index=state.process_index,
        count=state.num_processes,
        device=state.device,
        sharded=fsdp,
        neighbours=int(os.environ.get("LOCAL_WORLD_SIZE", "1")),
    )


def idle_gpus_note(ranks: Ranks, device: torch.device) -> str | None:
    """A line about GPUs that a process without a launcher leaves idle; None if there are none."""
    if device.type != "cuda" or ranks.count > 1 or (there := torch.cuda.device_count()) < 2:
        return None
    idle = "the other one is" if there == 2 else f"the other {there - 1} are"
    return f"Computing on one of {there} GPUs; {idle} idle (accelerate launch -m forgetctl ... uses all)."


def _asked(name: str) -> bool:
    return os.environ.get(name, "false").lower() == "true"


def shard_on_cpu() -> None:
    """Let accelerate shard on a CPU, which torch's FSDP2 can do and accelerate takes for impossible: it would train
    with whole models and not say so."""
    state = PartialState()
    if state.distributed_type == DistributedType.MULTI_CPU and _asked("ACCELERATE_USE_FSDP"):
        state.distributed_type = DistributedType.MULTI_GPU  # from which it goes on to FSDP; the device stays the CPU
