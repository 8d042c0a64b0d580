"""One request after another: a run begins with an earlier one's model, and what that forgot stays forgotten."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from forgetctl.cli.main import cli
from forgetctl.files.writing import file_digest, model_digest
from forgetctl.rows.reading import read_rows
from tests.cli.conftest import QUICK, REQUESTS, SETTINGS

Command = Callable[..., Result]
PEOPLE = slice(25, 35)
"""Rows of two people whom the first request does not name."""


def record_of(run: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((run / "run.json").read_text())
    return value


def arguments(world: Path, model: Path, forget: Path, out: Path, *more: str) -> list[str]:
    files = {"--model": model, "--forget": forget, "--retain": world / "employees.jsonl", "--out": out}
    return ["unlearn", *(str(part) for pair in files.items() for part in pair), *SETTINGS, "--set", "epochs=2", *more]


@pytest.fixture(scope="session")
def second_request(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("second") / "second.jsonl"
    file.write_text("\n".join((world / "employees.jsonl").read_text().splitlines()[PEOPLE]) + "\n")
    return file


@pytest.fixture(scope="session")
def second(world: Path, finished: Path, second_request: Path) -> Path:
    """Begun with the first run by its name, and verified with --also."""
    run = second_request.with_name("run")
    made = CliRunner().invoke(cli, arguments(world, finished, second_request, run))
    assert made.exit_code == 0, made.output
    checked = CliRunner().invoke(cli, ["verify", str(run), "--also", str(finished)])
    assert checked.exit_code in (3, 4), checked.output
    return run


def test_it_begins_with_the_earlier_runs_model(second: Path, finished: Path) -> None:
    record, before = record_of(second), record_of(finished)
    assert record["inputs"]["model"]["sha256"] == model_digest(finished / "model")
    assert record["inputs"]["model"]["name"] == before["inputs"]["model"]["name"] == "model"
    assert record["options"]["model"] == str((finished / "model").resolve())
    assert json.loads((second / "scores" / "start.json").read_text())["sha256"] == model_digest(finished / "model")


def test_the_lineage_is_in_the_record_without_text(second: Path, finished: Path, world: Path) -> None:
    before = record_of(finished)
    (told,) = record_of(second)["lineage"]
    assert told == {
        "run": before["id"],
        "created": before["created"],
        "method": "npo-rt",
        "requests": list(REQUESTS),
        "rows": 20,
        "commitment": before["inputs"]["forget"]["commitment"],
        "commitments_sha256": file_digest(finished / "commitments.json"),
        "model_sha256": model_digest(finished / "model"),
        "verdict": before["stages"]["verify"]["verdict"],
        "verdict_sha256": file_digest(finished / "verdict.json"),
    }
    everything = b"".join(path.read_bytes() for path in second.rglob("*") if path.is_file())
    for row in read_rows(world / "requests.jsonl"):
        assert row.response.encode() not in everything


def test_the_card_and_the_report_tell_it(second: Path, finished: Path, forgetctl: Command) -> None:
    card = (second / "model" / "README.md").read_text()
    assert "had been made to unlearn other rows already" in card
    assert model_digest(finished / "model") in card
    assert not any(name in card for name in REQUESTS)
    text = forgetctl("report", second, "--md").stdout
    assert "### Lineage" in text
    assert "What was forgotten earlier" in text


def test_what_was_forgotten_earlier_is_checked(second: Path, finished: Path) -> None:
    verdict = json.loads((second / "verdict.json").read_text())
    name = f"1 ({record_of(finished)['id']})"
    checks = {check["name"]: check for check in verdict["checks"]}
    assert checks[f"earlier request {name}"]["status"] in ("pass", "unknown", "fail")
    assert checks[f"secrets of earlier request {name}"]["code"] in ("NO_EARLIER_LEAK", "EARLIER_SECRET_LEAKED")
    (found,) = verdict["earlier"]
    then, now = (json.loads((second / "scores" / f"unlearned-{when}1.json").read_text()) for when in ("then", "now"))
    known = json.loads((finished / "scores" / "unlearned.json").read_text())["sets"]["forget"]
    assert then["sets"]["earlier"] == known
    assert now["sha256"] == model_digest(second / "model")
    tokens = known["answer_tokens"]
    means = [
        sum(logp / count for logp, count in zip(scores["sets"]["earlier"]["answer_logp"], tokens, strict=True)) / 20
        for scores in (now, then)
    ]
    assert found["shift"]["difference"] == pytest.approx(means[0] - means[1])
    told = [part for part in verdict["inputs"] if part["role"] == "earlier request"]
    assert [part["commitment"] for part in told] == [record_of(finished)["inputs"]["forget"]["commitment"]]
    assert "earlier requests" not in [part["check"] for part in verdict["skipped"]]


def test_the_verdict_follows_from_its_files(second: Path, tmp_path: Path, forgetctl: Command) -> None:
    """Sealing reaches it again from the stored scores alone."""
    run = Path(shutil.copytree(second, tmp_path / "run"))
    for keys in ("run.key", "run.keys"):
        source = second.with_name(keys)
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / keys)
    assert forgetctl("keygen", "--out", tmp_path / "owner.key").exit_code == 0
    key = tmp_path / "owner.key"
    sealed = forgetctl("seal", run, "--key", key)
    assert sealed.exit_code == 0, sealed.output


def test_nothing_has_changed_without_a_change(second: Path, finished: Path, forgetctl: Command) -> None:
    assert "Nothing has changed" in forgetctl("verify", second, "--also", finished).stderr


def test_a_verification_that_leaves_it_out_says_so(second: Path, tmp_path: Path, forgetctl: Command) -> None:
    run = Path(shutil.copytree(second, tmp_path / "run"))
    shutil.copy(second.with_name("run.key"), tmp_path / "run.key")
    verdict = json.loads(forgetctl("verify", run, "--json").stdout)
    assert {
        "check": "earlier requests",
        "reason": "not asked for (--also RUN; 1 runs came before this one)",
        "source": "measuring",
    } in verdict["skipped"]


def test_the_same_model_remembers_nothing(world: Path, finished: Path, tmp_path: Path, forgetctl: Command) -> None:
    """A copy of the earlier run's model, verified on other rows, knows what it was made to forget as little as then."""
    copy = Path(shutil.copytree(finished / "model", tmp_path / "copy"))
    verdict = also(world, copy, finished, tmp_path, forgetctl)
    (check,) = [check for check in verdict["checks"] if check["name"].startswith("earlier request")]
    assert verdict["earlier"][0]["shift"]["difference"] == pytest.approx(0, abs=1e-4)
    assert check["code"] == "STAYS_FORGOTTEN"
    assert {one["code"] for one in verdict["checks"] if "of earlier request" in one["name"]} <= {
        "NO_EARLIER_LEAK",
        "NO_EARLIER_ANSWER_LEAKED",
    }


def test_the_start_model_remembers_all(world: Path, finished: Path, tmp_path: Path, forgetctl: Command) -> None:
    verdict = also(world, world / "model", finished, tmp_path, forgetctl)
    (check,) = [check for check in verdict["checks"] if check["name"].startswith("earlier request")]
    assert check["code"] == "REMEMBERED_AGAIN"
    assert verdict["earlier"][0]["shift"]["difference"] > 0.1


def also(world: Path, model: Path, run: Path, out: Path, forgetctl: Command) -> dict[str, Any]:
    parts = ["verify", "--model", model, "--forget", world / "remaining.jsonl", "--also", run, "--out", out / "run"]
    value: dict[str, Any] = json.loads(forgetctl(*parts, "--json", *QUICK).stdout)
    return value


def test_longer_lines_of_runs(
    world: Path, second: Path, second_request: Path, tmp_path: Path, forgetctl: Command
) -> None:
    """The model of the second run, given by its directory, has both runs in its lineage."""
    third = tmp_path / "third.jsonl"
    third.write_text("\n".join((world / "employees.jsonl").read_text().splitlines()[40:45]) + "\n")
    result = forgetctl(*arguments(world, second / "model", third, tmp_path / "run", "--set", "epochs=1"))
    assert result.exit_code == 0, result.output
    told = record_of(tmp_path / "run")["lineage"]
    assert [one["rows"] for one in told] == [20, 10]
    assert told[:1] == record_of(second)["lineage"]
    assert told[1]["verdict"] == record_of(second)["stages"]["verify"]["verdict"]


# What is refused


@pytest.fixture
def earlier(finished: Path, tmp_path: Path) -> Path:
    """A copy of the first run, to spoil."""
    shutil.copy(finished.with_name("run.key"), tmp_path / "first.key")
    return Path(shutil.copytree(finished, tmp_path / "first"))


def edit_record(run: Path, change: Callable[[dict[str, Any]], object]) -> None:
    record = record_of(run)
    change(record)
    (run / "run.json").write_text(json.dumps(record))


def test_a_changed_model_is_no_earlier_runs(
    world: Path, earlier: Path, second_request: Path, forgetctl: Command
) -> None:
    (earlier / "model" / "config.json").write_text((earlier / "model" / "config.json").read_text() + "\n")
    for model in (earlier, earlier / "model"):
        result = forgetctl(*arguments(world, model, second_request, earlier.with_name("out")))
        assert result.exit_code == 1
        assert "has changed since" in result.stderr
    assert not earlier.with_name("out").exists()


SPOILT_START: dict[str, tuple[Callable[[Path], object], int, str]] = {
    "unfinished": (
        lambda run: edit_record(run, lambda record: record["stages"]["unlearn"].update(status="interrupted")),
        1,
        "is not finished; continue it with: forgetctl unlearn --resume",
    ),
    "gone": (lambda run: shutil.rmtree(run / "model"), 1, "the model of"),
    "verified only": (
        lambda run: edit_record(run, lambda record: record.update(kind="verify")),
        2,
        "verified a model that no run made",
    ),
    "damaged": (lambda run: edit_record(run, lambda record: record.pop("objective")), 1, "run.json is damaged"),
}


@pytest.mark.parametrize("spoil", SPOILT_START)
def test_a_run_without_a_model_to_begin_with(
    spoil: str, world: Path, earlier: Path, second_request: Path, forgetctl: Command
) -> None:
    change, code, why = SPOILT_START[spoil]
    change(earlier)
    result = forgetctl(*arguments(world, earlier, second_request, earlier.with_name("out")))
    assert (result.exit_code, why in result.stderr) == (code, True), result.stderr
    assert not earlier.with_name("out").exists()


def test_the_newest_run_by_its_link(
    world: Path, earlier: Path, second_request: Path, monkeypatch: pytest.MonkeyPatch, forgetctl: Command
) -> None:
    monkeypatch.chdir(earlier.parent)
    dry = arguments(world, Path("runs/latest"), second_request, Path("runs/out"), "--dry-run")
    result = forgetctl(*dry)
    assert result.exit_code == 2
    assert "no run at runs/latest: nothing has been run here yet" in result.stderr
    Path("runs").mkdir()
    Path("runs/latest").symlink_to(earlier)
    assert forgetctl(*dry).exit_code == 0
    (earlier / "model" / "config.json").write_text("{}")
    assert f"{earlier} made it" in forgetctl(*dry).stderr


SPOILT_ALSO: dict[str, tuple[Callable[[Path], object], int, str]] = {
    "not verified": (
        lambda run: edit_record(run, lambda record: record["stages"].pop("verify")),
        1,
        "was not verified, so nobody knows what it forgot",
    ),
    "no scores": (lambda run: (run / "scores" / "unlearned.json").unlink(), 1, "unlearned.json is gone"),
    "other scores": (
        lambda run: shutil.copy(run / "scores" / "start.json", run / "scores" / "unlearned.json"),
        1,
        "is not what the verdict",
    ),
    "another version": (
        lambda run: (run / "verdict.json").write_text('{"schema": 2, "verdict": "PASS"}'),
        1,
        "was written by another version of forgetctl (schema 2, this one reads 4); verify again: forgetctl verify",
    ),
    "no key": (lambda run: run.with_name("first.key").unlink(), 1, "first.key is gone"),
    "no request": (
        lambda run: edit_record(run, lambda record: record["options"].update(forget=str(run / "gone.jsonl"))),
        2,
        "gone.jsonl: cannot be read, but --also",
    ),
    "another request": (
        lambda run: edit_record(run, lambda record: record["options"].update(forget=str(run / "plan.json"))),
        1,
        "plan.json has changed since",
    ),
    "no commitment": (
        lambda run: edit_record(run, lambda record: record["inputs"]["forget"].pop("commitment")),
        1,
        "has no commitment to its request",
    ),
    "verified only": (
        lambda run: edit_record(run, lambda record: record.update(kind="verify")),
        2,
        "made no model forget, it verified one",
    ),
}


@pytest.mark.parametrize("spoil", SPOILT_ALSO)
def test_an_earlier_run_that_cannot_be_checked(spoil: str, second: Path, earlier: Path, forgetctl: Command) -> None:
    change, code, why = SPOILT_ALSO[spoil]
    change(earlier)
    before = (second / "verdict.json").read_bytes()
    result = forgetctl("verify", second, "--also", earlier)
    assert (result.exit_code, why in result.stderr) == (code, True), result.stderr
    assert (second / "verdict.json").read_bytes() == before


def test_also_is_about_other_runs_and_needs_a_model(second: Path, finished: Path, forgetctl: Command) -> None:
    for more, why in (
        ([second, "--also", second], "is the run that is verified"),
        ([second, "--also", finished, "--also", finished], "names a run twice"),
        (["--scores", finished / "scores" / "unlearned.json", "--also", finished], "--scores brings none"),
    ):
        result = forgetctl("verify", *more)
        assert result.exit_code == 2
        assert why in result.stderr
