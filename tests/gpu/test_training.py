"""A GPU trains as a processor does, in every way of training, and goes on after a kill and at the end of its memory."""

from __future__ import annotations

import hashlib
import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from tests.cli.conftest import QUICK, process, unlearn_arguments

Forgetctl = Callable[..., Result]
WHOLE = ["--set", "precision=fp32"]
WAYS = {
    "full": WHOLE,
    "bf16": ["--set", "precision=bf16"],
    "lora": [*WHOLE, "--lora"],
    "kl": [*WHOLE, "--method", "npo-kl"],
    "rmu": [*WHOLE, "--method", "rmu"],
    "large": ["--recipe", "npo-rt-large", "--set", "learning_rate=5e-3"],
}
CLOSE = {"full": 1e-4, "lora": 1e-4, "kl": 1e-4, "rmu": 1e-3, "bf16": 5e-2, "large": 0.3}
"""How far losses may be apart, relative; bfloat16 has three digits, its sums are in another order, and moments of 8
bits carry what that makes on to the next step."""


def losses(run: Path) -> list[float]:
    steps = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    return [step["loss"] for step in steps if "loss" in step]


def digest(run: Path) -> str:
    return hashlib.sha256((run / "model" / "model.safetensors").read_bytes()).hexdigest()


@pytest.mark.parametrize("way", WAYS)
def test_losses_are_those_of_a_processor(way: str, world: Path, tmp_path: Path, forgetctl: Forgetctl) -> None:
    found = {}
    for device in ("cpu", "cuda"):
        done = forgetctl(*unlearn_arguments(world, tmp_path / device, *WAYS[way], "--device", device))
        assert done.exit_code == 0, done.output
        found[device] = losses(tmp_path / device)
    assert len(found["cpu"]) > 10
    assert found["cuda"] == pytest.approx(found["cpu"], rel=CLOSE[way], abs=CLOSE[way])


def test_adapters_over_four_bits(broad: Path, tmp_path: Path, forgetctl: Forgetctl) -> None:
    """The quantised kernels of the two devices round differently, so only the way down is compared."""
    done = forgetctl(*unlearn_arguments(broad, tmp_path / "run", "--qlora", "--device", "cuda"))
    assert done.exit_code == 0, done.output
    found = losses(tmp_path / "run")
    assert found[-1] < 0.7 * found[0]


def test_verification_is_that_of_a_processor(world: Path, tmp_path: Path, forgetctl: Forgetctl) -> None:
    arguments = ["--model", world / "model", "--reference", world / "reference", "--forget", world / "requests.jsonl"]
    arguments += ["--retain", world / "remaining.jsonl", *QUICK]
    verdicts: dict[str, Any] = {}
    for device in ("cpu", "cuda"):
        done = forgetctl("verify", *arguments, "--device", device, "--out", tmp_path / device)
        assert done.exit_code in (0, 3, 4), done.output
        verdicts[device] = json.loads((tmp_path / device / "verdict.json").read_text())
    ours, theirs = (verdicts[device]["checks"] for device in ("cuda", "cpu"))
    assert [check["name"] for check in ours] == [check["name"] for check in theirs]
    assert verdicts["cuda"]["verdict"] == verdicts["cpu"]["verdict"]


@pytest.mark.parametrize("precision", ["int8", "nf4"])
def test_a_quantised_deployment_is_verified(precision: str, broad: Path, tmp_path: Path, forgetctl: Forgetctl) -> None:
    run = tmp_path / "run"
    assert forgetctl(*unlearn_arguments(broad, run, "--device", "cuda")).exit_code == 0
    options = ["--reference", broad / "reference", "--precision", precision, "--device", "cuda"]
    done = forgetctl("verify", run, *options)
    assert done.exit_code in (0, 3, 4), done.output
    assert precision in (run / "verdict.json").read_text()


def test_a_killed_run_ends_with_the_same_weights(world: Path, tmp_path: Path) -> None:
    """Bit for bit, as on a processor."""
    whole = process(*unlearn_arguments(world, tmp_path / "whole", *WHOLE, "--device", "cuda"))
    assert whole.wait() == 0
    run = tmp_path / "killed"
    killed = process(*unlearn_arguments(world, run, *WHOLE, "--device", "cuda"))
    while killed.poll() is None and not list(run.glob("checkpoints/checkpoint-*/complete.json")):
        pass
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not (run / "model").exists()
    resumed = process("unlearn", "--resume", str(run))
    assert resumed.wait() == 0
    assert losses(run) == losses(tmp_path / "whole")
    assert digest(run) == digest(tmp_path / "whole")
