"""Weights that are exchanged while a command runs: whenever it happens, nothing says what nobody can know."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

import forgetctl.train._material as unlearn_job
import forgetctl.train.reference as reference_stage
import forgetctl.train.training as unlearn_stage
import forgetctl.verify.measuring as verify_stage
from tests.cli.conftest import SETTINGS, unlearn_arguments

Command = Callable[..., Result]
SAID = "was changed while the model was in use"


@pytest.fixture
def models(world: Path, tmp_path: Path) -> Path:
    """The world's models and rows, to be changed."""
    for name in ("model", "reference"):
        shutil.copytree(world / name, tmp_path / name)
    for name in ("requests.jsonl", "employees.jsonl", "remaining.jsonl"):
        shutil.copyfile(world / name, tmp_path / name)
    return tmp_path


def exchange(model: Path, other: Path) -> None:
    """Put another model's weights in the place of a model's."""
    draft = model / "draft"
    shutil.copyfile(other / "model.safetensors", draft)
    draft.replace(model / "model.safetensors")


def after_loading(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, victim: Path, other: Path) -> None:
    """Exchange the victim's weights as soon as it is loaded for the first time."""
    plain, done = getattr(module, name), []

    def load(first: Any, *more: Any, **options: Any) -> Any:
        loaded = plain(first, *more, **options)
        path = getattr(first, "path", first)
        if path.resolve() == victim.resolve() and not done:
            done.append(True)
            exchange(victim, other)
        return loaded

    monkeypatch.setattr(module, name, load)


def before_loading(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, victim: Path, other: Path) -> None:
    """Exchange the victim's weights for as long as it is loaded."""
    plain = getattr(module, name)

    def load(first: Any, *more: Any, **options: Any) -> Any:
        path = getattr(first, "path", first)
        if path.resolve() != victim.resolve():
            return plain(first, *more, **options)
        own = (victim / "model.safetensors").rename(victim.parent / "own")
        shutil.copyfile(other / "model.safetensors", victim / "model.safetensors")
        try:
            return plain(first, *more, **options)
        finally:
            own.replace(victim / "model.safetensors")

    monkeypatch.setattr(module, name, load)


def verify(forgetctl: Command, models: Path, *more: object) -> Result:
    files = ("--model", models / "model", "--forget", models / "requests.jsonl", "--out", models / "run")
    rest = ("--retain", models / "remaining.jsonl", "--reference", models / "reference", *SETTINGS[-4:])
    return forgetctl("verify", *files, *rest, *more)


@pytest.mark.parametrize("when", [after_loading, before_loading])
@pytest.mark.parametrize("victim", ["model", "reference"])
def test_verify_reaches_no_verdict_about_weights_that_were_exchanged(
    when: Callable[..., None], victim: str, models: Path, forgetctl: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = {"model": "reference", "reference": "model"}[victim]
    when(monkeypatch, verify_stage, "load_model", models / victim, shutil.copytree(models / other, models / "other"))
    ended = verify(forgetctl, models)
    assert ended.exit_code == 1, ended.output
    assert f"{models / victim / 'model.safetensors'} {SAID}" in ended.output
    assert not (models / "run" / "verdict.json").exists()
    assert not (models / "run" / "scores").exists()
    assert json.loads((models / "run" / "run.json").read_text())["stages"]["verify"]["status"] == "running"


def test_nor_about_a_start_model_or_one_that_is_taught_again(
    models: Path, forgetctl: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = Path(shutil.copytree(models / "model", models / "start"))
    other = shutil.copytree(models / "reference", models / "other")
    (start / "config.json").write_text((start / "config.json").read_text() + "\n")  # another model, by its digest
    before_loading(monkeypatch, verify_stage, "load_model", start, other)
    ended = verify(forgetctl, models, "--start", start, "--precision", "bf16")
    assert f"{start / 'model.safetensors'} {SAID}" in ended.output
    assert not (models / "run" / "verdict.json").exists()


def test_another_chat_template_is_another_verification(models: Path, forgetctl: Command) -> None:
    """It does not change the weights, and it changes what they are asked."""
    run = models / "made"
    made = forgetctl(*unlearn_arguments(models, run, "--set", "epochs=1"))
    assert made.exit_code == 0, made.output
    unchanged = "Nothing has changed since the last verification"
    ask = ("verify", run, "--reference", models / "reference")
    assert unchanged not in forgetctl(*ask).output
    assert unchanged in forgetctl(*ask).output
    (models / "reference" / "additional_chat_templates").mkdir()
    (models / "reference" / "additional_chat_templates" / "x.jinja").write_text("{{ messages }}")
    assert unchanged not in forgetctl(*ask).output


@pytest.mark.parametrize("when", [after_loading, before_loading])
def test_unlearn_begins_with_no_model_that_was_exchanged(
    when: Callable[..., None], models: Path, forgetctl: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    when(monkeypatch, unlearn_job, "load_for_training", models / "model", models / "reference")
    ended = forgetctl(*unlearn_arguments(models, models / "run", "--set", "epochs=1"))
    assert ended.exit_code == 1, ended.output
    assert f"{models / 'model' / 'model.safetensors'} {SAID}" in ended.output
    assert not (models / "run").exists()


def test_a_start_model_that_changed_during_training_leaves_the_run_undone(
    models: Path, forgetctl: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, own = unlearn_stage.save_model, (models / "model" / "config.json").read_text()

    def save(*given: Any) -> None:
        (models / "model" / "config.json").write_text(own.replace("{", "{ ", 1))
        plain(*given)

    monkeypatch.setattr(unlearn_stage, "save_model", save)
    ended = forgetctl(*unlearn_arguments(models, models / "run", "--set", "epochs=1"))
    assert ended.exit_code == 1
    assert f"{models / 'model'} has changed since {models / 'run'} was started" in ended.output
    assert not (models / "run" / "model").exists()
    monkeypatch.undo()
    (models / "model" / "config.json").write_text(own)
    assert forgetctl("unlearn", "--resume", models / "run").exit_code == 0


@pytest.mark.parametrize("when", [after_loading, before_loading])
def test_reference_records_no_base_that_it_did_not_train(
    when: Callable[..., None], models: Path, forgetctl: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    when(monkeypatch, reference_stage, "load_for_training", models / "model", models / "reference")
    files = ("--base", models / "model", "--retain", models / "remaining.jsonl", "--out", models / "made")
    ended = forgetctl("reference", *files, "--epochs", "1")
    assert ended.exit_code == 1, ended.output
    assert f"{models / 'model' / 'model.safetensors'} {SAID}" in ended.output
    assert not (models / "made" / "seed-1").exists()
