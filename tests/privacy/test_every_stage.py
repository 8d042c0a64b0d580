"""The same search where each stage fails in turn, and where commands are really interrupted: `make privacy`."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.privacy.canaries import found_below, found_in, plant
from tests.privacy.conftest import Command, Trial, environment, known_rows, run, unlearn, verify

pytestmark = pytest.mark.slow

UNLEARN = (
    "forgetctl.train.job:encode_rows",
    "forgetctl.train.prepare:choose_retain",
    "forgetctl.train.precheck:check_texts",
    "forgetctl.train._material:load_for_training",
    "forgetctl.train.unlearn:first_record",
    "forgetctl.cli.api:bind",
    "forgetctl.runs.run:commit_parts",
    "forgetctl.train._material:find_plan",
    "forgetctl.train.term_inputs:shared_scores",
    "forgetctl.train.trainer:ObjectiveTrainer.training_step",
    "forgetctl.train.trainer:ObjectiveTrainer._save_checkpoint",
    "forgetctl.train.training:save_model",
    "forgetctl.cli.api:write_card",
)
VERIFY = (
    "forgetctl.rows.reading:read_file",
    "forgetctl.verify._subject:with_perturbed",
    "forgetctl.verify.measuring:encode_rows",
    "forgetctl.model.row_scorer:RowScorer.scores",
    "forgetctl.verify.verify:store",
    "forgetctl.cli.api:write_card",
)
AFTER = {
    "forgetctl.report.report:build": ["report", "runs/a", "--html"],
    "forgetctl.report.render:environment": ["report", "runs/a", "--md"],
    "forgetctl.seal.seal:copy_files": ["seal", "runs/a", "--key", "k.key"],
    "forgetctl.register.store:tables.save": ["requests", "update", "REQ-1", "--channel", "web"],
}


def check_clean(trial: Trial) -> None:
    assert found_below(trial.folder, trial.planted.texts, trial.owned) == {}
    assert found_in(trial.output.encode(), trial.planted.texts) == set()
    assert "NETWORK" not in trial.output
    assert "Traceback" not in trial.output


@pytest.mark.parametrize("error", ["ValueError", "KeyboardInterrupt"])
def test_a_failure_at_each_stage_tells_nothing(error: str, world: Path, tmp_path: Path) -> None:
    planted = plant(tmp_path, known_rows(world)[20:40])
    commands: list[Command] = [
        (unlearn(world, planted, f"runs/{n}", "-v"), [place, error]) for n, place in enumerate(UNLEARN)
    ]
    commands += [
        (["requests", "add", "REQ-1", "--jurisdiction", "gdpr"], None),
        (["keygen", "--out", "k.key"], None),
        (unlearn(world, planted, "runs/a"), None),
    ]
    commands += [(verify(world, planted, "runs/a", "-v"), [place, error]) for place in VERIFY]
    commands += [(verify(world, planted, "runs/a"), None)]
    commands += [([*argv, "-v"], [place, error]) for place, argv in AFTER.items()]
    trial = run(tmp_path, planted, commands)
    wanted = 130 if error == "KeyboardInterrupt" else 1
    failed = [code for (_, fail), code in zip(commands, trial.exits, strict=True) if fail]
    assert failed == [wanted] * len(failed)
    fine = [code for (_, fail), code in zip(commands, trial.exits, strict=True) if not fail]
    assert set(fine) <= {0, 3, 4}
    check_clean(trial)


@pytest.mark.parametrize("seconds", [2, 6, 9, 12])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interruption_at_any_time_leaves_nothing(number: int, seconds: int, world: Path, tmp_path: Path) -> None:
    planted = plant(tmp_path, known_rows(world)[20:40])
    process = subprocess.Popen(
        [sys.executable, "-m", "forgetctl", *unlearn(world, planted, "runs/a", "-v", "--track", "--set", "epochs=400")],
        cwd=tmp_path, env=environment(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    time.sleep(seconds)
    process.send_signal(number)
    output, _ = process.communicate(timeout=120)
    check_clean(Trial(tmp_path, planted, output.decode(), [process.returncode]))
