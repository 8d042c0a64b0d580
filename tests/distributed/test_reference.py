"""Two processes train a reference as one does, whatever shares the work, and go on from what was stopped."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.cli.conftest import process
from tests.distributed.launching import ended, launch, workers

pytestmark = pytest.mark.slow
CLOSE = 1e-4


def arguments(world: Path, out: Path, *more: str) -> list[str]:
    files = ("--base", world / "model", "--retain", world / "holdout.jsonl", "--out", out)
    return ["reference", *map(str, files), "--epochs", "6", "--learning-rate", "1e-3", "--batch-size", "8", *more]


def furthest(out: Path, other: Path) -> float:
    ours, theirs = (load_file(folder / "seed-1" / "model.safetensors") for folder in (out, other))
    assert ours.keys() == theirs.keys()
    return max(float((ours[name].float() - theirs[name].float()).abs().max()) for name in theirs)


@pytest.fixture(scope="module")
def alone(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("alone")
    code, _, errors = ended(process(*arguments(world, out)))
    assert code == 0, errors
    start = load_file(world / "model" / "model.safetensors")
    made = load_file(out / "seed-1" / "model.safetensors")
    assert any(not torch.equal(start[name], made[name]) for name in start)
    return out


@pytest.mark.parametrize("engine", ["ddp", "fsdp2"])
def test_two_processes_train_as_one(engine: str, world: Path, tmp_path: Path, alone: Path) -> None:
    code, output, errors = ended(launch(engine, *arguments(world, tmp_path)))
    assert code == 0, errors
    assert output.count("Reference model") == 1
    assert furthest(tmp_path, alone) < CLOSE
    assert not (tmp_path / ".seed-1-training").exists()


def test_killed_processes_go_on(world: Path, tmp_path: Path, alone: Path) -> None:
    running = launch("ddp", *arguments(world, tmp_path))
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob(".seed-1-training/checkpoints/*/complete.json")):
        assert time.monotonic() < deadline
        assert running.poll() is None
        time.sleep(0.01)
    for worker in workers(running):
        worker.send_signal(signal.SIGKILL)
    ended(running)
    assert not (tmp_path / "seed-1").exists()
    code, _, errors = ended(launch("ddp", *arguments(world, tmp_path)))
    assert code == 0, errors
    assert "Continuing seed-1 after step" in errors
    assert furthest(tmp_path, alone) < CLOSE
