"""References whose training was stopped for real: the finished weights are the uninterrupted ones."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from tests.faults.processes import Command, Ended, forgetctl

LONG = ("--epochs", "30", "--learning-rate", "1e-3", "--batch-size", "8")


def arguments(world: Path, out: Path, *more: str) -> list[str]:
    files = ("--base", world / "model", "--retain", world / "holdout.jsonl", "--out", out)
    return ["reference", *map(str, files), *LONG, *more]


def training(out: Path) -> Path:
    return out / ".seed-1-training"


def begin(world: Path, out: Path, step: int, *more: str) -> Command:
    """A command that has a checkpoint of this step, or of a later one."""
    command = Command(*arguments(world, out, *more))
    deadline = time.monotonic() + 120
    while max(checkpoints(out), default=0) < step:
        assert command.running, command.wait()
        assert time.monotonic() < deadline
        time.sleep(0.002)
    return command


def checkpoints(out: Path) -> dict[int, Path]:
    """Whole ones, by step."""
    marks = training(out).glob("checkpoints/checkpoint-*/complete.json")
    return {int(mark.parent.name.rpartition("-")[2]): mark.parent for mark in marks}


@pytest.fixture(scope="module")
def uninterrupted(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "references"
    made(forgetctl(*arguments(world, out)))
    return out


def made(ended: Ended) -> Ended:
    assert ended.code == 0, ended.err
    return ended


def check_same(out: Path, whole: Path) -> None:
    ours, theirs = (load_file(path / "seed-1" / "model.safetensors") for path in (out, whole))
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert (ours[name] == theirs[name]).all(), name
    assert not training(out).exists()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_stopped_training_ends_with_the_same_weights(
    number: signal.Signals, world: Path, tmp_path: Path, uninterrupted: Path
) -> None:
    """Killed twice, or asked to stop twice."""
    for step in (2, 40):
        command = begin(world, tmp_path, step)
        command.signal(number)
        ended = command.wait()
        assert ended.code == (130 if number == signal.SIGTERM else -number)
        assert not (tmp_path / "seed-1").exists()
        if number == signal.SIGTERM:
            assert "the same command goes on from there" in ended.err
    resumed = made(forgetctl(*arguments(world, tmp_path)))
    assert "Continuing seed-1 after step" in resumed.err
    check_same(tmp_path, uninterrupted)


def test_one_begun_with_other_settings_begins_again(world: Path, tmp_path: Path, uninterrupted: Path) -> None:
    command = begin(world, tmp_path, 2, "--weight-decay", "0.5")
    command.signal(signal.SIGKILL)
    command.wait()
    resumed = made(forgetctl(*arguments(world, tmp_path)))
    assert "seed-1 was begun with other inputs or settings: beginning again." in resumed.err
    assert "Continuing" not in resumed.err
    check_same(tmp_path, uninterrupted)


def test_one_begun_by_another_version_begins_again(world: Path, tmp_path: Path, uninterrupted: Path) -> None:
    command = begin(world, tmp_path, 2)
    command.signal(signal.SIGKILL)
    command.wait()
    file = training(tmp_path) / "begun.json"
    begun = json.loads(file.read_text())
    begun["computing"]["limits"]["parts"] = begun["computing"]["limits"].pop("tokens")
    file.write_text(json.dumps(begun))
    resumed = made(forgetctl(*arguments(world, tmp_path)))
    assert "seed-1 was begun by another version of forgetctl: beginning again." in resumed.err
    assert "Continuing" not in resumed.err
    check_same(tmp_path, uninterrupted)


def test_a_checkpoint_that_is_damaged_is_not_used(world: Path, tmp_path: Path, uninterrupted: Path) -> None:
    command = begin(world, tmp_path, 12)
    command.signal(signal.SIGKILL)
    command.wait()
    newest = max(checkpoints(tmp_path).items())[1]
    (newest / "optimizer.pt").write_bytes(b"not what was written")
    resumed = made(forgetctl(*arguments(world, tmp_path)))
    assert f"{newest.name} is not used: optimizer.pt is damaged." in resumed.err
    check_same(tmp_path, uninterrupted)


def test_two_commands_do_not_make_the_same_model(world: Path, tmp_path: Path) -> None:
    command = begin(world, tmp_path, 1)
    second = forgetctl(*arguments(world, tmp_path))
    assert second.code == 1
    assert "seed-1 is being made by another command" in second.err
    command.signal(signal.SIGKILL)
    command.wait()
