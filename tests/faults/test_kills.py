"""A small sample of `python -m tests.faults`: commands struck at moments that last only milliseconds."""

from __future__ import annotations

import signal
from pathlib import Path
from random import Random

import pytest

from .breakage import killed_at
from .moments import MOMENTS, hit
from .processes import forgetctl
from .trial import Workshop


@pytest.mark.parametrize(
    "pattern",
    [
        "*/checkpoint-24/trainer_state.json",
        pytest.param("*/checkpoint-24/complete.json", marks=pytest.mark.slow),
        "*/run/.model.draft-*/tokenizer*",
        pytest.param("*/run/model", marks=pytest.mark.slow),
        "*/run/checkpoints",
    ],
    ids=["checkpoint begun", "checkpoint not marked", "model begun", "model not in place", "checkpoints not removed"],
)
def test_killed_while_writing_it_ends_with_the_same_weights(pattern: str, workshop: Workshop, stopped: Path) -> None:
    assert forgetctl("unlearn", "--resume", stopped, prepare=killed_at(pattern)).code == -signal.SIGKILL
    resumed = forgetctl("unlearn", "--resume", stopped)
    assert resumed.code == 0, resumed.err
    assert workshop.model_differences(stopped) == []


def test_killed_before_it_had_begun_it_says_so(workshop: Workshop, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = workshop.command("unlearn", run)
    assert forgetctl(*command, prepare=killed_at("*/run/.pairs.json.draft-*")).code == -signal.SIGKILL
    resumed = forgetctl("unlearn", "--resume", run)
    assert resumed.code == 1
    assert resumed.err == f"Error: {run} was stopped before it had begun; start a new run\n"


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("final save", signal.SIGTERM),
        pytest.param("scores and verdict", signal.SIGKILL, marks=pytest.mark.slow),
        pytest.param("report", signal.SIGINT, marks=pytest.mark.slow),
    ],
)
def test_struck_from_outside(name: str, number: signal.Signals, workshop: Workshop, tmp_path: Path) -> None:
    (moment,) = (moment for moment in MOMENTS if moment.name == name)
    random = Random(5)
    outcomes = (hit(workshop, moment, number, tmp_path / str(attempt), random) for attempt in range(5))
    outcome = next((outcome for outcome in outcomes if outcome is not None), None)
    assert outcome is not None, "the signal never came in time"
    assert outcome.fate == "survived", outcome
