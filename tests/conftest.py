"""A tiny model built in process, once a session: no network, ever."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

# Two cores and small tensors: more threads only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"

import pytest
from hypothesis import settings

from tests.tiers import GUARD, mark_folders
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
    with GUARD.unwatched():
        return build_world(tmp_path_factory.mktemp("world"))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the folders whose every test is heavy, before tests are chosen by their marks."""
    mark_folders(items)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """A test outside of the quick tier says so, or fails."""
    with GUARD.watching(item):
        return (yield)
