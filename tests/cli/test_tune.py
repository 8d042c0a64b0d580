"""Tuning through the command line: the best trial makes the recipe, nothing of a verdict's is used, and it goes on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from forgetctl.cli.main import cli
from forgetctl.recipe.recipe import load_recipe, parse_recipe
from forgetctl.train.options import UnlearnOptions
from forgetctl.train.prepare import prepare
from forgetctl.tune import tune as tuning
from forgetctl.tune._halving import Trial
from forgetctl.tune._yardstick import trial_recipe
from tests.cli.conftest import SETTINGS

Command = Callable[..., Result]
BEFORE = ("--set", "epochs=4", "--set", "batch_size=20", "--trials", "3", "--utility-loss", "0.9")


def arguments(world: Path, holdout: Path, out: Path, *more: str) -> list[str]:
    files = {"--model": "model", "--forget": "requests.jsonl", "--retain": "employees.jsonl"}
    named = [part for option, name in files.items() for part in (option, str(world / name))]
    return ["tune", *named, "--holdout", str(holdout), "--out", str(out), *SETTINGS, *BEFORE, *more]


def read(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "trials.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def tuned(world: Path, strangers: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    out = tmp_path_factory.mktemp("tuned") / "tune"
    result = CliRunner().invoke(cli, arguments(world, strangers, out))
    assert result.exit_code == 0, result.output
    return out, result.output


def test_rungs_grow_and_lose_settings(tuned: tuple[Path, str]) -> None:
    trials = read(tuned[0])
    assert [trial["rung"] for trial in trials] == [0, 0, 0, 1, 2]
    assert trials[0]["settings"]["learning_rate"] == 5e-3  # the recipe's own come first
    first = [trial["distance"] for trial in trials[:3]]
    assert trials[3]["number"] == first.index(min(first))


def test_the_best_trial_makes_the_recipe(tuned: tuple[Path, str]) -> None:
    recipe, best = parse_recipe((tuned[0] / "recipe.yaml").read_text()), read(tuned[0])[-1]
    assert recipe.learning_rate == best["settings"]["learning_rate"]
    assert recipe.anchor == best["settings"]["anchor"]
    assert recipe.epochs == 4
    assert recipe.retain == load_recipe("npo-rt-calibrated").retain  # what trials were measured on is trained on again


def test_nothing_is_left_of_the_trials_but_their_figures(tuned: tuple[Path, str]) -> None:
    out, printed = tuned
    assert {path.name for path in out.iterdir()} == {"tune.json", "trials.jsonl", "recipe.yaml"}
    assert {path.name for path in out.parent.iterdir()} == {"tune", "tune.key"}
    assert "Recipe: " in printed


def test_the_recipe_runs(
    tuned: tuple[Path, str], world: Path, strangers: Path, tmp_path: Path, forgetctl: Command
) -> None:
    command = arguments(world, strangers, tmp_path / "run", "--recipe", str(tuned[0] / "recipe.yaml"), "--dry-run")
    dry = [part for part in command if part not in ("--trials", "3", "--utility-loss", "0.9")]
    assert forgetctl("unlearn", *dry[1:]).exit_code == 0


def test_it_goes_on_where_it_stopped(
    tuned: tuple[Path, str], world: Path, strangers: Path, tmp_path: Path, forgetctl: Command
) -> None:
    out = tmp_path / "tune"
    begun = forgetctl(*arguments(world, strangers, out, "--minutes", "0.0001"))
    assert "the same command goes on" in begun.output
    assert len(read(out)) == 1
    assert forgetctl(*arguments(world, strangers, out)).exit_code == 0
    keys = ("number", "rung", "settings", "distance", "utility")
    whole, resumed = ([{key: trial[key] for key in keys} for trial in read(place)] for place in (tuned[0], out))
    assert resumed == whole


def test_trials_of_other_inputs_are_not_mixed(
    tuned: tuple[Path, str], world: Path, strangers: Path, forgetctl: Command
) -> None:
    result = forgetctl(*arguments(world, strangers, tuned[0], "--set", "seed=7"))
    assert result.exit_code == 1
    assert "another model, request or recipe" in result.stderr


def test_trials_neither_train_nor_measure_on_the_verdicts_rows(world: Path) -> None:
    recipe = load_recipe("npo-rt")
    options = UnlearnOptions(
        model=str(world / "model"), forget=world / "requests.jsonl", retain=world / "employees.jsonl"
    )
    plain, trial = (prepare(options, one).sample for one in (recipe, trial_recipe(recipe, {}, 1)))
    assert plain is not None
    assert trial is not None
    assert set(plain.pairing.check) < set(trial.pairing.check)
    assert not set(trial.pairing.train) & set(trial.pairing.check)


def test_diverged_trials_are_noted_and_all_of_them_are_an_error(
    world: Path, strangers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forgetctl: Command
) -> None:
    def diverge(_: object, number: int, rung: int, settings: Any, *_more: object) -> Trial:
        return Trial(number=number, rung=rung, settings=settings, distance=None, utility=None, seconds=1.0)

    monkeypatch.setattr(tuning.Yardstick, "measure", diverge)
    result = forgetctl(*arguments(world, strangers, tmp_path / "tune"))
    assert result.exit_code == 2
    assert "no trial came to an end" in result.stderr
    assert [trial["distance"] for trial in read(tmp_path / "tune")] == [None] * 3


def test_plain_methods_can_be_tuned_too(world: Path, strangers: Path, tmp_path: Path, forgetctl: Command) -> None:
    result = forgetctl(*arguments(world, strangers, tmp_path / "tune", "--plain", "--trials", "1", "--set", "epochs=1"))
    assert result.exit_code == 0, result.output
    assert parse_recipe((tmp_path / "tune" / "recipe.yaml").read_text()).calibration is None


@pytest.mark.parametrize(
    ("distance", "kept", "words"),
    [(0.2, 0.98, None), (0.2, 0.9, "this one kept 90%"), (0.9, 0.99, "brought the rows near"), (0.9, 0.9, "kept 90%")],
)
def test_a_choice_that_does_not_do_says_so(distance: float, kept: float, words: str | None) -> None:
    best = Trial(number=0, rung=0, settings={}, distance=distance, utility=kept, seconds=1.0)
    said = tuning.Tuned((best,), best, load_recipe(), True).shortfall(tuning.Budget())
    assert said is None if words is None else said is not None and words in said
