"""A full disk, and a directory that may not be written: one line says so, and nothing that was whole is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from .breakage import At, full_disk, obey_permissions
from .disk import POINTS
from .processes import forgetctl
from .trial import Workshop

RESUMED = {
    "checkpoint": "*/checkpoint-24",
    "model": "*/run/.model.draft-*",
    "event": "*/run/events.jsonl",
}
"""What a resumed run writes."""
FURTHER = {
    "log": "*/run/log.jsonl",
    "mark": "*/checkpoint-24/.complete.json.draft-*",
    "tokenizer": "*/run/.model.draft-*/tokenizer*",
    "record": "*/run/.run.json.draft-*",
}


@pytest.mark.parametrize(
    "pattern",
    [*RESUMED.values(), *(pytest.param(pattern, marks=pytest.mark.slow) for pattern in FURTHER.values())],
    ids=[*RESUMED, *FURTHER],
)
def test_a_disk_that_becomes_full_stops_the_run_and_loses_nothing(
    pattern: str, workshop: Workshop, stopped: Path
) -> None:
    ended = forgetctl("unlearn", "--resume", stopped, prepare=At(pattern, full_disk))
    assert ended.code == 1
    last = ended.err.splitlines()[-1]
    assert last.startswith(f"Error: {stopped}/"), ended.err
    assert "cannot be written: " in last
    assert "Traceback" not in ended.err
    resumed = forgetctl("unlearn", "--resume", stopped)
    assert resumed.code == 0, resumed.err
    assert workshop.model_differences(stopped) == []


@pytest.mark.parametrize(
    "name", [*(pytest.param(name, marks=pytest.mark.slow) for name in ("scores", "verdict")), "report"]
)
def test_a_full_disk_after_training(name: str, workshop: Workshop, tmp_path: Path) -> None:
    (point,) = (point for point in POINTS if point.name == name)
    run = workshop.lay_out(point.stage, tmp_path / "place")
    command = workshop.command(point.stage, run)
    ended = forgetctl(*command, prepare=At(point.pattern, full_disk))
    assert ended.code == 1
    assert ended.err.splitlines()[-1] == f"Error: {_file(run, name)} cannot be written: File too large"
    assert forgetctl(*command).code in (0, 3, 4)
    assert [path.name for path in run.rglob("*.draft-*")] == []


def _file(run: Path, name: str) -> Path:
    return run / {"scores": "scores/unlearned.json", "verdict": "verdict.json", "report": "report.html"}[name]


@pytest.mark.parametrize("stage", ["resume", "verify", "report"])
def test_a_run_that_may_only_be_read(stage: str, workshop: Workshop, stopped: Path, finished: Path) -> None:
    run = stopped if stage == "resume" else finished
    command = {
        "resume": ("unlearn", "--resume", run),
        "verify": workshop.command("verify", run),
        "report": workshop.command("report", run),
    }[stage]
    run.chmod(0o500)
    try:
        ended = forgetctl(*command, prepare=obey_permissions)
    finally:
        run.chmod(0o700)
    assert ended.code == 1
    named = run / ("report.html" if stage == "report" else "lock.json")
    assert ended.err == f"Error: {named} cannot be written: Permission denied\n"


def test_a_place_that_may_only_be_read(workshop: Workshop, tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir(mode=0o500)
    ended = forgetctl(*workshop.command("unlearn", place / "run"), prepare=obey_permissions)
    assert ended.code == 2
    assert ended.err == f"Error: {place / 'run'} cannot be made: Permission denied\n"
