"""Two processes end where one does. The other engines, faults and resumes are in test_distributed.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import unlearn_arguments
from tests.distributed.launching import RECORDING, check_same, check_shares, compute_alone, ended, launch, stage

SETTINGS = ("--set", "epochs=2", "--set", "micro_batch_size=3")


@pytest.mark.slow
def test_two_processes_compute_different_rows_and_end_as_one(world: Path, tmp_path: Path) -> None:
    compute_alone(*unlearn_arguments(world, tmp_path / "alone", *SETTINGS))
    noted = tmp_path / "noted"
    noted.mkdir()
    arguments = unlearn_arguments(world, tmp_path / "run", *SETTINGS)
    code, _, errors = ended(launch("ddp", str(noted), *arguments, script=RECORDING))
    assert code == 0, errors
    check_same(tmp_path / "run", tmp_path / "alone")
    assert stage(tmp_path / "run")["processes"] == 2
    assert errors.count("Computing with") == 1
    check_shares(noted, sharded=False)
