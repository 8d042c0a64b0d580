"""What every command costs before it does anything: `--help`, and `unlearn` beside its training."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from .shapes import build

COMMAND = [sys.executable, "-m", "forgetctl"]


def measure(repeats: int = 5) -> dict[str, Any]:
    """Seconds of `--help` and of `unlearn` on tofu-mini outside its steps, medians over whole processes."""
    return {
        "help_seconds": median(_seconds([*COMMAND, "--help"]) for _ in range(repeats)),
        "unlearn_help_seconds": median(_seconds([*COMMAND, "unlearn", "--help"]) for _ in range(repeats)),
        "unlearn_fixed_seconds": median(_fixed() for _ in range(3)),
    }


def _seconds(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def _fixed() -> float:
    """Seconds of a whole process that are not training; training is timed by the run itself."""
    with tempfile.TemporaryDirectory() as name:
        case = build("A", Path(name))
        options = ["--model", case.model, "--forget", case.forget, "--retain", case.retain, "--out", f"{name}/run"]
        command = [*COMMAND, "unlearn", *map(str, options), "--set", "epochs=2", "--quiet"]
        whole = _seconds(command)
        record = json.loads((Path(name) / "run" / "run.json").read_text())
        return whole - float(record["stages"]["unlearn"]["seconds"])


if __name__ == "__main__":
    print(json.dumps(measure(), indent=1))
