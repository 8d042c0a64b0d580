"""Runs that end at levels learned from a holdout: what is learned, what is left to judge, what is recorded."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.numpy import load_file

from forgetctl.cli.main import cli
from forgetctl.demo.training import encoder_for
from forgetctl.model.encoding import Encoded
from forgetctl.model.load import load_model, load_tokenizer
from forgetctl.model.scoring import score
from forgetctl.recipe.recipe import load_recipe, parse_recipe
from forgetctl.rows.reading import read_rows
from forgetctl.train.levels import unseen_levels
from forgetctl.verify.statistics.distances import ks
from tests.cli.conftest import unlearn_arguments

MINI = Path(__file__).resolve().parents[3] / "shared" / "tofu-mini"
Command = Callable[..., Result]
CALM = ("--set", "epochs=12", "--set", "forget_weight=0.1")


@pytest.fixture(scope="module")
def calibrated(world: Path, strangers: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("calibrated") / "run"
    result = CliRunner().invoke(cli, unlearn_arguments(world, run, "--holdout", str(strangers), *CALM))
    assert result.exit_code == 0, result.output
    return run


def levels(run: Path) -> list[float]:
    found: list[float] = json.loads((run / "levels.json").read_text())["levels"]
    return found


def last_logp(run: Path) -> float:
    return float(json.loads((run / "log.jsonl").read_text().splitlines()[-1])["forget_logp_per_token"])


def test_it_ends_near_its_levels_and_the_plain_run_does_not(calibrated: Path, finished: Path) -> None:
    goal = float(np.mean(levels(calibrated)))
    assert abs(last_logp(calibrated) - goal) < 0.4
    assert abs(last_logp(finished) - goal) > 0.8


@pytest.mark.skipif(not MINI.is_dir(), reason="needs the tofu-mini models, which are not part of forgetctl")
def test_levels_lie_where_a_model_that_never_saw_the_rows_has_them() -> None:
    """Distributed like the scores of the retrained model, and row by row near them, though it was never asked."""
    encoder = encoder_for(load_tokenizer(MINI / "full"))
    forget = [encoder.encode(row) for row in read_rows(MINI.parent / "tofu" / "forget05.json")]
    unseen = [encoder.encode(row) for row in read_rows(MINI / "holdout.jsonl")][::2]
    asked = {row.ids for row in forget}
    kept = [row for line in read_rows(MINI / "train.jsonl") if (row := encoder.encode(line)).ids not in asked]
    start, reference = (load_model(MINI / name, torch.device("cpu"), torch.float32) for name in ("full", "retrain05"))
    corpus = [row.ids[row.start - 1 :] for row in kept]
    found = unseen_levels(unseen, per_token(start, unseen), forget, corpus)
    truth = per_token(reference, forget)
    assert ks(found, truth).D < 0.1
    assert np.corrcoef(found, truth)[0, 1] > 0.75


def per_token(model: object, encoded: list[Encoded]) -> np.ndarray:
    return np.array(score(model, encoded)) / [row.tokens for row in encoded]


def test_the_record_names_the_objective_and_the_holdout(calibrated: Path, strangers: Path) -> None:
    record = json.loads((calibrated / "run.json").read_text())
    assert {term["name"] for term in record["objective"]["terms"]} == {"npo", "rt", "level", "k_unseen"}
    assert record["inputs"]["holdout"]["path"] == str(strangers)
    assert parse_recipe((calibrated / "recipe.yaml").read_text()).calibration is not None


def test_half_of_the_holdout_judges_and_the_other_half_does_not(
    calibrated: Path, strangers: Path, forgetctl: Command
) -> None:
    forgetctl("verify", calibrated, "--holdout", strangers)
    scored = json.loads((calibrated / "scores" / "unlearned.json").read_text())["sets"]["holdout"]["names"]
    used = json.loads((calibrated / "run.json").read_text())["inputs"]["holdout"]["rows"]
    assert len(scored) + used == len(read_rows(strangers))
    assert abs(len(scored) - used) <= 2


def test_a_resumed_run_ends_at_the_same_weights(
    calibrated: Path, world: Path, strangers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forgetctl: Command
) -> None:
    run = tmp_path / "run"
    _stop_after(monkeypatch, steps=13)
    assert forgetctl(*unlearn_arguments(world, run, "--holdout", str(strangers), *CALM)).exit_code == 130
    monkeypatch.undo()
    assert forgetctl("unlearn", "--resume", run).exit_code == 0
    ours, theirs = (load_file(path / "model" / "model.safetensors") for path in (run, calibrated))
    assert all((ours[name] == theirs[name]).all() for name in theirs)


def _stop_after(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    """As if a signal had come after so many steps."""
    from forgetctl.train.callbacks import StopOnSignal

    plain = StopOnSignal.on_step_end

    def stop(self: StopOnSignal, args: object, state: object, control: object, **more: object) -> None:
        self.asked = self.asked or state.global_step >= steps  # type: ignore[attr-defined]
        plain(self, args, state, control, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(StopOnSignal, "on_step_end", stop)


def test_a_holdout_that_changed_is_named_at_resume(
    world: Path, strangers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forgetctl: Command
) -> None:
    own, run = tmp_path / "holdout.jsonl", tmp_path / "run"
    own.write_bytes(strangers.read_bytes())
    _stop_after(monkeypatch, steps=1)
    forgetctl(*unlearn_arguments(world, run, "--holdout", str(own), *CALM))
    own.write_bytes(b"".join(strangers.read_bytes().splitlines(keepends=True)[:-1]))
    result = forgetctl("unlearn", "--resume", run)
    assert result.exit_code == 1
    assert f"{own} has changed" in result.stderr


def test_a_holdout_row_that_is_to_be_forgotten_is_refused(world: Path, tmp_path: Path, forgetctl: Command) -> None:
    result = forgetctl(*unlearn_arguments(world, tmp_path / "run", "--holdout", str(world / "requests.jsonl")))
    assert result.exit_code == 2
    assert "requests.jsonl:1" in result.stderr
    assert "no holdout" in result.stderr


def test_too_few_holdout_rows_are_refused(world: Path, tmp_path: Path, forgetctl: Command) -> None:
    result = forgetctl(*unlearn_arguments(world, tmp_path / "run", "--holdout", str(world / "holdout.jsonl")))
    assert result.exit_code == 2
    assert "calibration needs 40 or more" in result.stderr


def test_a_recipe_that_calibrates_needs_a_holdout(world: Path, tmp_path: Path, forgetctl: Command) -> None:
    result = forgetctl(*unlearn_arguments(world, tmp_path / "run", "--recipe", "npo-rt-calibrated"))
    assert result.exit_code == 2
    assert "--holdout FILE" in result.stderr


def test_any_method_can_be_calibrated() -> None:
    recipe = load_recipe("npo-rt-calibrated", method="simnpo-rt")
    assert set(recipe.weighted_terms()) == {"simnpo", "rt", "level", "k_unseen"}
    without = load_recipe("npo-rt-calibrated", overrides=["calibration.stand_ins=0"])
    assert set(without.weighted_terms()) == {"npo", "rt", "level"}


def test_it_is_reported_sealed_and_audited(calibrated: Path, world: Path, tmp_path: Path, forgetctl: Command) -> None:
    run, key = tmp_path / "run", tmp_path / "owner.key"
    shutil.copytree(calibrated, run)
    for suffix in (".key", ".keys"):
        source = calibrated.with_name(calibrated.name + suffix)
        (shutil.copytree if source.is_dir() else shutil.copy)(source, run.with_name(run.name + suffix))
    assert forgetctl("verify", run, "--reference", world / "reference").exit_code in (0, 3, 4)
    assert "level" in forgetctl("report", run, "--md").stdout
    assert forgetctl("keygen", "--out", key).exit_code == 0
    sealed = forgetctl("seal", run, "--key", key)
    assert sealed.exit_code == 0, sealed.output
    assert not list(tmp_path.rglob("run.bundle/levels.json"))  # like start.json, it tells of single rows
    audited = forgetctl("audit", tmp_path / "run.bundle", "--key", f"{key}.pub")
    assert audited.exit_code == 0, audited.output
