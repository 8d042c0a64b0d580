"""A run that several processes compute: the main one writes and speaks, the others follow it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState

from ..model.processes import Ranks, idle_gpus_note
from ..progress import Progress, Silent
from ..runs.run import Run


class FollowerRun(Run):
    """A run as the processes after the main one have it: they know its record, and write nothing."""

    def __init__(self, path: Path, record: dict[str, Any]) -> None:
        super().__init__(path)
        self.record = record

    def save_record(self) -> None:
        """The main process does."""

    def event(self, name: str, **facts: Any) -> str:
        """The main process adds it, and alone keeps its time."""
        return ""

    def log(self, figures: dict[str, float]) -> None:
        """The main process does."""

    def cut_log(self, last_step: int) -> None:
        """The main process does."""


def broadcast_run(ranks: Ranks, begin: Callable[[], Run]) -> Run:
    """The run that `begin` makes or opens in the main process, in all of them. Raises in all what `begin` does."""
    run = ranks.from_first(begin)
    return run if ranks.first else FollowerRun(run.path, run.record)


def main_progress(ranks: Ranks, progress: Progress | None, device: torch.device) -> Progress:
    """What the main process shows, and silence in the others; it begins with which GPUs will be idle."""
    shown = (progress if ranks.first else None) or Silent()
    if idle := idle_gpus_note(ranks, device):
        shown.say(idle)
    return shown


def is_main_process() -> bool:
    """Whether this process is alone or the first of those that a launcher started."""
    return bool(PartialState().is_main_process)
