"""One trial: a command is struck down, the commands are repeated, and what they leave is compared with a whole run."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tests.cli.conftest import QUICK

from .processes import Ended, forgetctl

Stage = Literal["unlearn", "verify", "report"]
Fate = Literal["survived", "said why not", "lost"]

EPOCHS, STEPS = 10, 30
SETTINGS = ("learning_rate=5e-3", f"epochs={EPOCHS}", "batch_size=8", "beta=1", *QUICK[1::2])
VERDICTS = (0, 3, 4)
STAGES: tuple[Stage, ...] = ("unlearn", "verify", "report")


@dataclass(frozen=True)
class Outcome:
    """What became of a run. why: what it said, or what was lost."""

    fate: Fate
    why: str = ""


class Workshop:
    """A world of models, and for each stage a run of it that nothing happened to, made when it is first needed."""

    def __init__(self, world: Path, folder: Path) -> None:
        self.world, self.folder = world, folder
        self.seconds: dict[Stage, float] = {}

    def whole(self, stage: Stage) -> Path:
        """A run that nothing happened to, up to this stage. Also measures the seconds that the stage takes."""
        run = self.folder / stage / "run"
        if stage not in self.seconds:
            command = self.command(stage, self.lay_out(stage, run.parent))
            started = time.monotonic()
            ended = forgetctl(*command)
            assert ended.code in VERDICTS, ended
            self.seconds[stage] = time.monotonic() - started
        return run

    def command(self, stage: Stage, run: Path) -> tuple[object, ...]:
        """The arguments of a stage's command."""
        if stage == "verify":
            return ("verify", run, "--reference", self.world / "reference")
        if stage == "report":
            return ("report", run, "--html")
        files = ("--model", self.world / "model", "--forget", self.world / "requests.jsonl")
        settings = [part for setting in SETTINGS for part in ("--set", setting)]
        return ("unlearn", *files, "--retain", self.world / "employees.jsonl", "--out", run, *settings)

    def lay_out(self, stage: Stage, place: Path) -> Path:
        """A run that only wants this stage's command. Returns where it is, or will be."""
        if stage == STAGES[0]:
            place.mkdir(parents=True)
        else:
            shutil.copytree(self.whole(STAGES[STAGES.index(stage) - 1]).parent, place, symlinks=True)
        return place / "run"

    def judge(self, run: Path, struck: Ended, codes: tuple[int, ...]) -> Outcome:
        """What became of a run whose command ended as `struck`, which should be with one of `codes`."""
        if struck.code not in codes or not told_in_a_line(struck):
            return Outcome("lost", f"ended with {struck.code}: {struck.err[-2000:]}")
        resumed = forgetctl("unlearn", "--resume", run)
        if resumed.code == 0:
            return self._finish(run, "survived")
        if resumed.code not in (1, 2) or not told_in_a_line(resumed):
            return Outcome("lost", f"could not be resumed: {resumed.err[-2000:]}")
        anew = run if "no run at" in resumed.err else run.with_name("anew")
        begun = forgetctl(*self.command("unlearn", anew))
        if begun.code != 0:
            return Outcome("lost", f"could not be started anew: {begun.err[-2000:]}")
        return self._finish(anew, "said why not", resumed.err.strip().splitlines()[-1])

    def _finish(self, run: Path, fate: Fate, why: str = "") -> Outcome:
        """Verify and report, and compare all with the run that nothing happened to."""
        for stage in STAGES[1:]:
            ended = forgetctl(*self.command(stage, run))
            if ended.code not in VERDICTS:
                return Outcome("lost", f"{stage}: {ended.err[-2000:]}")
        if different := self.differences(run):
            return Outcome("lost", f"other than the uninterrupted run: {', '.join(different)}")
        return Outcome(fate, why)

    def differences(self, run: Path) -> list[str]:
        """What is not as in the run that nothing happened to."""
        same = _verdict(self.whole("verify")) == _verdict(run)
        return [*self.model_differences(run), *([] if same else ["verdict.json"])]

    def model_differences(self, run: Path) -> list[str]:
        """The same before there is a verdict: weights, figures of every step, and what should be gone."""
        whole = self.whole("unlearn")
        names = [f"model/{name}" for name in sorted(_names(whole / "model"))]
        other = [name for name in (*names, "log.jsonl") if not _same(whole, run, name)]
        left = [name for name in ("checkpoints", ".model.draft-*", "lock.json") if any(run.glob(name))]
        return [*other, *(f"{name} was left" for name in left)]


def told_in_a_line(ended: Ended) -> bool:
    """Whether a failure was told in a line; a process that was killed outright says nothing."""
    lines = ended.err.strip().splitlines()
    if ended.code <= 0 or ended.code in VERDICTS[1:]:
        return "Traceback" not in ended.err
    return bool(lines) and lines[-1].startswith("Error: ") and "Traceback" not in ended.err


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"README.md"}  # the card names the run and the time


def _same(whole: Path, run: Path, name: str) -> bool:
    return (run / name).is_file() and (run / name).read_bytes() == (whole / name).read_bytes()


def _verdict(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "verdict.json").read_text())
    return {key: value for key, value in found.items() if key not in ("created", "digest", "inputs", "basis")}
