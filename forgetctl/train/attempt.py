"""What is left of the training of a reference that was interrupted, so that the same command goes on from there.

It lies beside the place of the model and is gone when the model is there: what is made, how it is computed, and the
checkpoints. Only the first process writes.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ..errors import RunError
from ..files.writing import private_files, read_json, write_json
from ..model.processes import Ranks
from ..progress import Progress
from .plan import ComputePlan, MemoryLimit, OtherPlanError, Workload, free_share, make_plan, memory_limit

BEGUN = "begun.json"


@dataclass(frozen=True, kw_only=True)
class ComputeSettings:
    """What a plan rests on beside the model and its rows; of the weights it changes nothing but rounding.

    max_memory: bytes that a process may take, None for what is free. micro_batch: most rows in memory at once, None for
    what the plan has. precision: what is computed in: fp32, bf16 or fp16. device: its type, such as cuda.
    """

    max_memory: int | None
    micro_batch: int | None
    precision: str
    device: str
    processes: int


@dataclass(frozen=True)
class _Begun:
    """How it was computed before it was interrupted. settings: `ComputeSettings` as plain values."""

    plan: ComputePlan
    settings: dict[str, Any]


class _NotContinuedError(Exception):
    """Nobody can go on with it; the message says why."""


class Attempt:
    """The training of one model, by this command and the ones before that were interrupted.

    out: the place of the model. wanted: what decides its weights.
    """

    def __init__(self, out: Path, wanted: dict[str, Any], settings: ComputeSettings, ranks: Ranks) -> None:
        self.out, self.wanted, self.settings, self.ranks = out, wanted, settings, ranks
        self.folder = out.with_name(f".{out.name}-training")
        self.checkpoints = self.folder / "checkpoints"

    @contextmanager
    def held(self) -> Iterator[None]:
        """For one process at a time, or those of one launcher. Raises RunError if another has it."""
        lock = FileLock(self.folder / ".lock", mode=0o600)
        with self.ranks.agreed():
            if self.ranks.first:
                self.folder.mkdir(exist_ok=True, mode=0o700)
                try:
                    lock.acquire(timeout=0)
                except Timeout:
                    raise RunError(f"{self.out} is being made by another command") from None
        try:
            with private_files():
                yield
        finally:
            lock.release()

    def begin(self, work: Workload, progress: Progress) -> ComputePlan:
        """How it was computed before it was interrupted, else what suits the machine and its owner.

        Where the settings are others by now, or the memory is less, it is planned again; the weights of the checkpoints
        stay. Every process must call this. Raises MemoryExceeded.
        """
        most, device, ranks = self.settings.max_memory, work.device, self.ranks
        limit = min(ranks.gather(memory_limit(most, device, ranks)), key=lambda of_one: of_one.bytes)
        free = min(ranks.gather(free_share(device, ranks)))
        return ranks.from_first(lambda: self._plan(work, free, limit, progress))

    def keep(self, plan: ComputePlan) -> None:
        """Note how it is computed."""
        begun = {
            "wanted": self.wanted,
            "sharded": self.ranks.sharded,
            "settings": asdict(self.settings),
            "computing": plan.as_json(),
        }
        write_json(self.folder / BEGUN, begun)

    def remove(self) -> None:
        """Nothing of it is of use any more."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _plan(self, work: Workload, free: int, limit: MemoryLimit, progress: Progress) -> ComputePlan:
        begun = self._begun(progress)
        if begun is None:
            shutil.rmtree(self.checkpoints, ignore_errors=True)
        elif (why := self._outdated(begun, limit)) is None:
            return begun.plan
        else:
            progress.say(f"{self.out.name} {why}: planning again how it is computed.")
        plan = make_plan(work, free=free, limit=limit)
        self.keep(plan)
        return plan

    def _outdated(self, begun: _Begun, limit: MemoryLimit) -> str | None:
        """Why it must be planned again, in words."""
        now = asdict(self.settings)
        if changed := [name.replace("_", " ") for name in now if begun.settings.get(name) != now[name]]:
            return f"was begun with other {', '.join(changed)}"
        if begun.plan.peak_bytes > limit.bytes:
            return "was begun where more memory was free"
        return None

    def _begun(self, progress: Progress) -> _Begun | None:
        """None where there is nothing to go on from."""
        if not (self.folder / BEGUN).is_file():
            return None
        try:
            return self._read()
        except _NotContinuedError as error:
            progress.say(f"{self.out.name} {error}: beginning again.")
            return None

    def _read(self) -> _Begun:
        try:
            noted = read_json(self.folder / BEGUN)
        except RunError:
            raise _NotContinuedError(f"left a damaged {BEGUN}") from None
        if noted.get("wanted") != self.wanted or noted.get("sharded") != self.ranks.sharded:
            raise _NotContinuedError("was begun with other inputs or settings")
        try:
            plan, settings = ComputePlan.from_json(noted.get("computing")), noted.get("settings")
        except OtherPlanError:
            settings = None
        if not isinstance(settings, dict):
            raise _NotContinuedError("was begun by another version of forgetctl")
        return _Begun(plan, settings)
