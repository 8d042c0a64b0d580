"""From a registered request to a sealed bundle, through the command line and on a real model."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

from forgetctl.files.writing import file_digest, model_digest
from forgetctl.rows.reading import read_rows
from forgetctl.runs.events import read_chain
from forgetctl.verify.basis import read_scores_file
from tests.cli.conftest import REQUESTS, unlearn_arguments
from tests.faults.breakage import killed_at
from tests.faults.processes import forgetctl as in_a_process
from tests.world import write_lines

Command = Callable[..., Result]


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    """The finished run with its keys and its register, to change at will."""
    shutil.copytree(finished, tmp_path / "run")
    shutil.copytree(finished.parent / "run.keys", tmp_path / "run.keys")
    for name in ("run.key", "register.sqlite"):
        shutil.copy(finished.parent / name, tmp_path / name)
    return tmp_path / "run"


def shown(forgetctl: Command, register: Path, name: str) -> dict[str, object]:
    value: dict[str, object] = json.loads(forgetctl("requests", "show", name, "--register", register, "--json").stdout)
    return value


def test_the_register_knows_run_and_verdict(finished: Path, forgetctl: Command) -> None:
    verdict = json.loads((finished / "verdict.json").read_text())["verdict"]
    for name in REQUESTS:
        found = shown(forgetctl, finished.parent / "register.sqlite", name)
        (run,) = found["runs"]  # type: ignore[misc]
        assert (run["path"], run["rows"]) == (str(finished), 5)
        assert run["run"] == f"run-{json.loads((finished / 'run.json').read_text())['uid']}"
        assert run["method"] == "npo-rt"
        # Copies of this run are verified elsewhere and write to the same register, so later verdicts may follow.
        told = [entry["changes"].get("verdict") for entry in found["history"]]  # type: ignore[attr-defined]
        assert next(value for value in told if value) == verdict
    assert json.loads((finished / "run.json").read_text())["requests"] == list(REQUESTS)


def test_events_tell_the_story_in_order(finished: Path) -> None:
    events = read_chain((finished / "events.jsonl").read_bytes())
    told = [(event.event, event.facts.get("status")) for event in events]
    assert told == [
        ("created", None),
        ("precheck", "done"),
        ("frozen", None),
        ("bound", None),
        ("pairing", "done"),
        ("unlearn", "running"),
        ("unlearn", "done"),
        ("verify", "running"),
        ("verify", "done"),
    ]
    assert events[2].facts["plan.json"] == file_digest(finished / "plan.json")
    assert events[6].facts["model_sha256"] == model_digest(finished / "model")
    assert events[8].facts["verdict_sha256"] == file_digest(finished / "verdict.json")


def test_the_curve_begins_at_the_start_model_and_ends_at_the_unlearned_one(finished: Path) -> None:
    verdict = json.loads((finished / "verdict.json").read_text())
    points = verdict["curve"]["points"]
    assert [(point["step"], point["epoch"]) for point in points] == [(3 * n, float(n)) for n in range(7)]
    models = verdict["models"]
    assert points[0]["forget_probability"] == pytest.approx(models["start"]["forget_probability"])
    # Measured in training and again from the saved weights.
    assert points[-1]["forget_probability"] == pytest.approx(models["unlearned"]["forget_probability"], rel=1e-4)
    retain = read_scores_file(finished / "scores" / "unlearned.json").sets["retain"]
    assert retain.rehearsed is not None
    kept = retain.probabilities[~np.array(retain.rehearsed)].mean()
    assert points[-1]["retain_probability"] == pytest.approx(kept, rel=1e-4)
    (quality,) = (one["distance"] for one in verdict["distances"] if one["name"] == "truth ratio")
    assert points[-1]["D"] == pytest.approx(quality["D"], abs=0.051)  # one of 20 rows may sit on the other side


def test_tracking_does_not_change_the_model(finished: Path, world: Path, tmp_path: Path, forgetctl: Command) -> None:
    assert forgetctl(*unlearn_arguments(world, tmp_path / "untracked")).exit_code == 0
    assert model_digest(tmp_path / "untracked" / "model") == model_digest(finished / "model")


def test_tracking_does_not_change_adapters_with_dropout(world: Path, tmp_path: Path, forgetctl: Command) -> None:
    dropout = ("--lora", "--set", "lora.dropout=0.5", "--set", "epochs=2")
    for name, more in (("plain", ()), ("tracked", ("--track",))):
        assert forgetctl(*unlearn_arguments(world, tmp_path / name, *dropout, *more)).exit_code == 0
    assert model_digest(tmp_path / "plain" / "model") == model_digest(tmp_path / "tracked" / "model")


@pytest.mark.parametrize("front", ["title: a: b", "[", "? [x]: y", "license: [mit]", "license: &a mit\nother: *a"])
def test_an_odd_card_of_the_start_model_stops_nothing(
    copy: Path, world: Path, tmp_path: Path, forgetctl: Command, front: str
) -> None:
    start = tmp_path / "start"
    shutil.copytree(world / "model", start)
    (start / "README.md").write_text(f"---\n{front}\n---\n")
    record = json.loads((copy / "run.json").read_text())
    record["options"]["model"] = str(start)
    (copy / "run.json").write_text(json.dumps(record))
    assert forgetctl("verify", copy, "--reference", world / "reference").exit_code in (0, 3, 4)
    assert "license" not in (copy / "model" / "README.md").read_text().split("---")[1]


def test_the_licence_is_the_start_model_s(copy: Path, world: Path, tmp_path: Path, forgetctl: Command) -> None:
    start = tmp_path / "start"
    shutil.copytree(world / "model", start)
    (start / "README.md").write_text("\ufeff---\nlicense: apache-2.0\n---\n", encoding="utf-8")
    record = json.loads((copy / "run.json").read_text())
    record["options"]["model"] = record["inputs"]["model"]["path"] = str(start)
    (copy / "run.json").write_text(json.dumps(record))
    forgetctl("verify", copy, "--reference", world / "reference")
    card = (copy / "model" / "README.md").read_text()
    assert "license: apache-2.0" in card
    assert "base_model" not in card


def test_an_environment_that_names_another_register_does_no_harm(
    copy: Path, world: Path, forgetctl: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = copy.with_name("other.sqlite")
    forgetctl("requests", "add", "X", "--jurisdiction", "gdpr", "--register", other)
    monkeypatch.setenv("FORGETCTL_REGISTER", str(other))
    assert forgetctl("verify", copy, "--reference", world / "reference").exit_code in (0, 3, 4)
    assert shown(forgetctl, other, "X")["runs"] == []


def test_files_that_may_hold_the_request_have_no_plain_digest(finished: Path, world: Path) -> None:
    for name in ("requests.jsonl", "employees.jsonl"):
        digest = file_digest(world / name)
        assert not [path for path in finished.rglob("*") if path.is_file() and digest.encode() in path.read_bytes()]
    inputs = json.loads((finished / "run.json").read_text())["inputs"]
    assert inputs["retain"]["commitment"].startswith("hmac-sha256:")


def test_seal_audit_prove_and_purge(copy: Path, world: Path, tmp_path: Path, forgetctl: Command) -> None:
    key, bundle = tmp_path / "officer.key", tmp_path / "run.bundle"
    assert forgetctl("keygen", "--out", key).exit_code == 0
    assert forgetctl("seal", copy, "--key", key).exit_code == 0
    audited = forgetctl("audit", bundle, "--key", f"{key}.pub", "--model", copy / "model")
    assert (audited.exit_code, "Bundle: sound" in audited.stdout) == (0, True)

    line = (world / "requests.jsonl").read_text().splitlines()[6]
    row = write_lines(tmp_path / "row.jsonl", [json.loads(line)])
    number = REQUESTS.index(json.loads(line)["request_id"]) + 1
    proved = forgetctl("prove", bundle, "--row", row, "--commit-key", tmp_path / "run.keys" / f"request-{number}.key")
    assert proved.exit_code == 0
    assert f"row 7 of request {REQUESTS[number - 1]}" in proved.stdout
    other = tmp_path / "run.keys" / f"request-{number % 4 + 1}.key"
    assert forgetctl("prove", bundle, "--row", row, "--commit-key", other).exit_code == 1

    purged = forgetctl("purge", copy, "--yes", "--keys")
    assert purged.exit_code == 0
    assert str(world / "requests.jsonl") in purged.stdout.replace("\n", "")
    assert not (tmp_path / "run.key").exists()
    assert not (tmp_path / "run.keys").exists()
    assert forgetctl("report", copy).exit_code == 0
    assert forgetctl("audit", bundle, "--key", f"{key}.pub").exit_code == 0
    again = forgetctl("verify", copy, "--reference", world / "reference")
    assert (again.exit_code, "run.key is gone" in again.stderr) == (1, True)


def test_no_request_text_in_bundle_register_or_card(
    copy: Path, world: Path, tmp_path: Path, forgetctl: Command
) -> None:
    key = tmp_path / "key"
    forgetctl("keygen", "--out", key)
    assert forgetctl("seal", copy, "--key", key).exit_code == 0
    texts = [text.encode() for row in read_rows(world / "requests.jsonl") for text in (row.prompt, row.response)]
    files = [*(tmp_path / "run.bundle").rglob("*"), tmp_path / "register.sqlite", copy / "model" / "README.md"]
    assert len(files) > 15
    for path in files:
        if path.is_file():
            content = path.read_bytes()
            assert not any(text in content for text in texts), path
    card = (copy / "model" / "README.md").read_text()
    assert not any(name in card for name in REQUESTS)
    assert str(tmp_path) not in card


def test_a_register_that_is_gone_is_noticed_before_measuring(copy: Path, world: Path, forgetctl: Command) -> None:
    record = json.loads((copy / "run.json").read_text())
    record["register"] = str(copy.with_name("moved.sqlite"))
    (copy / "run.json").write_text(json.dumps(record))
    before = (copy / "events.jsonl").read_bytes()
    result = forgetctl("verify", copy, "--holdout", world / "holdout.jsonl")
    assert result.exit_code == 1
    assert "give --register" in result.stderr
    assert (copy / "events.jsonl").read_bytes() == before
    register = copy.with_name("register.sqlite")
    found = forgetctl("verify", copy, "--holdout", world / "holdout.jsonl", "--register", register, "--json")
    (run,) = shown(forgetctl, register, REQUESTS[0])["runs"]  # type: ignore[misc]
    assert run["verdict"] == json.loads(found.stdout)["verdict"]


@pytest.mark.parametrize(
    ("requests", "why"),
    [
        (
            ["demo-000", "demo-001", "demo-002"],
            "its request_id names a request that --request does not",
        ),
        ([*REQUESTS, "demo-009"], "holds no row of request demo-009"),
        ([*REQUESTS, "demo-001"], "names a request twice"),
    ],
)
def test_rows_and_requests_must_fit(
    finished: Path, world: Path, tmp_path: Path, forgetctl: Command, requests: list[str], why: str
) -> None:
    served = [part for name in requests for part in ("--request", name)]
    register = finished.parent / "register.sqlite"
    result = forgetctl(*unlearn_arguments(world, tmp_path / "run", *served, "--register", str(register)))
    assert result.exit_code == 2
    assert why in result.stderr
    assert not (tmp_path / "run").exists()


def test_unknown_requests_and_registers_are_refused(world: Path, tmp_path: Path, forgetctl: Command) -> None:
    register = tmp_path / "register.sqlite"
    rows = [json.loads(line) for line in (world / "requests.jsonl").read_text().splitlines()]
    write_lines(tmp_path / "requests.jsonl", ({**row, "request_id": "R-1"} for row in rows))
    arguments = unlearn_arguments(world, tmp_path / "run", "--request", "R-1", "--register", str(register))
    arguments[arguments.index("--forget") + 1] = str(tmp_path / "requests.jsonl")
    assert forgetctl(*arguments).exit_code == 2  # no register
    forgetctl("requests", "add", "R-2", "--jurisdiction", "gdpr", "--register", register)
    result = forgetctl(*arguments)
    assert (result.exit_code, "R-1" in result.stderr) == (2, True)
    assert not (tmp_path / "run").exists()


def test_a_model_that_no_run_made_can_be_bound_and_sealed(world: Path, tmp_path: Path, forgetctl: Command) -> None:
    register, run, key = tmp_path / "register.sqlite", tmp_path / "checked", tmp_path / "key"
    for name in REQUESTS:
        forgetctl("requests", "add", name, "--jurisdiction", "ccpa", "--register", register)
    served = [part for name in REQUESTS for part in ("--request", name)]
    files = ["--model", world / "reference", "--start", world / "model", "--forget", world / "requests.jsonl"]
    verified = forgetctl("verify", *files, "--out", run, *served, "--register", register, "--json")
    verdict = json.loads(verified.stdout)["verdict"]
    (bound,) = shown(forgetctl, register, REQUESTS[2])["runs"]  # type: ignore[misc]
    assert (bound["path"], bound["rows"], bound["verdict"]) == (str(run), 5, verdict)
    forgetctl("keygen", "--out", key)
    assert forgetctl("seal", run, "--key", key).exit_code == 0
    arguments = ("--key", f"{key}.pub", "--model", world / "reference")
    assert forgetctl("audit", tmp_path / "checked.bundle", *arguments).exit_code == 0


def test_a_killed_run_keeps_its_events_and_can_be_sealed(world: Path, tmp_path: Path, forgetctl: Command) -> None:
    run, key = tmp_path / "run", tmp_path / "key"
    killed = in_a_process(*unlearn_arguments(world, run, "--track"), prepare=killed_at("*/checkpoint-9"))
    assert killed.code == -signal.SIGKILL
    assert (run / "checkpoints" / "checkpoint-6" / "complete.json").exists()
    assert forgetctl("unlearn", "--resume", run).exit_code == 0
    assert forgetctl("verify", run, "--reference", world / "reference").exit_code in (0, 3, 4)
    events = read_chain((run / "events.jsonl").read_bytes())
    assert [event.facts.get("status") for event in events if event.event == "unlearn"] == ["running", "running", "done"]
    assert sorted(path.name for path in (run / "tracked").iterdir()) == [f"step-{3 * n:06d}.json" for n in range(1, 7)]
    forgetctl("keygen", "--out", key)
    assert forgetctl("seal", run, "--key", key).exit_code == 0
    assert forgetctl("audit", tmp_path / "run.bundle", "--key", f"{key}.pub").exit_code == 0
