"""Real processes, really killed: nothing is lost, and the finished weights are the uninterrupted ones."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from safetensors.numpy import load_file

from forgetctl.cli.main import cli
from forgetctl.runs.run import Run
from forgetctl.train.plan import ComputePlan
from tests.cli.conftest import process, unlearn_arguments
from tests.faults.processes import Command, Ended, forgetctl

LONG = ("--set", "epochs=40", "--set", "learning_rate=1e-3")


def steps(run: Path) -> int:
    log = run / "log.jsonl"
    return len(log.read_text().splitlines()) if log.exists() else 0


def begin(world: Path, run: Path, step: int, *settings: str) -> Command:
    """A command that has come to a step."""
    command = Command(*unlearn_arguments(world, run, *(settings or LONG)))
    deadline = time.monotonic() + 120
    while steps(run) < step:
        assert command.running, command.wait()
        assert time.monotonic() < deadline
        time.sleep(0.002)
    return command


def resume(run: Path) -> Ended:
    return forgetctl("unlearn", "--resume", run)


@pytest.fixture(scope="module")
def uninterrupted(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """By `python -m forgetctl` itself: what commands forked from a server leave is compared with it."""
    run = tmp_path_factory.mktemp("whole") / "run"
    running = process(*unlearn_arguments(world, run, *LONG))
    _, errors = running.communicate(timeout=240)
    assert running.returncode == 0, errors
    return run


def check_same(run: Path, whole: Path) -> None:
    ours, theirs = (load_file(path / "model" / "model.safetensors") for path in (run, whole))
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert (ours[name] == theirs[name]).all(), name
    assert (run / "log.jsonl").read_text() == (whole / "log.jsonl").read_text()
    assert not (run / "checkpoints").exists()


@pytest.mark.parametrize("step", [2, 50, 97])
def test_killed_run_resumes_to_the_same_weights(step: int, world: Path, tmp_path: Path, uninterrupted: Path) -> None:
    run = tmp_path / "run"
    command = begin(world, run, step)
    command.signal(signal.SIGKILL)
    assert command.wait().code == -signal.SIGKILL
    assert not (run / "model").exists()
    resumed = resume(run)
    assert resumed.code == 0, resumed.err
    check_same(run, uninterrupted)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_a_resumable_run_and_says_how(
    number: signal.Signals, world: Path, tmp_path: Path, uninterrupted: Path
) -> None:
    run = tmp_path / "run"
    command = begin(world, run, 31)
    command.signal(number)
    stopped = command.wait()
    assert stopped.code == 130, stopped.err
    assert f"forgetctl unlearn --resume {run}" in stopped.err
    assert "Traceback" not in stopped.err
    assert json.loads((run / "run.json").read_text())["stages"]["unlearn"]["status"] == "interrupted"
    resumed = resume(run)
    assert resumed.code == 0, resumed.err
    check_same(run, uninterrupted)


def test_an_unfinished_run_is_not_verified(world: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = begin(world, run, 5)
    command.signal(signal.SIGSTOP)  # alive and holding its lock, for as long as this test takes
    verified, resumed = forgetctl("verify", run), resume(run)
    command.signal(signal.SIGKILL)
    command.wait()
    assert verified.code == 1
    assert f"{run} is not finished" in verified.err
    assert resumed.code == 1
    assert f"{run} is in use by process {command.pid} since 20" in resumed.err


def test_a_finished_run_has_nothing_to_resume(uninterrupted: Path) -> None:
    before = (uninterrupted / "run.json").read_bytes()
    resumed = resume(uninterrupted)
    assert resumed.code == 0
    assert "finished already" in resumed.err
    assert (uninterrupted / "run.json").read_bytes() == before


def test_a_verification_has_nothing_to_resume(tmp_path: Path) -> None:
    Run.create(tmp_path / "run", {"kind": "verify", "inputs": {}})
    resumed = resume(tmp_path / "run")
    assert resumed.code == 2
    assert "verified a model that no run made; there is nothing to resume" in resumed.err


@pytest.mark.parametrize("repeats", [True, False])
def test_a_device_that_does_not_repeat_itself_is_told_of(
    repeats: bool, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GPU in half precision, played by this processor."""
    run = tmp_path / "run"
    command = begin(world, run, 2)
    command.signal(signal.SIGINT)
    assert command.wait().code == 130
    monkeypatch.setattr(ComputePlan, "repeats", lambda _self, _device: repeats)
    resumed = CliRunner().invoke(cli, ["unlearn", "--resume", str(run)])
    assert resumed.exit_code == 0, resumed.output
    assert ("may end apart by rounding" in resumed.output) is not repeats
