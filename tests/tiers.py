"""The quick tier: the tests that start no process and train nothing. `make quick` finds out by itself which these are.

Under --quick a test that is about to do either is skipped at that moment, and what is listed here or marked `heavy`
is left out at once. So nobody has to keep a list for the tier to stay quick; without --quick all tests run.
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

HEAVY = (
    *("architectures", "browser", "calibration", "distributed", "faults", "gpu", "hostile/test_memory.py", "privacy"),
    *("real", "report/test_report_verdict.py", "seal/test_purge.py", "seal/test_seal_job.py"),
    *("studies/test_tofu_study.py", "studies/test_synthetic.py"),
    *("cli/test_too_large.py", "train/test_plan.py", "seal/test_owner_tampering.py", "seal/test_attacks.py"),
    *(f"cli/test_{name}.py" for name in ("calibration", "digests_once", "evidence", "interruption", "lifetimes")),
    *(f"cli/test_{name}.py" for name in ("max_memory", "methods", "pipeline")),
    *(f"cli/test_{name}.py" for name in ("offline", "passages", "process", "reference", "reference_resumed")),
    *(f"cli/test_{name}.py" for name in ("sequential", "shipping", "swapped", "tokenised_once", "tune")),
    "cli/test_verify_options.py",
)
"""Of which hardly a test is quick, or which take a good part of the three minutes: left out at once."""
STARTS = ("subprocess.Popen", "os.posix_spawn", "os.fork", "os.forkpty", "os.system", "os.exec")
TRAINER = "transformers/trainer.py"
"""Who steps an optimizer that trains a model; a test of an optimizer steps it by itself."""
HERE = Path(__file__).parent


def is_heavy(item: pytest.Item) -> bool:
    """Whether a test is none of the quick ones, whatever it does."""
    return item.get_closest_marker("heavy") is not None or any(item.path.is_relative_to(HERE / name) for name in HEAVY)


class Watch:
    """Skips the test that runs in this process when it starts a process or trains."""

    def __init__(self) -> None:
        self._on, self._reason = False, ""
        self._excused: list[BaseException] = []
        sys.addaudithook(self._heard)
        register_optimizer_step_pre_hook(self._stepped)
        start = multiprocessing.process.BaseProcess.start

        def started(process: multiprocessing.process.BaseProcess) -> None:
            self._skip("starts a process")
            start(process)

        multiprocessing.process.BaseProcess.start = started  # type: ignore[method-assign]

    @contextmanager
    def over(self) -> Iterator[None]:
        """While a test is set up, runs and is torn down."""
        self._reason = ""
        with self.turned(True):
            yield

    def excuse(self, item: pytest.Item, error: BaseException | None, report: pytest.TestReport) -> None:
        """Make a report say that the test was skipped, also where the code under test caught the skipping, or where a
        fixture failed of it that other tests asked for before."""
        known = any(error is one for one in self._excused)
        if report.when != "teardown" and (self._reason or known):
            if error is not None and not known:
                self._excused.append(error)
            path, line, _ = item.location
            report.outcome, report.longrepr = "skipped", (path, line or 0, f"Skipped: {self._reason or 'as others'}")

    @contextmanager
    def turned(self, on: bool) -> Iterator[None]:
        """Off while what many tests share is made."""
        before, self._on = self._on, on
        try:
            yield
        finally:
            self._on = before

    def _heard(self, event: str, _: tuple[Any, ...]) -> None:
        if event in STARTS:
            self._skip("starts a process")

    def _stepped(self, *_: Any) -> None:
        frame: FrameType | None = sys._getframe() if self._on else None
        while frame and not frame.f_code.co_filename.endswith(TRAINER):
            frame = frame.f_back
        if frame:
            self._skip("trains")

    def _skip(self, what: str) -> None:
        if self._on:
            self._on, self._reason = False, what  # said once: what cleans up may start processes
            pytest.skip(what)
