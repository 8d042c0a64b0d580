"""A tiny model built in process, once a session: no network, ever. And the quick tier of the tests."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Two cores and small tensors: more threads only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"

import pytest
from hypothesis import settings

from tests.tiers import Watch, is_heavy
from tests.world import build_world, encoder_of, loaded

if TYPE_CHECKING:
    from forgetctl.model.encoding import Encoder

# How long one example takes says more of what else the machine does.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")

SHARED = Path(__file__).resolve().parents[2] / "shared"
WATCH = pytest.StashKey[Watch]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help="only tests that start no process and train nothing")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--quick"):
        config.stash[WATCH] = Watch()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--quick"):
        heavy = [item for item in items if is_heavy(item)]
        config.hook.pytest_deselected(items=heavy)
        items[:] = [item for item in items if not is_heavy(item)]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    watch = item.config.stash.get(WATCH, None)
    with watch.over() if watch else nullcontext():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if watch := item.config.stash.get(WATCH, None):
        watch.excuse(item, call.excinfo and call.excinfo.value, report)
    return report


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with TOFU and small real models, which users do not have."""
    if not SHARED.is_dir():
        pytest.skip(f"needs the data folder {SHARED.name}/ beside the checkout")
    return SHARED


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Path:
    """A folder with model/ (knows everyone), reference/ (half trained on those who stay), and their row files."""
    watch = pytestconfig.stash.get(WATCH, None)
    with watch.turned(False) if watch else nullcontext():
        return build_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def model(world: Path) -> Any:
    """The world's model that knows everyone, loaded; not to be changed."""
    return loaded(world / "model")


@pytest.fixture
def encoder(world: Path) -> Encoder:
    """That model's encoder, with a tokenizer of its own that a test may change."""
    return encoder_of(world)
