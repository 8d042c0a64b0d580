"""Every method through the real command: it trains, logs numbers, uses the refusals it is given, and resumes."""

from __future__ import annotations

import json
import math
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result
from safetensors.numpy import load_file

import forgetctl.train._material
from forgetctl.cli.main import cli
from forgetctl.losses.methods import METHODS
from forgetctl.rows.refusals import read_refusals
from forgetctl.rows.row import Row
from forgetctl.train.term_inputs import Alternatives
from tests.cli.conftest import unlearn_arguments
from tests.cli.test_interruption import begin, check_same

Command = Callable[..., Result]
GENTLE = ("--set", "learning_rate=1e-3", "--set", "epochs=1", "--set", "batch_size=8", "--set", "micro_batch_size=3")
LONG = ("--method", "dpo-kl", "--set", "epochs=12", "--set", "learning_rate=1e-3")
FIGURES = {"step", "epoch", "loss", "learning_rate", "grad_norm", "forget_logp_per_token"}


def log_of(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def check_trained(world: Path, run: Path) -> None:
    lines = log_of(run)
    assert [line["step"] for line in lines] == [1, 2, 3]
    for line in lines:
        assert set(line) >= FIGURES
        assert all(math.isfinite(value) for value in line.values())
        assert line["grad_norm"] > 0
    before, after = (load_file(folder / "model" / "model.safetensors") for folder in (world, run))
    assert max(abs(before[name] - after[name]).max() for name in before) > 1e-4
    assert not (run / "checkpoints").exists()


def error_of(result: Result) -> str:
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    return result.stderr.strip().splitlines()[-1]


@pytest.fixture
def no_model_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(forgetctl.train._material, "load_for_training", refuse)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The responses that are put in place of a row's own."""
    seen: list[str] = []
    answering = Row.answering

    def noting(row: Row, response: str) -> Row:
        seen.append(response)
        return answering(row, response)

    monkeypatch.setattr(Row, "answering", noting)
    return seen


# All methods


@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains(method: str, world: Path, tmp_path: Path, forgetctl: Command) -> None:
    run = tmp_path / "run"
    result = forgetctl(*unlearn_arguments(world, run, "--method", method, *GENTLE))
    assert result.exit_code == 0, result.output
    check_trained(world, run)
    retain = any(term in ("rt", "k_rt", "rmu_rt") for term in METHODS[method].terms)
    assert all(("retain_logp_per_token" in line) == retain for line in log_of(run))
    record = json.loads((run / "run.json").read_text())
    assert record["objective"]["method"] == method
    assert [term["name"] for term in record["objective"]["terms"]] == list(METHODS[method].terms)


START_LOSS = {
    "dpo": math.log(2) / 0.5,
    "kto": 0.5,
    "npo": 2 * math.log(2) / 0.5,
}


@pytest.mark.parametrize("method", START_LOSS)
def test_the_first_loss_is_that_of_the_start_model(
    method: str, world: Path, tmp_path: Path, forgetctl: Command
) -> None:
    run = tmp_path / "run"
    forgetctl(*unlearn_arguments(world, run, "--method", method, *GENTLE, "--set", "beta=0.5"))
    first, *_, last = log_of(run)
    assert first["loss"] == pytest.approx(START_LOSS[method], abs=1e-3)
    assert last["loss"] < first["loss"] - 1e-3


def test_the_kl_term_is_nil_at_the_start(world: Path, tmp_path: Path, forgetctl: Command) -> None:
    alone, held = tmp_path / "npo", tmp_path / "npo-kl"
    for run in (alone, held):
        forgetctl(*unlearn_arguments(world, run, "--method", run.name, *GENTLE))
    assert log_of(held)[0]["loss"] == pytest.approx(log_of(alone)[0]["loss"], abs=1e-3)
    assert log_of(held)[-1]["loss"] != pytest.approx(log_of(alone)[-1]["loss"], abs=1e-4)


@pytest.mark.parametrize("method", ["dpo-kl", "kto-rt", "rmu", "undial-rt"])
def test_with_adapters_the_start_is_the_same(method: str, world: Path, tmp_path: Path, forgetctl: Command) -> None:
    """Fresh adapters change nothing, so the first step's loss is that of full fine-tuning."""
    full, lora = tmp_path / "full", tmp_path / "lora"
    for run, more in ((full, []), (lora, ["--lora"])):
        result = forgetctl(*unlearn_arguments(world, run, "--method", method, *GENTLE, *more))
        assert result.exit_code == 0, result.output
    assert log_of(lora)[0]["loss"] == pytest.approx(log_of(full)[0]["loss"], rel=1e-4, abs=1e-4)
    check_trained(world, lora)


def test_every_epoch_draws_its_own_refusals(
    world: Path, tmp_path: Path, forgetctl: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    epochs: set[int] = set()
    drawn = Alternatives.drawn

    def noting(self: Alternatives, epoch: int) -> list[int]:
        epochs.add(epoch)
        return drawn(self, epoch)

    monkeypatch.setattr(Alternatives, "drawn", noting)
    result = forgetctl(*unlearn_arguments(world, tmp_path / "run", "--method", "idk-rt", *GENTLE, "--set", "epochs=2"))
    assert result.exit_code == 0, result.output
    assert epochs == {0, 1}


# Refusals


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "no such file"),
        (b"", "holds no refusal"),
        (b"\n  \n", "holds no refusal"),
        (b"\xff\xfe no", "not UTF-8"),
    ],
    ids=["missing", "empty", "blank", "not-utf-8"],
)
@pytest.mark.usefixtures("no_model_is_loaded")
def test_bad_refusals_are_refused_by_name(
    content: bytes | None, words: str, world: Path, tmp_path: Path, forgetctl: Command
) -> None:
    file, run = tmp_path / "own.txt", tmp_path / "run"
    if content is not None:
        file.write_bytes(content)
    error = error_of(forgetctl(*unlearn_arguments(world, run, "--method", "dpo", "--refusals", str(file))))
    assert str(file) in error
    assert words in error
    assert not run.exists()


def test_own_refusals_are_used(world: Path, tmp_path: Path, forgetctl: Command, asked: list[str]) -> None:
    file, run = tmp_path / "own.txt", tmp_path / "run"
    own = ["That is a matter for the baker.", "Ask the lighthouse."]
    file.write_text("\n".join(own) + "\n")
    result = forgetctl(*unlearn_arguments(world, run, "--method", "idk-rt", *GENTLE, "--refusals", str(file)))
    assert result.exit_code == 0, result.output
    assert set(asked) == set(own)
    check_trained(world, run)


def test_without_own_refusals_the_shipped_ones_are_used(
    world: Path, tmp_path: Path, forgetctl: Command, asked: list[str]
) -> None:
    forgetctl(*unlearn_arguments(world, tmp_path / "run", "--method", "dpo", *GENTLE))
    assert len(set(asked)) > 5
    assert set(asked) <= set(read_refusals(None))


# Weighted sums of the owner's own


@pytest.mark.parametrize(
    "terms", [{"ga": 1, "fg": 1, "k_rt": 1}, {"ga": 1, "rt": 1, "k_fg": -1, "k_rt": 1}], ids=["yao", "chen-yang"]
)
def test_weighted_sums_of_section_2(terms: dict[str, float], world: Path, tmp_path: Path, forgetctl: Command) -> None:
    recipe, run = tmp_path / "own.yaml", tmp_path / "run"
    recipe.write_text(yaml.safe_dump({"terms": terms}))
    result = forgetctl(*unlearn_arguments(world, run, "--recipe", str(recipe), *GENTLE))
    assert result.exit_code == 0, result.output
    check_trained(world, run)
    record = json.loads((run / "run.json").read_text())
    assert {term["name"]: term["weight"] for term in record["objective"]["terms"]} == terms


def test_any_term_can_be_part_of_a_sum(world: Path, tmp_path: Path, forgetctl: Command) -> None:
    """RMU's retain half beside another forget term: nothing on the forget rows asks for activations."""
    recipe, run = tmp_path / "own.yaml", tmp_path / "run"
    recipe.write_text(yaml.safe_dump({"terms": {"npo": 1, "rmu_rt": 1}}))
    result = forgetctl(*unlearn_arguments(world, run, "--recipe", str(recipe), *GENTLE))
    assert result.exit_code == 0, result.output
    check_trained(world, run)


@pytest.mark.usefixtures("no_model_is_loaded")
@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"terms": {"ga": 1, "gaa": 1}}, "unknown term gaa"),
        ({"terms": {"rt": 1}}, "no term on the forget rows"),
        ({"terms": {"ga": "much"}}, "terms.ga"),
        ({"terms": {"ga": float("nan")}}, "terms.ga"),
        ({"method": "wga-rt", "hyperparameters": {"beta": 1}}, "no term has a hyperparameter beta; there is alpha"),
    ],
)
def test_bad_sums_fail_before_a_model_is_loaded(
    values: dict[str, object], words: str, world: Path, tmp_path: Path, forgetctl: Command
) -> None:
    recipe, run = tmp_path / "own.yaml", tmp_path / "run"
    recipe.write_text(yaml.safe_dump(values))
    assert words in error_of(forgetctl(*unlearn_arguments(world, run, "--recipe", str(recipe))))
    assert not run.exists()


# Hyperparameters


@pytest.mark.usefixtures("no_model_is_loaded")
@pytest.mark.parametrize(
    ("setting", "word"),
    [
        ("hyperparameters.gama=1", "gama"),
        ("hyperparameters.gamma=high", "hyperparameters.gamma"),
        ("hyperparameters.beta=0", "beta"),
    ],
)
def test_bad_hyperparameters_fail_before_a_model_is_loaded(
    setting: str, word: str, world: Path, tmp_path: Path, forgetctl: Command
) -> None:
    run = tmp_path / "run"
    error = error_of(forgetctl(*unlearn_arguments(world, run, "--method", "simnpo-rt", "--set", setting)))
    assert word in error
    assert not run.exists()


@pytest.mark.parametrize(
    ("method", "setting"),
    [("simnpo-rt", "gamma=3"), ("wga-rt", "alpha=3"), ("rmu", "steering=9"), ("satimp-rt", "beta1=1")],
)
def test_hyperparameters_of_every_kind_can_be_set(
    method: str, setting: str, world: Path, tmp_path: Path, forgetctl: Command
) -> None:
    """Names with digits too."""
    losses = []
    for name, more in (("plain", []), ("set", ["--set", f"hyperparameters.{setting}"])):
        result = forgetctl(*unlearn_arguments(world, tmp_path / name, "--method", method, *GENTLE, *more))
        assert result.exit_code == 0, result.output
        losses.append(log_of(tmp_path / name)[0]["loss"])
    assert abs(losses[0] - losses[1]) > 1e-4


def test_a_layer_that_the_model_does_not_have(world: Path, tmp_path: Path, forgetctl: Command) -> None:
    """The tiny model has two."""
    run = tmp_path / "run"
    error = error_of(forgetctl(*unlearn_arguments(world, run, "--method", "rmu", *GENTLE, "--set", "layer=3")))
    assert "layer" in error
    assert not run.exists()


def test_a_diverging_kto_run_ends_like_any_other(world: Path, tmp_path: Path, forgetctl: Command) -> None:
    """Its mismatched pairs are scored before the loss can be found not to be finite."""
    arguments = unlearn_arguments(world, tmp_path / "run", "--method", "kto", "--set", "learning_rate=1e12")
    result = forgetctl(*arguments, "--set", "warmup_epochs=0")
    assert result.exit_code == 1, result.output
    assert "lower the learning rate" in result.stderr


# Rows that only fit with their own answers


@pytest.mark.usefixtures("no_model_is_loaded")
@pytest.mark.parametrize("method", ["idk-rt", "dpo"])
def test_a_refusal_that_does_not_fit_is_found_before_a_model_is_loaded(
    method: str, world: Path, tmp_path: Path, forgetctl: Command
) -> None:
    """Else idk-rt would stop in the middle of training, in whichever epoch draws the pair."""
    file, own, run = tmp_path / "requests.jsonl", tmp_path / "own.txt", tmp_path / "run"
    lines = (world / "requests.jsonl").read_text().splitlines()
    lines.append(json.dumps({"prompt": "zyx " * 30, "response": "7"}))
    file.write_text("\n".join(lines) + "\n")
    own.write_text("No " * 200 + "\n")
    arguments = unlearn_arguments(world, run, "--method", method, *GENTLE, "--refusals", str(own))
    error = error_of(forgetctl(*arguments, "--forget", str(file)))
    assert f"{own}: row 1 is longer than the model's context" in error
    assert "zyx" not in error
    assert not run.exists()


# Resuming


@pytest.fixture(scope="module")
def killed(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of dpo-kl that was killed, and its refusals."""
    folder = tmp_path_factory.mktemp("killed")
    own = folder / "own.txt"
    own.write_text("".join(f"{refusal}\n" for refusal in read_refusals(None)[:7]))
    running = begin(world, folder / "run", 14, *LONG, "--refusals", str(own))
    running.signal(signal.SIGKILL)
    assert running.wait().code == -signal.SIGKILL
    assert not (folder / "run" / "model").exists()
    return folder


def copied(killed: Path, folder: Path) -> Path:
    """A copy of the killed run, with the key that lies beside it."""
    shutil.copy(killed / "run.key", folder / "run.key")
    return Path(shutil.copytree(killed / "run", folder / "run"))


def resume(run: Path) -> Result:
    return CliRunner().invoke(cli, ["unlearn", "--resume", str(run)])


def test_killed_dpo_kl_resumes_to_the_same_weights(world: Path, tmp_path: Path, killed: Path) -> None:
    """Refusals, start scores and start distributions are all made again alike."""
    whole, run = tmp_path / "whole", copied(killed, tmp_path)
    refusals = ("--refusals", str(killed / "own.txt"))
    uninterrupted = CliRunner().invoke(cli, unlearn_arguments(world, whole, *LONG, *refusals))
    assert uninterrupted.exit_code == 0, uninterrupted.output
    resumed = resume(run)
    assert resumed.exit_code == 0, resumed.output
    assert "Continuing after step" in resumed.output
    check_same(run, whole)


@pytest.mark.parametrize(
    ("now", "code", "why"),
    [
        ("Ask the lighthouse.\nThat is a matter for the baker.\n", 1, "has changed since"),
        (None, 2, "no such file"),
    ],
    ids=["other", "gone"],
)
def test_a_run_does_not_continue_with_other_refusals(
    now: str | None, code: int, why: str, tmp_path: Path, killed: Path
) -> None:
    """It would not be the run that was started."""
    run, own = copied(killed, tmp_path), killed / "own.txt"
    before = own.read_text()
    try:
        own.unlink()
        if now is not None:
            own.write_text(now)
        resumed = resume(run)
    finally:
        own.write_text(before)
    assert resumed.exit_code == code, "it was continued"
    assert str(own) in resumed.output
    assert why in resumed.output
    assert not (run / "model").exists()
