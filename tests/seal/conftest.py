"""One sealed run, made once; each test gets copies that it may break."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from forgetctl.runs.run import Run
from forgetctl.seal._checks import Finding
from forgetctl.seal.audit import AuditOptions, exit_code, run_audit
from forgetctl.seal.keys import generate_key
from forgetctl.seal.seal import SealOptions, run_seal
from tests.seal.verified import COUNT, verified_run


@dataclass(frozen=True)
class Evidence:
    """A run with its sealed bundle, and the key pairs of an officer (who sealed it) and an engineer."""

    folder: Path
    run: Run
    bundle: Path
    officer: Path
    engineer: Path

    @staticmethod
    def public(key: Path) -> Path:
        return key.with_name(key.name + ".pub")

    def audit(self, bundle: Path | None = None, **options: object) -> tuple[int, list[Finding]]:
        chosen = {"keys": (self.public(self.officer),), **options}
        found = run_audit(AuditOptions(bundle=bundle or self.bundle, **chosen))  # type: ignore[arg-type]
        return exit_code(found), found


@pytest.fixture(scope="session")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    """Not to be changed."""
    folder = tmp_path_factory.mktemp("sealed")
    run = verified_run(folder)
    officer, engineer = folder / "officer", folder / "engineer"
    for key in (officer, engineer):
        generate_key(key)
    return Evidence(folder, run, run_seal(SealOptions(path=run.path, key=officer)), officer, engineer)


@pytest.fixture(scope="session")
def other(tmp_path_factory: pytest.TempPathFactory, sealed: Evidence) -> Path:
    """The bundle of another run, sealed with the same key."""
    run = verified_run(tmp_path_factory.mktemp("other"), "two", COUNT + 4)
    return run_seal(SealOptions(path=run.path, key=sealed.officer))


@pytest.fixture
def copy_of(tmp_path: Path) -> Callable[[Path], Path]:
    """A copy of a bundle, or of a run, under its own name."""

    def copied(source: Path) -> Path:
        return Path(shutil.copytree(source, tmp_path / source.name, symlinks=True))

    return copied
