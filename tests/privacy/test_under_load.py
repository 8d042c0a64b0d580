"""Many commands at once on one register and one run: nothing is lost, nothing is half written."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from forgetctl.register.store import Register
from forgetctl.report.render import build
from forgetctl.runs.run import Run
from tests.privacy.conftest import environment
from tests.seal.verified import verified_run


def at_once(folder: Path, commands: Sequence[Sequence[str]]) -> list[tuple[int, str]]:
    """Exit code and output of each."""
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "forgetctl", *command],
            cwd=folder, env=environment(folder), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for command in commands
    ]  # fmt: skip
    return [(process.wait(), output) for process in started for output in [process.communicate()[0]]]


def check_run(run: Path, kinds: Sequence[str]) -> None:
    """The records can be read, the chain of events is whole, the reports are those of these records."""
    report = build(run)
    assert [event.n for event in report.events] == list(range(1, len(report.events) + 1))
    for kind in kinds:
        assert (run / f"report.{kind}").stat().st_size > 0
    json.loads((run / "report.json").read_text())
    assert not list(run.glob(".*draft*"))


def check_register(file: Path, ids: Sequence[str], channels: Sequence[str]) -> None:
    with Register.open(file) as register:
        assert sorted(request.id for request in register.requests(closed=True)) == sorted(ids)
        history = [change.changes.get("channel") for change in register.get("REQ-0").history]
    assert sorted(channel for channel in history if channel) == sorted(channels)


def requests(count: int) -> tuple[list[list[str]], list[str], list[str]]:
    """Commands that add requests and change the first one, the ids and the values that must all be there."""
    register = ["--register", "register.sqlite"]
    ids = [f"REQ-{n}" for n in range(1, count + 1)]
    channels = [f"channel {n}" for n in range(count)]
    adding = [["requests", "add", name, "--jurisdiction", "gdpr", *register] for name in ids]
    changing = [["requests", "update", "REQ-0", "--channel", channel, *register] for channel in channels]
    return [command for pair in zip(adding, changing, strict=True) for command in pair], ["REQ-0", *ids], channels


def begin(folder: Path) -> None:
    ((code, told),) = at_once(
        folder, [["requests", "add", "REQ-0", "--jurisdiction", "gdpr", "--register", "register.sqlite"]]
    )
    assert code == 0, told


def test_a_few_at_once(tmp_path: Path) -> None:
    run = verified_run(tmp_path).path
    begin(tmp_path)
    changing, ids, channels = requests(3)
    reports = [["report", str(run), f"--{kind}"] for kind in ("json", "md")]
    for code, told in at_once(tmp_path, [*changing, *reports]):
        assert code == 0, told
    check_register(tmp_path / "register.sqlite", ids, channels)
    check_run(run, ("json", "md"))


@pytest.mark.slow
def test_twenty_at_once(finished: Path, world: Path, tmp_path: Path) -> None:
    """Six verifications, of which one at a time has the run; seven reports; eight changes of the register."""
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    shutil.copytree(finished.with_name("run.keys"), tmp_path / "run.keys")
    shutil.copy(finished.with_name("run.key"), tmp_path / "run.key")
    shutil.copy(finished.with_name("register.sqlite"), tmp_path / "bound.sqlite")
    begin(tmp_path)
    changing, ids, channels = requests(4)
    verifying = [
        ["verify", str(run), "--reference", str(world / "reference"), "--register", "bound.sqlite", "--force"]
    ] * 6
    reports = [["report", str(run), f"--{kind}"] for kind in ("html", "json", "md", "html", "json", "md")]
    ended = at_once(tmp_path, [*verifying, *reports, *changing])
    assert len(ended) == 20
    for code, told in ended[:6]:
        assert code in (0, 3, 4) or (code == 1 and "is in use by" in told), told
    assert any(code in (0, 3, 4) for code, _ in ended[:6])
    for code, told in ended[6:]:
        assert code == 0, told
    check_register(tmp_path / "register.sqlite", ids, channels)
    check_run(run, ("html", "json", "md"))
    assert Run.open(run).stage_done("verify")
