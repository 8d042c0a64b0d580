"""The quick tier: tests that start no process and train nothing, and the guard that keeps it so.

A test that does either is marked `heavy`, on its module or on itself, and is left out of `make quick`. Nobody has to
remember that: an unmarked test that does it fails, in every tier, and says which mark it lacks.
"""

from __future__ import annotations

import multiprocessing.process
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from torch.optim.optimizer import register_optimizer_step_pre_hook

TRAINER = "transformers/trainer.py"
"""Who steps an optimizer that trains a model; a test of an optimizer steps it by itself."""
STARTS = ("subprocess.Popen", "os.posix_spawn", "os.fork", "os.forkpty", "os.system", "os.exec")


FOLDERS = ("architectures", "browser", "calibration", "distributed", "faults", "gpu", "privacy", "real")
"""Of which every test is heavy."""
HERE = Path(__file__).parent


def mark_folders(items: list[pytest.Item]) -> None:
    """Mark the tests of FOLDERS."""
    for item in items:
        if item.path.is_relative_to(HERE) and item.path.relative_to(HERE).parts[0] in FOLDERS:
            item.add_marker(pytest.mark.heavy)


class Guard:
    """Watches the test that runs in this process, if it is not marked."""

    def __init__(self) -> None:
        self._watching = False
        sys.addaudithook(self._hear)
        register_optimizer_step_pre_hook(self._step)
        start = multiprocessing.process.BaseProcess.start

        def started(process: multiprocessing.process.BaseProcess) -> None:
            self._refuse("starts a process")
            start(process)

        multiprocessing.process.BaseProcess.start = started  # type: ignore[method-assign]

    @contextmanager
    def watching(self, item: pytest.Item) -> Iterator[None]:
        """While a test is set up, runs and is torn down."""
        self._watching = not any(map(item.get_closest_marker, ("heavy", "slow")))
        try:
            yield
        finally:
            self._watching = False

    @contextmanager
    def unwatched(self) -> Iterator[None]:
        """While what all tests share is made."""
        before, self._watching = self._watching, False
        try:
            yield
        finally:
            self._watching = before

    def _hear(self, event: str, _: tuple[Any, ...]) -> None:
        if event in STARTS:
            self._refuse("starts a process")

    def _step(self, *_: Any) -> None:
        frame: FrameType | None = sys._getframe() if self._watching else None
        while frame and not frame.f_code.co_filename.endswith(TRAINER):
            frame = frame.f_back
        if frame:
            self._refuse("trains")

    def _refuse(self, what: str) -> None:
        if self._watching:
            self._watching = False  # said once; what cleans up may start processes
            pytest.fail(f"this test {what}, so it is none of `make quick`: mark it, or its module, pytest.mark.heavy")


GUARD = Guard()
