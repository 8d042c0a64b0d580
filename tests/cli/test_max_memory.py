"""`--max-memory`: what is planned with, from the command line to the record and back."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result

from forgetctl.runs.run import Run
from forgetctl.train.training import Material
from tests.cli.conftest import unlearn_arguments
from tests.world import build_wide_world

MIB = 2**20
Forgetctl = Callable[..., Result]


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Arguments for an untrained model of little weights with much to keep of every token."""
    folder = build_wide_world(tmp_path_factory.mktemp("wide"), 30, 12)
    files = {"--model": "model", "--forget": "requests.jsonl", "--retain": "employees.jsonl"}
    return [part for option, name in files.items() for part in (option, str(folder / name))]


def planned(forgetctl: Forgetctl, wide: list[str], *more: str) -> dict[str, Any]:
    found = forgetctl("unlearn", *wide, "--set", "batch_size=32", *more, "--dry-run", "--json", "-q")
    assert found.exit_code == 0, found.output
    facts: dict[str, Any] = json.loads(found.stdout)
    return facts


def tokens(computed: str) -> int:
    return int(re.findall(r"(\d+) tokens at once", computed)[0])


def test_a_smaller_limit_makes_smaller_parts_and_the_estimate_stays_below(
    forgetctl: Forgetctl, wide: list[str]
) -> None:
    free = planned(forgetctl, wide)
    peak, least = free["peak_memory_bytes"], 640 * MIB
    assert peak > 700 * MIB
    assert "--max-memory" not in free["computed"]
    loose = planned(forgetctl, wide, "--max-memory", "64GiB")
    assert loose["peak_memory_bytes"] == peak
    assert loose["computed"] == free["computed"] + ", planned for at most 64.00 GiB (--max-memory)"
    seen = [(tokens(free["computed"]), "twice" in free["computed"])]
    for limit in np.linspace(peak - 1, least, 2).astype(int):
        found = planned(forgetctl, wide, "--max-memory", str(limit))
        assert found["peak_memory_bytes"] <= limit
        assert f"planned for at most {limit / 2**30:.2f} GiB (--max-memory)" in found["computed"]
        seen.append((tokens(found["computed"]), "twice" in found["computed"]))
    assert [twice for _, twice in seen] == sorted(twice for _, twice in seen)
    assert seen[0][0] > seen[1][0]
    assert seen[-1][1]


@pytest.mark.parametrize("options", [("--dry-run",), ("--lora",), ("--optimizer", "adamw8bit")])
def test_a_limit_that_nothing_fits_into_is_refused(
    options: tuple[str, ...], forgetctl: Forgetctl, world: Path, tmp_path: Path
) -> None:
    """The interpreter alone takes more. Before anything is written."""
    found = forgetctl(*unlearn_arguments(world, tmp_path / "run", "--max-memory", "400MB", *options))
    assert found.exit_code == 1
    assert "--max-memory 0.37 GiB does not suffice: about 0." in found.stderr
    assert "no setting is known to fit; --qlora takes the least, 0." in found.stderr
    assert "Traceback" not in found.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", ["much", "-1", "0", "12 parsecs"])
def test_what_is_no_size_is_a_usage_error(size: str, forgetctl: Forgetctl, world: Path, tmp_path: Path) -> None:
    found = forgetctl(*unlearn_arguments(world, tmp_path / "run", "--max-memory", size))
    assert found.exit_code == 2
    assert repr(size) in found.stderr


def test_the_limit_is_kept_and_used_when_the_run_goes_on(
    forgetctl: Forgetctl, wide: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the run was stopped before it knew how it would compute."""
    run, chosen = tmp_path / "run", []

    def stopped(*_: Any) -> Any:
        raise KeyboardInterrupt

    def begun(_run: Run, material: Material, *_: Any) -> Any:
        chosen.append(material.plan)
        raise KeyboardInterrupt

    arguments = ["unlearn", *wide, "--set", "batch_size=32", "--out", str(run), "--max-memory", "660MiB"]
    with monkeypatch.context() as patch:
        patch.setattr("forgetctl.train._material.find_plan", stopped)
        assert forgetctl(*arguments).exit_code == 130
    assert json.loads((run / "run.json").read_text())["options"]["max_memory"] == 660 * MIB
    monkeypatch.setattr("forgetctl.train.unlearn.unlearn", begun)
    resumed = forgetctl("unlearn", "--resume", str(run))
    assert resumed.exit_code == 130, resumed.output
    assert "planned for at most 0.64 GiB (--max-memory)" in resumed.stderr
    assert chosen[0].checkpointing
    assert chosen[0].limits.tokens < 1024
    changed = forgetctl("unlearn", "--resume", str(run), "--max-memory", "1GiB")
    assert changed.exit_code == 2
    assert "--max-memory cannot change it" in changed.stderr
