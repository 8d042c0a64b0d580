"""tofu.jsonl: one line for each (split, method, retain weight, seed, step), added as soon as it is measured.

A line that is written again, after a run was continued from an earlier step, counts once: the last one does.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock

from ...errors import RunError
from ...files.writing import private, writing

Line = dict[str, Any]
START, REFERENCE = "start", "reference"
MEASURED, DIVERGED = "measured", "diverged"


class RunKey(NamedTuple):
    """Which run: a split such as "05", a method, the weight of its retain terms, a seed.

    A method that ends at levels has the retain weight of its own recipe, whatever stands here.
    """

    split: str
    method: str
    retain_weight: float
    seed: int

    @property
    def folder(self) -> str:
        """A name for a directory."""
        return f"forget{self.split}-{self.method}-w{self.retain_weight:g}-seed{self.seed}"


def key_of(line: Line) -> RunKey:
    """The run that a line is of."""
    return RunKey(line["split"], line["method"], line["retain_weight"], line["seed"])


class Lines:
    """A file of JSON lines that several processes add to."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, lines: Iterable[Line]) -> None:
        """Add whole lines, on disk when this returns. Raises RunError if the file system refuses."""
        data = "".join(json.dumps(line, allow_nan=False) + "\n" for line in lines).encode()
        lock = FileLock(self.path.with_name(f".{self.path.name}.lock"))
        with writing(self.path), lock, open(self.path, "ab", opener=private) as file:
            if file.tell() and not self._ends_whole():
                data = b"\n" + data
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

    def _ends_whole(self) -> bool:
        """Whether the last line was not cut off by a crash."""
        with self.path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"

    def read(self) -> list[Line]:
        """All lines. One that was cut off by a crash is skipped: its run is not complete, and measures it again."""
        if not self.path.is_file():
            return []
        lines = []
        for raw in self.path.read_bytes().splitlines():
            try:
                lines.append(json.loads(raw))
            except ValueError:
                continue
        if not all(isinstance(line, dict) and "split" in line for line in lines):
            raise RunError(f"{self.path} is damaged: it holds something else than measurements")
        return lines


class Table(Lines):
    """The measurements of a study."""

    def lines(self) -> list[Line]:
        """The lines that count, in the order of split, method, weight, seed and step."""
        last = {(*key_of(line), line["step"]): line for line in self.read()}
        return [last[key] for key in sorted(last)]

    def complete(self) -> set[RunKey]:
        """Runs that were measured to their end, or that diverged."""
        return {key_of(line) for line in self.read() if line["step"] == line["steps"] or line["status"] == DIVERGED}
