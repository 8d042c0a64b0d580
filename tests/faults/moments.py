"""When a command is struck: moments that its run directory shows, and a random while after each."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

from .processes import Command
from .trial import EPOCHS, STEPS, VERDICTS, Outcome, Stage, Workshop

Watch = Callable[[Path], bool]
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
CODES = {
    signal.SIGKILL: (-9,),
    signal.SIGTERM: (130, -15, 0, *VERDICTS),  # before there is anything to keep it may end without a word
    signal.SIGINT: (130, 0, *VERDICTS),
}
"""How a struck command may end. A signal may also come too late to stop it."""


@dataclass(frozen=True)
class Moment:
    """watch: from random numbers, whether the moment has come, by the run's directory.

    spread: the signal comes within so many seconds of it; None for as long as the command takes.
    """

    name: str
    stage: Stage
    watch: Callable[[Random], Watch]
    spread: float | None


def _begun(_: Random) -> Watch:
    return lambda run: (run / "run.json").exists()


def _training(random: Random) -> Watch:
    step = random.randrange(1, STEPS)
    return lambda run: _lines(run / "log.jsonl") >= step


def _checkpoint(random: Random) -> Watch:
    step = random.randrange(1, EPOCHS + 1) * (STEPS // EPOCHS)
    return lambda run: (run / "checkpoints" / f"checkpoint-{step}").exists()


def _model(_: Random) -> Watch:
    return lambda run: any(run.glob(".model.draft-*"))


def _last_records(_: Random) -> Watch:
    return lambda run: (run / "model").exists()


def _verifying(_: Random) -> Watch:
    return lambda run: (run / "lock.json").exists()


def _verdict(_: Random) -> Watch:
    return lambda run: (run / "scores").exists()


def _reporting(_: Random) -> Watch:
    return lambda _run: True


def _report(_: Random) -> Watch:
    return lambda run: any(run.glob(".report.html.draft-*"))


MOMENTS = (
    Moment("training", "unlearn", _training, 0.01),
    Moment("writing a checkpoint", "unlearn", _checkpoint, 0.02),
    Moment("final save", "unlearn", _model, 0.03),
    Moment("verify", "verify", _verifying, None),
    Moment("report", "report", _reporting, None),
    Moment("before training", "unlearn", _begun, 0.3),
    Moment("last records of unlearn", "unlearn", _last_records, 0.03),
    Moment("scores and verdict", "verify", _verdict, 0.05),
    Moment("writing the report", "report", _report, 0.002),
)


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def hit(workshop: Workshop, moment: Moment, number: signal.Signals, place: Path, random: Random) -> Outcome | None:
    """A trial of one signal at one moment. None if the command had ended before the signal came."""
    workshop.whole(moment.stage)
    spread = workshop.seconds[moment.stage] if moment.spread is None else moment.spread
    run, watch = workshop.lay_out(moment.stage, place), moment.watch(random)
    command = Command(*workshop.command(moment.stage, run))
    while command.running and not watch(run):
        time.sleep(0.0002)
    time.sleep(random.uniform(0, spread))
    reached = command.running
    if reached:
        command.signal(number)
    struck = command.wait()
    return workshop.judge(run, struck, CODES[number]) if reached else None
