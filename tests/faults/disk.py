"""A disk that becomes full: at every point where forgetctl writes, just before the writing."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from .breakage import BALLAST, At, fill, full_disk
from .processes import forgetctl
from .trial import Outcome, Stage, Workshop


@dataclass(frozen=True)
class Point:
    """A point of writing: the stage's change of a path that matches the pattern, the count-th one."""

    name: str
    stage: Stage
    pattern: str
    count: int = 1


POINTS = (
    Point("record", "unlearn", "*/run/.run.json.draft-*"),
    Point("recipe", "unlearn", "*/run/.recipe.yaml.draft-*"),
    Point("events", "unlearn", "*/run/events.jsonl", 3),
    Point("keys", "unlearn", "*/run.keys/.request-1.key.draft-*"),
    Point("start scores", "unlearn", "*/run/.start.json.draft-*"),
    Point("log", "unlearn", "*/run/log.jsonl", 11),
    Point("checkpoint", "unlearn", "*/checkpoint-12"),
    Point("mark of a checkpoint", "unlearn", "*/checkpoint-12/.complete.json.draft-*"),
    Point("model", "unlearn", "*/run/.model.draft-*"),
    Point("tokenizer", "unlearn", "*/run/.model.draft-*/tokenizer*"),
    Point("last event", "unlearn", "*/run/events.jsonl", 9),
    Point("model card", "unlearn", "*/run/model/.README.md.draft-*"),
    Point("lock", "verify", "*/run/.lock.json.draft-*"),
    Point("scores", "verify", "*/run/scores/.unlearned.json.draft-*"),
    Point("verdict", "verify", "*/run/.verdict.json.draft-*"),
    Point("report", "report", "*/run/.report.html.draft-*"),
)


@contextmanager
def small_disk(folder: Path) -> Iterator[Path | None]:
    """A file system of its own of 64 MiB, mounted at `folder`; None for somebody who may not mount one."""
    folder.mkdir()
    mount, unmount = shutil.which("mount"), shutil.which("umount")
    options = ("-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder))
    mounted = mount and unmount and subprocess.run((mount, *options), capture_output=True).returncode == 0
    try:
        yield folder if mounted else None
    finally:
        if mounted and unmount:
            subprocess.run((unmount, str(folder)), check=True)


def crowded(workshop: Workshop, point: Point, place: Path, disk: Path | None) -> Outcome:
    """A trial of a full disk, which is no longer full when the commands are repeated.

    disk: the file system to fill; without one no file of the process can grow any more, which it cannot tell apart.
    """
    run = workshop.lay_out(point.stage, place)
    full = full_disk if disk is None else partial(fill, disk)
    struck = forgetctl(*workshop.command(point.stage, run), prepare=At(point.pattern, full, point.count))
    if disk is not None:
        (disk / BALLAST).unlink(missing_ok=True)
    return workshop.judge(run, struck, (1,))
