"""What the processes after the main one have of a run."""

from __future__ import annotations

from pathlib import Path

import torch

from forgetctl.model.processes import Ranks
from forgetctl.runs.run import Run
from forgetctl.train.distributed import FollowerRun, broadcast_run, is_main_process, main_progress


def test_a_follower_knows_the_record_and_writes_nothing(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "run", {"kind": "unlearn"})
    before = {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()}
    follower = FollowerRun(run.path, dict(run.record))
    follower.stage("unlearn", "running", processes=2)
    follower.log({"step": 1})
    follower.cut_log(0)
    assert follower.record["stages"]["unlearn"]["processes"] == 2
    assert {path: path.read_bytes() for path in run.path.rglob("*") if path.is_file()} == before


def test_a_process_alone_is_the_main_one(tmp_path: Path) -> None:
    run = Run(tmp_path)
    assert broadcast_run(Ranks(), lambda: run) is run
    assert is_main_process()


def test_only_the_main_process_shows_anything() -> None:
    device, shown = torch.device("cpu"), object()
    assert main_progress(Ranks(), shown, device) is shown  # type: ignore[arg-type]
    assert main_progress(Ranks(index=1, count=2), shown, device) is not shown  # type: ignore[arg-type]
