"""The three real commands on a tiny model, and what they leave behind."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from safetensors.numpy import load_file

from forgetctl.rows.reading import read_rows
from tests.cli.conftest import QUICK, unlearn_arguments

Command = Callable[..., Result]


def verdict_of(run: Path) -> dict[str, object]:
    value: dict[str, object] = json.loads((run / "verdict.json").read_text())
    return value


def test_run_directory_holds_what_the_design_names(finished: Path) -> None:
    names = {path.name for path in finished.iterdir() if not path.name.startswith(".")}
    assert names == {
        *("run.json", "recipe.yaml", "plan.json", "pairs.json", "start.json", "model", "log.jsonl"),
        *("scores", "verdict.json", "report.html", "events.jsonl", "commitments.json", "tracked"),
    }
    assert (finished.parent / "latest").resolve() == finished.resolve()
    assert {path.name for path in (finished / "scores").iterdir()} == {"start.json", "unlearned.json", "reference.json"}


def test_the_model_forgot(finished: Path) -> None:
    models = verdict_of(finished)["models"]
    assert isinstance(models, dict)
    assert models["unlearned"]["forget_probability"] < 0.8 * models["start"]["forget_probability"]


def test_plan_is_older_than_training(finished: Path) -> None:
    plan = json.loads((finished / "plan.json").read_text())
    stages = json.loads((finished / "run.json").read_text())["stages"]
    assert plan["created"] <= stages["unlearn"]["running_at"]
    assert verdict_of(finished)["bounds"] == plan["bounds"]


def test_verdict_has_the_promised_keys(finished: Path) -> None:
    verdict = verdict_of(finished)
    assert {"schema", "verdict", "checks", "models", "forget_quality", "kl"} <= set(verdict)
    measures = {"forget_probability", "retain_probability", "truth_ratio", "rouge"}
    assert all(measures <= set(model) for model in verdict["models"].values())  # type: ignore[attr-defined]
    assert set(verdict["forget_quality"]) == {"variant", "perturbed"}  # type: ignore[call-overload]
    kl = verdict["kl"]
    assert isinstance(kl, dict)
    assert set(kl) == {"forget_distance", "retain_distance", "forget_from_start"}
    assert all(value > 0 for value in kl.values())


def test_log_has_a_line_for_every_step(finished: Path) -> None:
    lines = [json.loads(line) for line in (finished / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 19))
    assert all({"loss", "forget_logp_per_token", "retain_logp_per_token"} <= set(line) for line in lines)


def test_no_request_text_anywhere_in_the_run(finished: Path, world: Path) -> None:
    rows = read_rows(world / "requests.jsonl")
    texts = [text.encode() for row in rows for text in (row.prompt, row.response, row.subject_id or "subject-")]
    for path in finished.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not any(text in content for text in texts), path


def test_retain_rows_are_scored_that_were_rehearsed_and_that_were_not(finished: Path) -> None:
    pairs = json.loads((finished / "pairs.json").read_text())
    rehearsed = dict.fromkeys(pairs["train"], True) | dict.fromkeys(pairs["check"], False)
    for file in (finished / "scores").iterdir():
        retain = json.loads(file.read_text())["sets"]["retain"]
        assert retain["rehearsed"] == [rehearsed[int(name) - 1] for name in retain["names"]]
        assert retain["rehearsed"].count(False) == len(pairs["check"])
        assert retain["rehearsed"].count(True) == len(pairs["train"])  # fewer than 150
    kept = verdict_of(finished)["answers_kept"]
    assert [one["rows"] for one in kept] == ["rehearsed rows", "unrehearsed rows"]  # type: ignore[attr-defined]


def test_retain_sample_excludes_the_request(finished: Path, world: Path) -> None:
    pairs = json.loads((finished / "pairs.json").read_text())
    rows = read_rows(world / "employees.jsonl")
    forgotten = {row.prompt for row in read_rows(world / "requests.jsonl")}
    chosen = [rows[index].prompt for index in (*pairs["train"], *pairs["check"])]
    assert forgotten.isdisjoint(chosen)
    assert pairs["excluded"]["forget_rows"] == 20
    assert not set(pairs["train"]) & set(pairs["check"])


def test_verify_is_not_repeated_for_nothing(finished: Path, world: Path, forgetctl: Command) -> None:
    before = (finished / "verdict.json").stat().st_mtime_ns
    result = forgetctl("verify", finished, "--reference", world / "reference", "--json")
    assert "Nothing has changed" in result.stderr
    shown = json.loads(result.stdout)
    assert [one.pop("subject_id") for one in shown["subjects"]] == [f"subject-{number:03d}" for number in range(1, 5)]
    assert shown == verdict_of(finished)
    assert (finished / "verdict.json").stat().st_mtime_ns == before


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run with its key, to change at will."""
    shutil.copytree(finished, tmp_path / "run")
    shutil.copy(finished.parent / "run.key", tmp_path / "run.key")
    return tmp_path / "run"


def test_a_verdict_of_another_version_is_reached_again(copy: Path, world: Path, forgetctl: Command) -> None:
    known = verdict_of(copy)
    (copy / "verdict.json").write_text(json.dumps({**known, "schema": 2, "reasons": []}))
    for file in (copy / "tracked").iterdir():  # which cannot be scored again
        file.write_text(json.dumps({**json.loads(file.read_text()), "schema_version": 2}))
    older = forgetctl("report", copy)
    assert older.exit_code == 1
    assert f"verify again: forgetctl verify {copy}" in older.stderr
    result = forgetctl("verify", copy, "--reference", world / "reference", "--json")
    assert "Nothing has changed" not in result.stderr
    again = json.loads(result.stdout)
    assert again["schema"] == 4
    assert again["checks"] == known["checks"]
    assert (again["curve"], again["basis"]["tracked"]) == (None, {})
    why = "the scores tracked in training are of another version of forgetctl (schema 2, this one reads 4)"
    assert {"check": "curve", "reason": why, "source": "measuring"} in again["skipped"]
    assert forgetctl("report", copy, "--md").exit_code == 0
    assert why in (copy / "report.md").read_text()
    assert forgetctl("keygen", "--out", copy.parent / "key").exit_code == 0
    assert forgetctl("seal", copy, "--key", copy.parent / "key").exit_code == 0
    audited = forgetctl("audit", copy.with_name("run.bundle"), "--key", copy.parent / "key.pub")
    assert audited.exit_code == 0, audited.output


def test_a_verdict_that_was_edited_is_refused(copy: Path, world: Path, forgetctl: Command) -> None:
    other = "FAIL" if verdict_of(copy)["verdict"] == "PASS" else "PASS"
    (copy / "verdict.json").write_text(json.dumps({**verdict_of(copy), "verdict": other}))
    edited = forgetctl("verify", copy, "--reference", world / "reference")
    assert edited.exit_code == 1
    assert "verdict.json is not the verdict that was reached; verify again with --force" in edited.stderr
    again = forgetctl("verify", copy, "--reference", world / "reference", "--force", "--json")
    assert json.loads(again.stdout)["verdict"] != other


def test_without_reference_the_verdict_is_inconclusive(copy: Path, forgetctl: Command) -> None:
    result = forgetctl("verify", copy, "--json")
    verdict = json.loads(result.stdout)
    assert result.exit_code == 4
    assert verdict["verdict"] == "INCONCLUSIVE"
    assert verdict["checks"][0]["code"] == "NO_REFERENCE"
    assert "--reference" in verdict["checks"][0]["text"]
    assert verdict["forget_quality"] is None
    assert {"check": "forget_quality", "reason": "there is no reference", "source": "scores"} in verdict["skipped"]
    assert not (copy / "scores" / "reference.json").exists()


def test_scores_stand_in_for_the_reference_model(copy: Path, finished: Path, forgetctl: Command) -> None:
    result = forgetctl("verify", copy, "--reference", finished / "scores" / "reference.json", "--json")
    verdict, known = json.loads(result.stdout), verdict_of(finished)
    assert verdict["comparison"]["kind"] == "scores"
    assert verdict["forget_quality"] == known["forget_quality"]
    assert verdict["kl"]["forget_distance"] is None
    assert "kl.forget_distance" in [item["check"] for item in verdict["skipped"]]


def test_holdout_is_weaker_evidence_and_named_so(copy: Path, world: Path, forgetctl: Command) -> None:
    verdict = json.loads(forgetctl("verify", copy, "--holdout", world / "holdout.jsonl", "--json").stdout)
    assert verdict["comparison"]["kind"] == "holdout"
    assert "weaker evidence" in verdict["checks"][0]["text"]
    (distance,) = verdict["distances"]
    assert (distance["name"], distance["distance"]["n"]) == ("answer log-prob", 20)


def test_holdout_with_a_forget_row_is_refused(copy: Path, world: Path, forgetctl: Command) -> None:
    result = forgetctl("verify", copy, "--holdout", world / "requests.jsonl")
    assert result.exit_code == 2
    assert "requests.jsonl:1: is one of the rows to forget" in result.stderr


def test_changed_inputs_are_named(copy: Path, world: Path, tmp_path: Path, forgetctl: Command) -> None:
    record = json.loads((copy / "run.json").read_text())
    changed = tmp_path / "requests.jsonl"
    changed.write_text((world / "requests.jsonl").read_text() + "\n")
    record["options"]["forget"] = str(changed)
    (copy / "run.json").write_text(json.dumps(record))
    result = forgetctl("verify", copy)
    assert result.exit_code == 1
    assert f"{changed} has changed" in result.stderr


def test_more_about_the_same_request_can_be_given_at_verification(
    copy: Path, world: Path, tmp_path: Path, forgetctl: Command
) -> None:
    shuffled = tmp_path / "other.jsonl"
    shuffled.write_text("\n".join(reversed((world / "requests.jsonl").read_text().splitlines())))
    assert forgetctl("verify", copy, "--forget", world / "requests.jsonl").exit_code == 4
    result = forgetctl("verify", copy, "--forget", shuffled)
    assert result.exit_code == 2
    assert "other.jsonl:1: is not a row of the run's request" in result.stderr


def model_arguments(world: Path, model: str, out: Path, reference: str = "reference") -> list[str]:
    files = {"--model": model, "--reference": reference, "--start": "model", "--forget": "requests.jsonl"}
    pairs = [part for option, name in files.items() for part in (option, str(world / name))]
    return ["verify", *pairs, "--retain", str(world / "remaining.jsonl"), "--out", str(out), "--json", *QUICK]


def test_the_start_model_fails(world: Path, tmp_path: Path, forgetctl: Command) -> None:
    result = forgetctl(*model_arguments(world, "model", tmp_path / "run"))
    assert result.exit_code == 3
    verdict = json.loads(result.stdout)
    failed = {check["code"] for check in verdict["checks"] if check["status"] == "fail"}
    assert "MEMORY_LEFT" in failed
    for person in verdict["subjects"]:
        assert {"subject", "subject_id", "rows", "verdict", "share_left", "reasons"} <= set(person)
        assert (person["rows"], person["verdict"]) == (5, "FAIL")
        assert person["share_left"]["low"] > 0.5


def test_a_twin_of_the_reference_is_equal_but_twenty_rows_prove_nothing(
    world: Path, tmp_path: Path, forgetctl: Command
) -> None:
    twin = tmp_path / "twin"
    shutil.copytree(world / "reference", twin)
    (twin / "config.json").write_text((twin / "config.json").read_text() + "\n")  # another file, the same model
    arguments = model_arguments(world, "reference", tmp_path / "run", str(twin))
    result = forgetctl(*arguments, "--set", "verify.utility_loss=0.5")
    verdict = json.loads(result.stdout)
    codes = {check["name"]: check["code"] for check in verdict["checks"]}
    assert codes["truth ratio"] == codes["answer log-prob"] == "UNDERPOWERED"
    assert result.exit_code != 0
    assert verdict["distances"][0]["distance"]["D"] == 0
    assert verdict["kl"]["forget_distance"] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("name", ["verified", "start"])
def test_no_model_is_its_own_reference(name: str, world: Path, tmp_path: Path, forgetctl: Command) -> None:
    models = {"verified": ("model", "model"), "start": ("reference", "model")}[name]
    result = forgetctl(*model_arguments(world, models[0], tmp_path / "run", models[1]))
    assert result.exit_code == 2
    assert f"is the {name} model itself, so it is no reference" in result.stderr


def test_an_edited_plan_is_noticed(copy: Path, forgetctl: Command) -> None:
    (copy / "plan.json").write_text((copy / "plan.json").read_text().replace("0.15", "0.2"))
    result = forgetctl("verify", copy)
    assert result.exit_code == 1
    assert "plan.json has changed since it was frozen" in result.stderr


def test_passages_are_asked_by_their_first_tokens(world: Path, tmp_path: Path, forgetctl: Command) -> None:
    rows = [json.loads(line) for line in (world / "requests.jsonl").read_text().splitlines()]
    texts = [row["response"] for row in rows[:19]]
    passages = tmp_path / "passages.jsonl"
    lines = [{"text": text, "secrets": [text.split()[-1]]} for text in texts] + [{"text": "7", "secrets": ["7"]}]
    passages.write_text("\n".join(json.dumps(line) for line in lines))
    arguments = [*model_arguments(world, "model", tmp_path / "run"), "--forget", str(passages)]
    verdict = json.loads(forgetctl(*arguments).stdout)
    assert verdict["secrets"]["named"] == 20
    assert verdict["secrets"]["untested"] == 1  # a single token has no beginning to give away
    assert verdict["models"]["unlearned"]["rouge"] is None
    assert list(verdict["extraction"]["unlearned"]["first tokens"]["secrets"])[1] == 19


@pytest.mark.parametrize("options", [("--method", "ga"), ("--set", "epochs=1"), ("--lora",), ("--out", "x")])
def test_resume_takes_no_other_settings(options: tuple[str, ...], finished: Path, forgetctl: Command) -> None:
    result = forgetctl("unlearn", "--resume", finished, *options)
    assert result.exit_code == 2
    assert f"{options[0]} cannot change it" in result.stderr


def test_a_model_that_no_run_made_gets_a_report(world: Path, tmp_path: Path, forgetctl: Command) -> None:
    forgetctl(*model_arguments(world, "model", tmp_path / "run"))
    result = forgetctl("report", tmp_path / "run", "--md")
    assert result.exit_code == 0
    assert "FAIL" in result.stdout


def test_missing_perturbed_answers_are_made_from_similar_rows(world: Path, tmp_path: Path, forgetctl: Command) -> None:
    plain = tmp_path / "plain.jsonl"
    rows = [json.loads(line) for line in (world / "requests.jsonl").read_text().splitlines()]
    plain.write_text("\n".join(json.dumps({key: row[key] for key in ("prompt", "response")}) for row in rows))
    arguments = [*model_arguments(world, "model", tmp_path / "run"), "--forget", str(plain)]
    verdict = json.loads(forgetctl(*arguments).stdout)
    assert verdict["forget_quality"]["perturbed"] == "nearest answers"
    assert verdict["secrets"] is None


def test_an_evaluation_log_serves_as_reference(world: Path, tmp_path: Path, forgetctl: Command) -> None:
    n = 20
    log = {
        "gt_loss": {str(i): 30.0 + i for i in range(n)},
        "num_token_gt": dict.fromkeys(map(str, range(n)), 10),
        "paraphrased_loss": {str(i): 20.0 + i for i in range(n)},
        "num_token_paraphrased": dict.fromkeys(map(str, range(n)), 10),
        "perturb_loss": {str(i): [21.0, 22.0] for i in range(n)},
        "num_token_perturb": {str(i): [10, 10] for i in range(n)},
        "rougeL_recall": dict.fromkeys(map(str, range(n)), 0.3),
    }
    (tmp_path / "log.json").write_text(json.dumps({"eval_log_forget.json": log}))
    arguments = model_arguments(world, "model", tmp_path / "run", str(tmp_path / "log.json"))
    verdict = json.loads(forgetctl(*arguments).stdout)
    assert verdict["comparison"] == {"kind": "tofu-log", "name": "log.json", "others": []}
    assert verdict["models"]["reference"]["rouge"] == pytest.approx(0.3)
    # Ten tokens an answer there, another number here: compared by truth ratio only, and said so.
    assert verdict["forget_quality"] is not None
    assert [distance["name"] for distance in verdict["distances"]] == ["truth ratio"]
    assert "answer_distance" in [item["check"] for item in verdict["skipped"]]
    assert "NOT_MEASURED" in [check["code"] for check in verdict["checks"]]


def test_without_retain_file_the_start_model_makes_the_sample(world: Path, tmp_path: Path, forgetctl: Command) -> None:
    out = tmp_path / "run"
    arguments = unlearn_arguments(world, out)
    at = arguments.index("--retain")
    short = [*arguments[:at], *arguments[at + 2 :], "--set", "retain.answer_tokens=6"]
    result = forgetctl(*short)
    assert result.exit_code == 0, result.output
    assert "its own answers to 300 neutral prompts" in result.stderr
    record = json.loads((out / "run.json").read_text())
    assert record["inputs"]["retain"]["path"] is None
    assert "own answers" in record["inputs"]["retain"]["origin"]
    verified = forgetctl("verify", out, "--json")
    assert json.loads(verified.stdout)["models"]["unlearned"]["retain_probability"] is not None


@pytest.mark.parametrize("method", ["ga", "ga-rt", "npo"])
def test_every_method_runs(method: str, world: Path, tmp_path: Path, forgetctl: Command) -> None:
    out = tmp_path / "run"
    result = forgetctl(*unlearn_arguments(world, out, "--method", method, "--set", "epochs=1", "--json"))
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["unlearn"]["steps"] == 3
    assert json.loads((out / "run.json").read_text())["objective"]["method"] == method


def test_lora_is_merged_into_an_ordinary_model(world: Path, tmp_path: Path, forgetctl: Command) -> None:
    out = tmp_path / "run"
    result = forgetctl(*unlearn_arguments(world, out, "--lora", "--set", "epochs=2"))
    assert result.exit_code == 0, result.output
    start, merged = (load_file(path / "model.safetensors") for path in (world / "model", out / "model"))
    assert {name: value.shape for name, value in start.items()} == {n: v.shape for n, v in merged.items()}
    changed = [name for name in start if (start[name] != merged[name]).any()]
    assert changed
    assert all("proj" in name for name in changed)
    assert not (out / "model" / "adapter_config.json").exists()


def test_dry_run_shows_the_scored_tokens_and_writes_nothing(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forgetctl: Command
) -> None:
    monkeypatch.chdir(tmp_path)
    result = forgetctl(*unlearn_arguments(world, tmp_path / "run", "--dry-run"))
    row = read_rows(world / "requests.jsonl")[0]
    assert result.exit_code == 0, result.output
    assert f"⟦ {row.response}</s>⟧" in result.stdout
    assert list(tmp_path.iterdir()) == []
    facts = json.loads(forgetctl(*unlearn_arguments(world, tmp_path / "run", "--dry-run", "--json")).stdout)
    assert facts["optimizer_steps"] == 18
    assert facts["peak_memory_bytes"] > 0


def test_rows_are_cut_only_on_demand_and_counted(world: Path, tmp_path: Path, forgetctl: Command) -> None:
    result = forgetctl(*unlearn_arguments(world, tmp_path / "run", "--max-length", "30", "--set", "epochs=1"))
    assert result.exit_code == 0, result.output
    cut = json.loads((tmp_path / "run" / "run.json").read_text())["inputs"]["forget"]["cut"]
    assert cut > 0
    assert f"{cut} of 20 forget rows are cut at 30 tokens" in result.stderr


def test_settings_reach_the_frozen_recipe(finished: Path) -> None:
    text = (finished / "recipe.yaml").read_text()
    assert "epochs: 6" in text
    assert "learning_rate: 0.005" in text
    assert "samples: 2" in text
