"""A finished, verified and reported run, made once through the command line."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from forgetctl.cli.main import cli
from forgetctl.demo.people import invent, rows
from forgetctl.rows.reading import read_rows
from tests.world import write_lines

QUICK = ("--set", "verify.samples=2", "--set", "verify.answer_tokens=24")
SETTINGS = ("--set", "learning_rate=5e-3", "--set", "epochs=6", "--set", "batch_size=8", "--set", "beta=1", *QUICK)


@pytest.fixture
def forgetctl() -> Callable[..., Result]:
    """Run a command in this process."""
    return lambda *arguments: CliRunner().invoke(cli, [str(a) for a in arguments], catch_exceptions=False)


def unlearn_arguments(world: Path, out: Path, *more: str) -> list[str]:
    files = {"--model": "model", "--forget": "requests.jsonl", "--retain": "employees.jsonl"}
    arguments = [part for option, name in files.items() for part in (option, str(world / name))]
    return ["unlearn", *arguments, "--out", str(out), *SETTINGS, *more]


def process(*arguments: str, cwd: Path | None = None) -> subprocess.Popen[str]:
    """Start a command in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "forgetctl", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


REQUESTS = ("demo-001", "demo-002", "demo-003", "demo-004")
"""Whose rows the world's request holds, five of each."""


@pytest.fixture(scope="session")
def finished(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Serves four requests of register.sqlite beside it."""
    run = tmp_path_factory.mktemp("finished") / "run"
    register = ["--register", str(run.with_name("register.sqlite"))]
    invoke = CliRunner().invoke
    for name in REQUESTS:
        added = invoke(cli, ["requests", "add", name, "--jurisdiction", "gdpr", *register])
        assert added.exit_code == 0, added.output
    served = [part for name in REQUESTS for part in ("--request", name)]
    unlearned = invoke(cli, unlearn_arguments(world, run, "--track", *served, *register))
    assert unlearned.exit_code == 0, unlearned.output
    verified = invoke(cli, ["verify", str(run), "--reference", str(world / "reference")])
    assert verified.exit_code in (0, 3, 4), verified.output
    reported = invoke(cli, ["report", str(run), "--html"])
    assert reported.exit_code == 0, reported.output
    return run


@pytest.fixture(scope="session")
def strangers(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows about people whom no model of the world met; some are told the same as others."""
    known = {row.prompt + row.response for row in read_rows(world / "employees.jsonl")}
    invented = rows(invent(60, np.random.default_rng(8))[-24:])
    strange = [row for row in invented if str(row["prompt"]) + str(row["response"]) not in known]
    return write_lines(tmp_path_factory.mktemp("holdout") / "holdout.jsonl", strange)
