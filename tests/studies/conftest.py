"""The tiny TOFU, made once a session."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.studies.tofu_world import build


@pytest.fixture(scope="session")
def tofu(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """See `tofu_world.build`."""
    return build(tmp_path_factory.mktemp("tofu"))
