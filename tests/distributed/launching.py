"""Runs of the real command line under the real launcher, on the shipped presets, with gloo on the processor."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
from click.testing import CliRunner
from safetensors.torch import load_file

from forgetctl.cli.main import cli

PRESETS = Path(__file__).resolve().parents[2] / "recipes" / "accelerate"
RECORDING = Path(__file__).with_name("recording.py")
CLOSE = 1e-4


def launch(engine: str, *arguments: str, processes: int = 2, script: Path | None = None) -> subprocess.Popen[str]:
    """Start `forgetctl ...`, or a script in its place, in several processes."""
    started = ["-m", "forgetctl"] if script is None else [str(script)]
    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(PRESETS / f"{engine}.yaml")]
    return subprocess.Popen(
        [*command, "--num_processes", str(processes), "--main_process_port", "0", *started, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def compute_alone(*arguments: str) -> None:
    """Run `forgetctl ...` in this process, and in no other."""
    found = CliRunner().invoke(cli, list(arguments), catch_exceptions=False)
    assert found.exit_code == 0, found.output


def ended(running: subprocess.Popen[str], seconds: float = 200) -> tuple[int, str, str]:
    """Exit code, output and errors. A run that hangs is killed with all of its processes, and fails the test."""
    try:
        output, errors = running.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        for process in [*workers(running), running]:
            process.kill()
        raise
    return running.returncode, output, errors


def workers(running: subprocess.Popen[str]) -> list[psutil.Process]:
    """The processes of a run under way, the first one first."""
    found = psutil.Process(running.pid).children(recursive=True)
    return sorted((p for p in found if "RANK" in p.environ()), key=lambda p: int(p.environ()["RANK"]))


def wait_for_step(running: subprocess.Popen[str], run: Path, step: int) -> None:
    deadline = time.monotonic() + 120
    while not (run / "log.jsonl").exists() or len((run / "log.jsonl").read_text().splitlines()) < step:
        assert running.poll() is None, running.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def log(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def stage(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "run.json").read_text())["stages"]["unlearn"]
    return found


def furthest(run: Path, other: Path) -> dict[str, float]:
    """How far two runs are apart: largest difference of each figure of the log, relative where it is above 1,
    and of the weights.

    They must have logged the same figures of the same steps, and saved files of the same names, weights of the same
    names, shapes and types.
    """
    ours, theirs = log(run), log(other)
    assert [line.keys() for line in ours] == [line.keys() for line in theirs]
    assert [line["step"] for line in ours] == [line["step"] for line in theirs]
    apart = {
        name: max(abs(a[name] - b[name]) / max(1, abs(b[name])) for a, b in zip(ours, theirs, strict=True) if name in a)
        for name in sorted({name for line in ours for name in line})
    }
    assert {path.name for path in (run / "model").iterdir()} == {path.name for path in (other / "model").iterdir()}
    one, two = (load_file(path / "model" / "model.safetensors") for path in (run, other))
    layout = [{name: (weight.shape, weight.dtype) for name, weight in weights.items()} for weights in (one, two)]
    assert layout[0] == layout[1]
    return apart | {"weights": max(float((one[name] - two[name]).abs().max()) for name in one)}


def check_same(run: Path, whole: Path) -> None:
    """A run of several processes ends as that of one."""
    apart = furthest(run, whole)
    assert max(apart.values()) < CLOSE, apart
    done = stage(run)
    assert done["status"] == "done"
    assert done["trainable_parameters"] == stage(whole)["trainable_parameters"]
    assert not (run / "checkpoints").exists()
    # The card states the time of training, and nothing else that may differ.
    assert len((run / "model" / "README.md").read_text()) > 500


def check_shares(noted: Path, *, sharded: bool) -> None:
    """At every step the two processes compute different rows, all of them, in as many parts, about as many each.

    sharded: whether each should have held a part of the weights only.
    """
    first, second = ([json.loads(line) for line in (noted / f"{i}.jsonl").read_text().splitlines()] for i in range(2))
    assert len(first) == len(second) > 0
    for one, other in zip(first, second, strict=True):
        assert (one["epoch"], one["step"], one["parts"]) == (other["epoch"], other["step"], other["parts"])
        rows = [tuple(row) for row in one["rows"]], [tuple(row) for row in other["rows"]]
        assert one["sharded"] == other["sharded"] == sharded
        assert set(rows[0]).isdisjoint(rows[1])
        assert sorted(row for role, row in rows[0] + rows[1] if role == "forget") == sorted(one["step"])
        assert sum(role == "retain" for role, _ in rows[0] + rows[1]) in (0, len(one["step"]))
        assert abs(len(rows[0]) - len(rows[1])) <= 2
