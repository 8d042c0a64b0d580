"""A run as the processes see it that compute it together with the first one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..engine.ranks import Ranks
from ..run import Run


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
