"""A clock that goes back, no home, no network, too little memory."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from tests.world import build_wide_world

from .breakage import At, clock, die, little_memory
from .processes import forgetctl
from .trial import STAGES, VERDICTS, Workshop

ALONE = """
import sys
from pathlib import Path
from tests.faults.breakage import alone

alone(Path("/proc/nowhere"))
import json
from forgetctl.cli.main import cli

for command in json.loads(sys.argv[1]):
    cli.main(command, "forgetctl", standalone_mode=False)
"""


def test_neither_home_nor_network_is_needed(workshop: Workshop, tmp_path: Path) -> None:
    """In a process that has imported nothing yet, since libraries make their caches when they are imported."""
    stages = [workshop.command(stage, tmp_path / "run") for stage in STAGES]
    done = subprocess.run(
        [sys.executable, "-c", ALONE, json.dumps([[str(part) for part in stage] for stage in stages])],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert workshop.differences(tmp_path / "run") == []
    assert "Warning" not in done.stderr


def _die_in_the_future(path: Path) -> None:
    """The checkpoints are then younger than those that come after them."""
    later = time.time() + 30 * 86400
    for number, checkpoint in enumerate(sorted(path.parent.glob("checkpoint-*"))):
        os.utime(checkpoint, (later + number, later + number))
    die(signal.SIGKILL, path)


class _Future(At):
    def __call__(self) -> None:
        clock(timedelta(days=30))
        super().__call__()


def test_a_clock_that_goes_back_disturbs_nothing(workshop: Workshop, tmp_path: Path) -> None:
    run = tmp_path / "run"
    struck = forgetctl(*workshop.command("unlearn", run), prepare=_Future("*/checkpoint-21", _die_in_the_future))
    assert struck.code == -9
    resumed = forgetctl("unlearn", "--resume", run)
    assert resumed.code == 0, resumed.err
    assert "Continuing after step 18." in resumed.err
    assert workshop.model_differences(run) == []
    assert forgetctl(*workshop.command("report", run)).code == 0


@pytest.mark.slow
def test_an_audit_only_notes_that_the_clock_went_back(workshop: Workshop, stopped: Path, tmp_path: Path) -> None:
    run = stopped
    assert forgetctl("unlearn", "--resume", run, prepare=partial(clock, -timedelta(days=30))).code == 0
    for stage in STAGES[1:]:
        assert forgetctl(*workshop.command(stage, run)).code in VERDICTS
    assert workshop.differences(run) == []
    key = tmp_path / "owner.key"
    assert forgetctl("keygen", "--out", key).code == 0
    assert forgetctl("seal", run, "--key", key).code == 0
    audited = forgetctl("audit", f"{run}.bundle", "--key", f"{key}.pub")
    assert audited.code == 0, audited.out
    assert "the clock went back" in audited.out


def test_a_step_that_does_not_fit_the_memory_is_begun_again_in_halves(tmp_path: Path) -> None:
    """The allocator itself refuses, because the kernel gives the process no more."""
    world = build_wide_world(tmp_path / "world")
    free, tight = tmp_path / "free", tmp_path / "tight"
    settings = ("--set", "epochs=1", "--set", "batch_size=16", "--set", "learning_rate=1e-3", "--set", "precision=fp32")
    files = ("--model", world / "model", "--forget", world / "requests.jsonl", "--retain", world / "employees.jsonl")
    assert forgetctl("unlearn", *files, *settings, "--out", free).code == 0
    crowd = At("*/tight/checkpoints", partial(little_memory, 30 * 2**20))
    ended = forgetctl("unlearn", *files, *settings, "--out", tight, prepare=crowd)
    assert ended.code == 0, ended.err
    assert "Step 1 did not fit into the memory: going on with" in ended.err
    ours, theirs = (load_file(run / "model" / "model.safetensors") for run in (tight, free))
    start = load_file(world / "model" / "model.safetensors")
    for name in ours:
        moved = abs(theirs[name] - start[name]).max()
        assert abs(ours[name] - theirs[name]).max() <= 1e-3 * moved + 1e-7, name


@pytest.fixture(scope="module")
def verifying(tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    world = build_wide_world(tmp_path_factory.mktemp("wide") / "world")
    files = ("--model", world / "model", "--forget", world / "requests.jsonl", "--retain", world / "employees.jsonl")
    return ["verify", *files, "--set", "verify.answer_tokens=8", "--set", "verify.samples=2", "--out"]


@pytest.mark.slow
def test_what_does_not_fit_the_memory_is_scored_and_answered_in_halves(verifying: list[object], tmp_path: Path) -> None:
    free, tight = tmp_path / "free", tmp_path / "tight"
    assert forgetctl(*verifying, free).code in VERDICTS
    crowd = At("*/tight/lock.json*", partial(little_memory, 90 * 2**20))
    ended = forgetctl(*verifying, tight, prepare=crowd)
    assert ended.code in VERDICTS, ended.err
    ours, theirs = (json.loads((run / "scores" / "unlearned.json").read_text()) for run in (tight, free))
    for name, scores in theirs["sets"].items():
        assert ours["sets"][name]["answer_logp"] == pytest.approx(scores["answer_logp"], rel=1e-5)
        assert ours["sets"][name]["elicited"] == scores["elicited"]


def test_a_model_that_does_not_fit_the_memory_is_one_line(verifying: list[object], tmp_path: Path) -> None:
    crowd = At("*/tight/lock.json*", partial(little_memory, 2**20))
    ended = forgetctl(*verifying, tmp_path / "tight", prepare=crowd)
    assert ended.code == 1
    assert "memory" in ended.err
    assert "Traceback" not in ended.err
    assert ended.err.count("Error: ") == 1
