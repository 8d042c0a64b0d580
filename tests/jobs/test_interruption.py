"""Real processes, really killed: nothing is lost, and the finished weights are the uninterrupted ones."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from tests.jobs.conftest import process, unlearn_arguments

LONG = ("--set", "epochs=40", "--set", "learning_rate=1e-3")


def steps(run: Path) -> int:
    log = run / "log.jsonl"
    return len(log.read_text().splitlines()) if log.exists() else 0


def wait_for_step(running: subprocess.Popen[str], run: Path, step: int) -> None:
    deadline = time.monotonic() + 120
    while steps(run) < step:
        assert running.poll() is None, running.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.002)


def finish(*arguments: str) -> tuple[int, str]:
    running = process(*arguments)
    _, errors = running.communicate(timeout=240)
    return running.returncode, errors


@pytest.fixture(scope="module")
def uninterrupted(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("whole") / "run"
    code, errors = finish(*unlearn_arguments(world, run, *LONG))
    assert code == 0, errors
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
    running = process(*unlearn_arguments(world, run, *LONG))
    wait_for_step(running, run, step)
    running.send_signal(signal.SIGKILL)
    running.communicate()
    assert running.returncode == -signal.SIGKILL
    assert not (run / "model").exists()
    code, errors = finish("unlearn", "--resume", str(run))
    assert code == 0, errors
    check_same(run, uninterrupted)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_a_resumable_run_and_says_how(
    number: signal.Signals, world: Path, tmp_path: Path, uninterrupted: Path
) -> None:
    run = tmp_path / "run"
    running = process(*unlearn_arguments(world, run, *LONG))
    wait_for_step(running, run, 31)
    running.send_signal(number)
    _, errors = running.communicate(timeout=60)
    assert running.returncode == 130, errors
    assert f"forgetctl unlearn --resume {run}" in errors
    assert "Traceback" not in errors
    assert json.loads((run / "run.json").read_text())["stages"]["unlearn"]["status"] == "interrupted"
    code, errors = finish("unlearn", "--resume", str(run))
    assert code == 0, errors
    check_same(run, uninterrupted)


def test_an_unfinished_run_is_not_verified(world: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    running = process(*unlearn_arguments(world, run, *LONG))
    wait_for_step(running, run, 5)
    running.send_signal(signal.SIGSTOP)  # alive and holding its lock, for as long as this test takes
    code, errors = finish("verify", str(run))
    assert code == 1
    assert f"{run} is not finished" in errors
    code, errors = finish("unlearn", "--resume", str(run))
    assert code == 1
    assert f"{run} is in use by process {running.pid}" in errors
    running.kill()
    running.communicate()


def test_a_finished_run_has_nothing_to_resume(uninterrupted: Path) -> None:
    before = (uninterrupted / "run.json").read_bytes()
    code, errors = finish("unlearn", "--resume", str(uninterrupted))
    assert code == 0
    assert "finished already" in errors
    assert (uninterrupted / "run.json").read_bytes() == before
