"""What needs a GPU is skipped where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.cli.conftest import forgetctl as forgetctl
from tests.world import build_world


@pytest.fixture(autouse=True, scope="session")
def _gpu() -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU that torch can use")


@pytest.fixture(scope="session")
def broad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The world with models wide enough for weights of 4 bits."""
    return build_world(tmp_path_factory.mktemp("broad"), width=64)
