"""Rows of a data set of the hub through commands: never without permission, and at a commit that the record keeps."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from click.testing import Result

from tests.cli.conftest import forgetctl as forgetctl  # a fixture
from tests.cli.conftest import strangers as strangers  # a fixture
from tests.cli.conftest import unlearn_arguments
from tests.rows.fake_hub import COMMIT, Hub
from tests.rows.test_hub import hub as hub  # fixtures
from tests.rows.test_hub import running as running

Command = Callable[..., Result]
SOURCE = "hf://org/people@main"


def test_a_run_keeps_the_commit_of_its_retain_rows(hub: Hub, world: Path, tmp_path: Path, forgetctl: Command) -> None:
    hub.data_sets["org/people"] = {"train.jsonl": (world / "employees.jsonl").read_bytes()}
    arguments = unlearn_arguments(world, tmp_path / "run", "--retain", SOURCE, "--set", "epochs=1")
    result = forgetctl(*arguments)
    assert result.exit_code == 2
    assert "hf://org/people@main: is a data set of the hub, which needs --allow-download" in result.output
    assert hub.asked == []
    assert not (tmp_path / "run").exists()

    assert forgetctl(*arguments, "--allow-download").exit_code == 0
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["inputs"]["retain"]["revision"] == COMMIT
    assert "revision" not in record["inputs"]["forget"]
    assert "hf:/o" not in (tmp_path / "run" / "run.json").read_text()
    assert record["options"]["retain"] == record["inputs"]["retain"]["path"] == SOURCE


def test_the_same_rows_from_the_hub_and_from_a_file_make_the_same_model(
    hub: Hub, world: Path, tmp_path: Path, forgetctl: Command
) -> None:
    hub.data_sets["org/people"] = {"train.jsonl": (world / "employees.jsonl").read_bytes()}
    digests = []
    for name, source in (("file", str(world / "employees.jsonl")), ("hub", SOURCE)):
        arguments = unlearn_arguments(world, tmp_path / name, "--retain", source, "--set", "epochs=1")
        assert forgetctl(*arguments, "--allow-download").exit_code == 0
        record = json.loads((tmp_path / name / "run.json").read_text())
        digests.append(record["stages"]["unlearn"]["model_sha256"])
    assert digests[0] == digests[1]


def test_tune_keeps_the_commit(hub: Hub, world: Path, strangers: Path, tmp_path: Path, forgetctl: Command) -> None:
    hub.data_sets["org/people"] = {"train.jsonl": (world / "employees.jsonl").read_bytes()}
    files = (
        "--model",
        world / "model",
        "--forget",
        world / "requests.jsonl",
        "--retain",
        SOURCE,
        "--holdout",
        strangers,
    )
    out = ("--out", tmp_path / "tune", "--trials", "1", "--set", "epochs=1")
    result = forgetctl("tune", *files, *out, "--allow-download")
    assert result.exit_code == 0, result.output
    note = json.loads((tmp_path / "tune" / "tune.json").read_text())
    assert set(note) == {"inputs", "retain"}
    assert note["retain"] == {"path": SOURCE, "revision": COMMIT}
