"""A run as the processes see it that compute it together with the first one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState

from ..model.processes import Ranks, idle_gpus_note
from ..progress import Progress, Silent
from ..runs.run import Run


class Bystander(Run):
    """Knows what the first process knows, and writes nothing."""

    def __init__(self, path: Path, record: dict[str, Any]) -> None:
        super().__init__(path)
        self.record = record

    def save_record(self) -> None:
        """The first process does."""

    def event(self, name: str, **facts: Any) -> None:
        """The first process tells it."""

    def log(self, figures: dict[str, float]) -> None:
        """The first process does."""

    def cut_log(self, last_step: int) -> None:
        """The first process does."""


def shared(ranks: Ranks, begin: Callable[[], Run]) -> Run:
    """The run that `begin` makes or opens in the first process, as each sees it. Raises in all what `begin` does."""
    run = ranks.from_first(begin)
    return run if ranks.first else Bystander(run.path, run.record)


def told_by(ranks: Ranks, progress: Progress | None, device: torch.device) -> Progress:
    """What the first process says, and the others do not; to begin with, which GPUs will be idle."""
    told = (progress if ranks.first else None) or Silent()
    if idle := idle_gpus_note(ranks, device):
        told.say(idle)
    return told


def speaks() -> bool:
    """Whether this process is alone or the first of those that a launcher started."""
    return bool(PartialState().is_main_process)
