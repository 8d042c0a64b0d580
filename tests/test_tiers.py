"""The quick tier: what starts a process or trains is skipped in it, however the code under test takes that."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from _pytest.outcomes import Skipped

from tests.tiers import TRAINER, Watch

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def watch() -> Watch:
    return Watch()


def step(file: str) -> None:
    """A step of an optimizer, taken by code of that file."""
    weight = torch.nn.Parameter(torch.ones(1))
    weight.grad = torch.ones(1)
    exec(compile("optimizer.step()", file, "exec"), {"optimizer": torch.optim.SGD([weight])})  # noqa: S102


STARTS: dict[str, Callable[[], object]] = {
    "subprocess": lambda: subprocess.run([sys.executable, "-c", ""], check=True),
    "fork": os.fork,
    "spawn": lambda: multiprocessing.get_context("spawn").Process().start(),
    "training": lambda: step(f"/somewhere/{TRAINER}"),
}


@pytest.mark.parametrize("name", STARTS)
def test_a_test_that_starts_something_is_skipped(name: str, watch: Watch) -> None:
    with watch.over(), pytest.raises(Skipped):
        STARTS[name]()


def test_a_test_of_an_optimizer_goes_on(watch: Watch) -> None:
    with watch.over():
        step("test_optimizers.py")


def test_what_many_tests_share_may_be_trained(watch: Watch) -> None:
    with watch.over(), watch.turned(False):
        step(f"/somewhere/{TRAINER}")


@pytest.mark.parametrize("outcome", ["passed", "failed"])
def test_skipping_that_was_caught_counts(outcome: str, watch: Watch, request: pytest.FixtureRequest) -> None:
    """A command turns every exception into its exit code; what a fixture raised so is met again by other tests."""
    item, error = request.node, AssertionError() if outcome == "failed" else None
    with watch.over(), pytest.raises(Skipped):
        STARTS["training"]()
    for _ in range(2 if error else 1):
        report = pytest.TestReport(item.nodeid, item.location, {}, outcome, None, "call")  # type: ignore[arg-type]
        watch.excuse(item, error, report)
        assert report.skipped
        watch._reason = ""
