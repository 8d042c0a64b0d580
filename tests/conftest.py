"""A tiny model built in process, once a session: no network, ever."""

from __future__ import annotations

import os
from pathlib import Path

# Two cores and small tensors: more threads only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"

import pytest
from hypothesis import settings

from tests.world import build_world

# How long one example takes says more of what else the machine does.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with TOFU and small real models, which users do not have."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the data folder {SHARED.name}/ beside the checkout")
    return SHARED


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with model/ (knows everyone), reference/ (half trained on those who stay), and their row files."""
    return build_world(tmp_path_factory.mktemp("world"))
