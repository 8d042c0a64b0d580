"""How a run was computed is kept with it, and a run that another version began is not gone on with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from forgetctl.errors import RunError
from forgetctl.model.processes import Ranks
from forgetctl.runs.run import Run
from forgetctl.studies.tofu import _training as study
from forgetctl.train.computing import known_plan
from forgetctl.train.plan import ComputePlan
from forgetctl.train.schedule import MicroBatchLimits
from forgetctl.train.unchanged import check_resumable

PLAN = ComputePlan(limits=MicroBatchLimits(rows=8, tokens=512), precision="fp32", why="test")
OLDER: dict[str, Callable[[dict[str, Any]], Any]] = {
    "a figure less": lambda plan: plan.pop("peak_bytes"),
    "a figure more": lambda plan: plan.update(parts=3),
    "a limit less": lambda plan: plan["limits"].pop("apart"),
    "a limit more": lambda plan: plan["limits"].update(parts=3),
    "no limits": lambda plan: plan.update(limits=None),
}


def interrupted(folder: Path, change: Callable[[dict[str, Any]], Any] = lambda _: None) -> Run:
    computing = PLAN.as_json()
    change(computing)
    run = Run.create(folder, {"kind": "unlearn", "inputs": {}})
    run.stage("pairing", "done")
    run.stage("unlearn", "interrupted", computing=computing)
    return run


def test_a_run_goes_on_as_it_was_computed(tmp_path: Path) -> None:
    run = interrupted(tmp_path / "run")
    assert known_plan(run) == PLAN
    check_resumable(run, Ranks())


def test_a_run_that_was_not_computed_yet_has_no_plan(tmp_path: Path) -> None:
    assert known_plan(Run.create(tmp_path / "run", {"kind": "unlearn", "inputs": {}})) is None


@pytest.mark.parametrize("change", OLDER.values(), ids=OLDER)
def test_a_run_that_another_version_began_must_be_begun_anew(
    change: Callable[[dict[str, Any]], Any], tmp_path: Path
) -> None:
    run = interrupted(tmp_path / "run", change)
    why = f"^{run.path} was begun by another version of forgetctl, and this one cannot continue it exactly; "
    with pytest.raises(RunError, match=f"{why}start a new run$"):
        check_resumable(run, Ranks())
    with pytest.raises(RunError, match=f"{why}remove {run.path}, and the same command begins it anew$"):
        study._plan(run, None, None)  # type: ignore[arg-type]
