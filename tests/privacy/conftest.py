"""The whole pipeline on planted files in a child process, with home, caches and temporary files in one folder."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cli.conftest import finished as finished  # a fixture
from tests.privacy.canaries import REGISTERED, Planted, plant

ROOT = Path(__file__).resolve().parents[2]
QUICK = ("epochs=1", "batch_size=4", "learning_rate=1e-4", "verify.samples=1", "verify.answer_tokens=4")
SETTINGS = [part for value in QUICK for part in ("--set", value)]
Command = tuple[list[str], list[str] | None]


@dataclass(frozen=True)
class Trial:
    """folder: everything that was written, the owner's files included. exits: of the commands, in order."""

    folder: Path
    planted: Planted
    output: str
    exits: list[int]

    @property
    def owned(self) -> list[Path]:
        return [*self.folder.glob("*.jsonl"), self.folder / "refusals.txt", self.folder / "commands.json"]


def environment(folder: Path) -> dict[str, str]:
    """Home, caches and temporary files below `folder`; no setting that would keep a library from telling."""
    places = {"HOME": "home", "TMPDIR": "tmp", "HF_HOME": "home/hf", "XDG_CACHE_HOME": "home/cache"}
    for place in places.values():
        (folder / place).mkdir(parents=True, exist_ok=True)
    kept = {key: os.environ[key] for key in ("PATH", "LANG") if key in os.environ}
    here = {name: str(folder / place) for name, place in places.items()}
    return {**kept, **here, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}


def unlearn(world: Path, planted: Planted, out: str, *more: str) -> list[str]:
    files = {"--model": world / "model", "--forget": planted.request, "--retain": planted.retain}
    files |= {"--refusals": planted.refusals}
    arguments = [part for option, path in files.items() for part in (option, str(path))]
    return ["unlearn", *arguments, "--out", out, *SETTINGS, *more]


def verify(world: Path, planted: Planted, out: str, *more: str) -> list[str]:
    files = {"--reference": world / "reference", "--holdout": planted.holdout, "--rephrased": planted.rephrased}
    return ["verify", out, *(part for option, path in files.items() for part in (option, str(path))), *more]


def known_rows(world: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in (world / "employees.jsonl").read_text().splitlines()]


def run(folder: Path, planted: Planted, commands: Sequence[Command]) -> Trial:
    """Run the commands in one child process in `folder`."""
    told = folder / "commands.json"
    steps = [{"argv": argv, "fail": fail} for argv, fail in commands]
    message = "; ".join(planted.texts.values())
    told.write_text(json.dumps({"message": message, "commands": steps}), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "tests.privacy.pipeline", str(told)],
        cwd=folder, env=environment(folder), capture_output=True, check=False,
    )  # fmt: skip
    output = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, output[-2000:]
    return Trial(folder, planted, output, [int(code) for code in re.findall(r"^EXIT (\d+) ", output, re.MULTILINE)])


@pytest.fixture(scope="module")
def trial(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Trial:
    """Every command once with success, then some that fail half way."""
    folder = tmp_path_factory.mktemp("owner")
    planted = plant(folder, known_rows(world)[20:40])
    register = ["--register", "register.sqlite"]
    fields = [
        part for place, (option, form) in REGISTERED.items() for part in (option, form.format(planted.texts[place]))
    ]
    commands: list[Command] = [
        (["requests", "add", "REQ-1", "--jurisdiction", "gdpr", *fields, *register], None),
        (unlearn(world, planted, "runs/a", "--request", "REQ-1", *register, "--track", "-v"), None),
        (verify(world, planted, "runs/a", "-v"), None),
        *((["report", "runs/a", f"--{kind}"], None) for kind in ("json", "md")),  # sealing makes the page
        (["keygen", "--out", "k.key"], None),
        (["seal", "runs/a", "--key", "k.key"], None),
        (["audit", "runs/a.bundle", "--key", "k.key.pub"], None),
        (["requests", "list", *register], None),
        (["requests", "show", "REQ-1", *register], None),
        (
            unlearn(world, planted, "runs/b", "-v"),
            ["forgetctl.train.trainer:ObjectiveTrainer.compute_loss", "ValueError"],
        ),
        (unlearn(world, planted, "runs/c"), ["forgetctl.train.term_inputs:shared_scores", "KeyboardInterrupt"]),
        (verify(world, planted, "runs/a", "--force"), ["forgetctl.model.row_scorer:RowScorer.scores", "ValueError"]),
    ]
    return run(folder, planted, commands)
