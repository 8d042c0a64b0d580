"""`forgetctl reference`: models from plain fine-tuning, made once and never taken for others."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import load_file

from forgetctl import progress
from forgetctl.cli import terminal as console
from forgetctl.cli.main import cli
from forgetctl.files.writing import model_digest
from forgetctl.model.load import inspect_trainable
from forgetctl.recipe.recipe import LORA_RECIPE, load_recipe
from forgetctl.rows.formats import Fields
from forgetctl.rows.reading import read_rows
from forgetctl.train.attempt import Attempt
from forgetctl.train.callbacks import StopOnSignal
from forgetctl.train.checkpoints import checkpoint_bytes
from forgetctl.train.fine_tuning import fine_tune, fine_tuning
from forgetctl.train.plan import disk_bytes
from forgetctl.train.reference import ReferenceOptions, Tuning, read_training_rows
from forgetctl.train.trainer import ObjectiveTrainer
from tests.world import encoded_rows, loaded, write_lines

LORA = load_recipe(LORA_RECIPE).lora
SHORT = ("--epochs", "2", "--learning-rate", "1e-3", "--batch-size", "4")


def train(world: Path, out: Path, *more: str) -> Result:
    files = ("--base", str(world / "model"), "--retain", str(world / "holdout.jsonl"), "--out", str(out))
    return CliRunner().invoke(cli, ["reference", *files, *SHORT, *more], catch_exceptions=False)


def weights(model: Path) -> dict[str, torch.Tensor]:
    return load_file(model / "model.safetensors")


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def made(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seeds 1 and 2."""
    out = tmp_path_factory.mktemp("made") / "references"
    done = train(world, out, "--seeds", "2")
    assert done.exit_code == 0, done.output
    assert f"Reference model: {out / 'seed-2'}" in done.stdout
    return out


def test_a_seed_decides_the_weights(made: Path, world: Path) -> None:
    first, second, base = (weights(path) for path in (made / "seed-1", made / "seed-2", world / "model"))
    assert not same(first, base)
    assert not same(first, second)


def test_it_is_the_engines_fine_tuning(made: Path, world: Path) -> None:
    model, rows = loaded(world / "model"), encoded_rows(world, "holdout.jsonl")
    fine_tune(model, rows, fine_tuning(epochs=2, learning_rate=1e-3, seed=2, batch_size=4, warmup_epochs=1.0))
    saved = weights(made / "seed-2")
    assert all(torch.equal(value, saved[name]) for name, value in model.named_parameters() if name in saved)


def test_the_record_says_what_it_was_made_of(made: Path, world: Path) -> None:
    record = json.loads((made / "seed-2" / "reference.json").read_text())
    assert record["base_sha256"] == model_digest(world / "model")
    assert record["model_sha256"] == model_digest(made / "seed-2")
    assert (record["seed"], record["rows"]) == (2, len(read_rows(world / "holdout.jsonl")))
    assert record["settings"] | {"learning_rate": 1e-3, "epochs": 2, "warmup_epochs": 1.0} == record["settings"]
    assert record["versions"]["torch"] == torch.__version__
    text = (made / "seed-2" / "reference.json").read_text()
    assert not any(row.response in text or row.prompt in text for row in read_rows(world / "holdout.jsonl"))


def test_the_defaults_are_the_papers() -> None:
    defaults = {option.name: option.default for option in cli.commands["reference"].params}
    expected = {"learning_rate": 1e-5, "epochs": 5, "batch_size": 32, "weight_decay": 0.01, "warmup_epochs": 1.0}
    assert {name: defaults[name] for name in expected} == expected


def test_what_is_there_is_not_made_again(made: Path, world: Path, tmp_path: Path) -> None:
    """Nor does an interruption cost more than one seed: what was not written whole does not count."""
    out = tmp_path / "references"
    shutil.copytree(made / "seed-1", out / "seed-1")
    (out / ".seed-2.draft-killed").mkdir()
    (out / ".seed-2.draft-killed" / "config.json").write_text("{}")
    before = (out / "seed-1" / "model.safetensors").stat().st_mtime_ns
    done = train(world, out, "--seeds", "2", "--json")
    assert json.loads(done.stdout) == {"models": [str(out / "seed-1"), str(out / "seed-2")]}
    assert "seed-1 is there already" in done.stderr
    assert (out / "seed-1" / "model.safetensors").stat().st_mtime_ns == before
    assert same(weights(out / "seed-2"), weights(made / "seed-2"))
    assert sorted(path.name for path in out.iterdir()) == ["seed-1", "seed-2"]


@pytest.mark.parametrize(
    ("more", "named"),
    [
        (("--epochs", "3"), "settings"),
        (("--also", "requests.jsonl"), "rows, rows sha256"),
        (("--base", "reference"), "base sha256"),
    ],
)
def test_other_inputs_are_refused(made: Path, world: Path, more: tuple[str, str], named: str) -> None:
    option, value = more
    place = str(world / value) if option != "--epochs" else value
    done = train(world, made, option, place)
    assert done.exit_code == 2
    assert f"was made with other {named}; choose another --out" in done.stderr


def test_a_model_that_changed_is_not_taken_for_the_one_made(made: Path, world: Path, tmp_path: Path) -> None:
    out = tmp_path / "references"
    shutil.copytree(made, out)
    shutil.copy(made / "seed-2" / "model.safetensors", out / "seed-1" / "model.safetensors")
    done = train(world, out)
    assert done.exit_code == 1
    assert "has changed since it was made" in done.stderr


def test_a_directory_of_something_else_is_refused(world: Path, tmp_path: Path) -> None:
    (tmp_path / "seed-1").mkdir()
    (tmp_path / "seed-1" / "notes.txt").write_text("mine")
    done = train(world, tmp_path)
    assert done.exit_code == 2
    assert "is in use, and by nothing that `forgetctl reference` made" in done.stderr


# The trainer of `unlearn`


@pytest.mark.parametrize(
    ("option", "noted"),
    [
        (("--optimizer", "adamw8bit"), {"optimizer": "adamw8bit"}),
        (("--lora",), {"lora": load_recipe(LORA_RECIPE).lora}),
    ],
    ids=["8-bit", "lora"],
)
def test_adapters_and_8_bit_moments_make_a_model_of_their_own(
    option: tuple[str, ...], noted: dict[str, Any], made: Path, world: Path, tmp_path: Path
) -> None:
    """Named in its record; the plain one's names what models of 0.1 do, so that those are known again."""
    done = train(world, tmp_path, *option)
    assert done.exit_code == 0, done.output
    assert weights(tmp_path / "seed-1").keys() == weights(made / "seed-1").keys()
    assert not same(weights(tmp_path / "seed-1"), weights(made / "seed-1"))
    assert not same(weights(tmp_path / "seed-1"), weights(world / "model"))
    expected = {key: value.model_dump(mode="json") if key == "lora" else value for key, value in noted.items()}
    plain = record_of(made)["settings"]
    assert record_of(tmp_path)["settings"] == {**plain, **expected}
    assert plain.keys() == {
        "learning_rate", "epochs", "batch_size", "weight_decay", "warmup_epochs", "max_grad_norm", "max_length",
        "prompt_format",
    }  # fmt: skip


def test_precision_and_micro_batches_are_no_other_model(made: Path, world: Path) -> None:
    done = train(world, made, "--precision", "bf16", "--micro-batch", "1")
    assert done.exit_code == 0, done.output
    assert "seed-1 is there already" in done.stderr


def test_what_does_not_fit_is_refused_with_what_this_command_can_be_told(world: Path, tmp_path: Path) -> None:
    done = train(world, tmp_path / "out", "--max-memory", "1MiB")
    assert done.exit_code == 1
    assert "--max-memory 0.00 GiB does not suffice: about " in done.stderr
    assert "--lora takes the least" in done.stderr
    assert "--qlora" not in done.stderr
    assert not list((tmp_path / "out").glob("seed-*"))


def test_where_checkpoints_have_no_room_there_are_none(
    made: Path, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("forgetctl.train.reference.free_bytes", lambda _: 10_000)
    done = train(world, tmp_path)
    assert done.exit_code == 0, done.output
    assert "The disk has no room for checkpoints: what is interrupted begins again." in done.stderr
    assert same(weights(tmp_path / "seed-1"), weights(made / "seed-1"))


def stopped(world: Path, out: Path, *more: str) -> Result:
    """A command that a signal stops after its third step."""

    def stop(self: StopOnSignal, args: Any, state: Any, control: Any, **others: Any) -> None:
        self.asked = self.asked or state.global_step >= 3
        plain(self, args, state, control, **others)

    plain = StopOnSignal.on_step_end
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StopOnSignal, "on_step_end", stop)
        done = train(world, out, *more)
    assert done.exit_code == 130, done.output
    assert "stopped after step 3 of " in done.stderr
    return done


def test_stopped_without_room_for_checkpoints_it_begins_again(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("forgetctl.train.reference.free_bytes", lambda _: 10_000)
    done = stopped(world, tmp_path)
    assert f"of {tmp_path / 'seed-1'}; the same command begins again" in done.stderr
    assert not list((tmp_path / ".seed-1-training").glob("checkpoints/*"))


def test_checkpoints_that_are_there_count_as_room_for_new_ones(
    made: Path, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "the same command goes on from there" in stopped(world, tmp_path).stderr
    needed = disk_bytes(inspect_trainable(world / "model"), Tuning(epochs=2).recipe(seed=1))
    there = checkpoint_bytes(tmp_path / ".seed-1-training" / "checkpoints")
    assert 0 < there < needed
    with monkeypatch.context() as patch:
        patch.setattr("forgetctl.train.reference.free_bytes", lambda _: 10_000)
        patch.setattr(ObjectiveTrainer, "train_from", lambda *_: 3)  # as if it were stopped at once
        done = train(world, tmp_path)
    assert "what is interrupted goes on after step 3 again." in done.stderr
    assert "the same command goes on after step 3 again" in done.stderr
    monkeypatch.setattr("forgetctl.train.reference.free_bytes", lambda _: needed - there)
    done = train(world, tmp_path)
    assert "Continuing seed-1 after step 3." in done.stderr
    assert "no room" not in done.stderr
    assert same(weights(tmp_path / "seed-1"), weights(made / "seed-1"))


@pytest.mark.parametrize(
    ("before", "after", "named", "computed"),
    [
        ((), ("--micro-batch", "1"), "micro batch", "fp32"),
        (
            ("--precision", "fp16", "--lora"),
            ("--precision", "fp32", "--lora"),
            "precision",
            "fp32 (as the recipe says)",
        ),
        ((), ("--max-memory", "64GiB"), "max memory", "planned for at most 64.00 GiB (--max-memory)"),
    ],
    ids=["micro-batch", "precision", "max-memory"],
)
def test_a_stopped_training_goes_on_as_it_is_asked_now(
    before: tuple[str, ...], after: tuple[str, ...], named: str, computed: str, world: Path, tmp_path: Path
) -> None:
    stopped(world, tmp_path, "--precision", "fp32", *before)
    done = train(world, tmp_path, "--precision", "fp32", *after)
    assert done.exit_code == 0, done.output
    assert f"seed-1 was begun with other {named}: planning again how it is computed." in done.stderr
    assert "Continuing seed-1 after step 3." in done.stderr
    assert computed in next(line for line in done.stderr.splitlines() if "Computing with" in line)


def test_a_stopped_training_is_refused_the_memory_that_it_may_not_take(world: Path, tmp_path: Path) -> None:
    stopped(world, tmp_path)
    done = train(world, tmp_path, "--max-memory", "1MiB")
    assert done.exit_code == 1
    assert "--max-memory 0.00 GiB does not suffice: about " in done.stderr
    assert checkpoint_bytes(tmp_path / ".seed-1-training" / "checkpoints")


def test_what_a_kill_left_beside_the_model_goes(made: Path, world: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "seed-1", tmp_path / "seed-1")
    checkpoint = tmp_path / ".seed-1-training" / "checkpoints" / "checkpoint-3"
    checkpoint.mkdir(parents=True)
    (checkpoint / "optimizer.pt").write_bytes(b"state")
    assert "seed-1 is there already" in train(world, tmp_path).stderr
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["seed-1"]


def test_what_another_command_made_meanwhile_is_not_made_again(
    made: Path, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def held(self: Attempt) -> Any:
        shutil.copytree(made / "seed-1", self.out)
        return plain(self)

    plain = Attempt.held
    monkeypatch.setattr(Attempt, "held", held)
    done = train(world, tmp_path)
    assert done.exit_code == 0, done.output
    assert "seed-1 is there already" in done.stderr
    assert "Computing with" not in done.stderr
    assert not (tmp_path / ".seed-1-training").exists()


# Rows


def record_of(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "seed-1" / "reference.json").read_text())
    return found


def test_rows_left_out_are_not_learned(made: Path, world: Path, tmp_path: Path) -> None:
    """All rows less those of a file are what a file without them would be."""
    lines = [json.loads(line) for line in (world / "holdout.jsonl").read_text().splitlines()]
    gone = write_lines(tmp_path / "gone.jsonl", [{**line, "prompt": f" {line['prompt']} "} for line in lines[:7]])
    stays = write_lines(tmp_path / "stays.jsonl", lines[7:])
    without = train(world, tmp_path / "a", "--without", str(gone))
    assert without.exit_code == 0, without.output
    plain = train(world, tmp_path / "b", "--retain", str(stays))
    assert plain.exit_code == 0, plain.output
    assert record_of(tmp_path / "a")["rows"] == len(lines) - 7
    assert record_of(tmp_path / "a")["rows_sha256"] == record_of(tmp_path / "b")["rows_sha256"]
    assert same(weights(tmp_path / "a" / "seed-1"), weights(tmp_path / "b" / "seed-1"))


def test_marked_parts_are_not_learned_in_any_place(world: Path, tmp_path: Path) -> None:
    """Whatever stands there: the weights are the same. The rest of the rows is learned."""
    models = {}
    for name in ("one", "other", "gone"):
        rows, marked = [], []
        for row in read_rows(world / "holdout.jsonl")[:12]:
            (start, end) = next(match.span() for match in re.finditer(r"\w+(?=\W*$)", row.response))
            fact = row.response[start:end]
            if name == "other":  # whose blank is as much a part of its first token
                fact = "90817" if fact.isdigit() else "lives"
            response = f"{row.response[:start]}{fact}{row.response[end:]}"
            rows.append({"prompt": row.prompt, "response": response})
            marked.append({**rows[-1], "spans": [[start, len(response) - len(row.response) + end]]})
        learned = write_lines(tmp_path / f"{name}.jsonl", [{"text": "Nobody lives here."}, *rows])
        unwanted = write_lines(tmp_path / f"{name}-marked.jsonl", rows if name == "gone" else marked)
        done = train(world, tmp_path / name, "--retain", str(learned), "--without", str(unwanted), "--epochs", "1")
        assert done.exit_code == 0, done.output
        said = "12 of them are learned as if their marked parts had never been written."
        assert (said in done.stderr) == (name != "gone")
        models[name] = weights(tmp_path / name / "seed-1")
    assert same(models["one"], models["other"])
    assert not same(models["one"], models["gone"])


def test_a_file_to_leave_out_that_holds_none_of_the_rows_is_an_error(world: Path, tmp_path: Path) -> None:
    done = train(world, tmp_path / "a", "--without", str(world / "requests.jsonl"))
    assert done.exit_code == 2
    assert "requests.jsonl: holds none of the rows to learn" in done.stderr


@pytest.mark.parametrize(
    ("more", "named"),
    [
        (("--without", "holdout.jsonl"), "no row is left to learn"),
        (("--retain", "nowhere.jsonl"), "nowhere.jsonl: no such file"),
        (("--base", "nowhere"), "nowhere: no such model directory"),
        (("--learning-rate", "0"), "0.0 is not in the range x>0"),
        (("--max-length", "2"), "have no token of the response within 2 tokens"),
    ],
)
def test_wrong_use_is_named(world: Path, tmp_path: Path, more: tuple[str, str], named: str) -> None:
    option, value = more
    place = str(world / value) if option in ("--without", "--retain", "--base") else value
    done = train(world, tmp_path / "out", option, place)
    assert done.exit_code == 2
    assert named in done.stderr
    assert not (tmp_path / "out" / "seed-1").exists()


def test_any_number_of_rows_may_be_learned_and_so_many_left_out(world: Path, tmp_path: Path) -> None:
    """10,000 rows are the limit of what is held in memory from outside, not of an owner's training data."""
    rows = [{"prompt": f"What is number {place}?", "response": "one"} for place in range(10_001)]
    many = write_lines(tmp_path / "many.jsonl", rows)
    few = write_lines(tmp_path / "few.jsonl", [{"prompt": "What is this?", "response": "x " * 40_000}, rows[0]])
    options = ReferenceOptions(base=str(world / "model"), retain=many, out=tmp_path / "out", also=(few,))
    assert len(read_training_rows(options).rows) == 10_003
    without = ("--base", world / "model", "--retain", few, "--without", many, "--out", tmp_path / "out")
    refused = CliRunner().invoke(cli, ["reference", *map(str, without)])
    assert refused.exit_code == 2
    assert "has more than 10,000 rows" in refused.stderr
    raised = replace(options, retain=few, also=(), without=(many,), fields=Fields(max_rows=10_001))
    assert [row.line for row in read_training_rows(raised).rows] == [1]


def test_the_limits_are_options(world: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    refused = train(world, out, "--without", str(world / "requests.jsonl"), "--max-rows", "3")
    assert refused.exit_code == 2
    assert "has more than 3 rows" in refused.stderr
    refused = train(world, out, "--without", str(world / "requests.jsonl"), "--max-rows", "100")
    assert "holds none of the rows to learn" in refused.stderr


@pytest.mark.parametrize("command", ["reference", "unlearn", "verify"])
def test_the_minutes_of_long_work_are_logged(
    command: str, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there is no terminal; with --quiet in the log alone. No figure and no text of a row is in it."""
    monkeypatch.setattr(progress, "INTERVAL", 0.01)
    monkeypatch.setattr(console, "LOOKING", 0.002)
    out = tmp_path / "out"
    named = {
        "reference": ["--base", world / "model", "--retain", world / "holdout.jsonl", *SHORT],
        "unlearn": [
            *("--model", world / "model", "--forget", world / "requests.jsonl", "--retain", world / "remaining.jsonl"),
            *("--set", "epochs=1"),
        ],
        "verify": [
            *("--model", world / "model", "--forget", world / "requests.jsonl", "--reference", world / "reference"),
            *("--set", "verify.samples=2"),
        ],
    }[command]
    done = CliRunner().invoke(cli, [command, *map(str, named), "--out", str(out), "--quiet"])
    assert done.exit_code in (0, 3, 4), done.output
    assert " of " not in done.stderr
    title = {"reference": "Training seed-1", "unlearn": "Unlearning", "verify": "Scoring the unlearned model"}[command]
    lines = (out / "progress.log").read_text().splitlines()
    assert any(f" {title}: " in line for line in lines)
    assert all(re.fullmatch(r"\S+ [\w -]+: [\d,]+( of [\d,]+)?(, about .+ left| after .+)", line) for line in lines)
