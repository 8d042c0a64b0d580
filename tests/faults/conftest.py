"""Runs that nothing happened to, and one that was killed in the middle."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from .breakage import killed_at
from .processes import forgetctl
from .trial import Workshop


@pytest.fixture(scope="session")
def workshop(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop(world, tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="session")
def _stopped(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("stopped") / "run"
    assert forgetctl(*workshop.command("unlearn", run), prepare=killed_at("*/checkpoint-21")).code == -9
    return run.parent


@pytest.fixture
def stopped(_stopped: Path, tmp_path: Path) -> Path:
    """A copy of a run that was killed after step 21, with checkpoints after 15 and 18; with its keys."""
    return Path(shutil.copytree(_stopped, tmp_path / "stopped", symlinks=True)) / "run"


@pytest.fixture
def finished(workshop: Workshop, tmp_path: Path) -> Path:
    """A copy of a run that is trained, verified and reported; with its keys."""
    return Path(shutil.copytree(workshop.whole("report").parent, tmp_path / "finished", symlinks=True)) / "run"
