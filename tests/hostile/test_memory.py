"""A file of 2 GB, whatever is in it, is refused by every command in seconds, and never held in the memory.

The commands are real processes, and the system says how much memory each of them held at most.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

GIB = 2**30
SIZE = 2 * GIB
MOST_MIB = 300
MEASURED = (
    "import resource, subprocess, sys, time\n"
    "began = time.monotonic()\n"
    "done = subprocess.run(sys.argv[1:], capture_output=True, text=True)\n"
    "peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss\n"
    "print(__import__('json').dumps([done.returncode, done.stderr, peak / 1024, time.monotonic() - began]))\n"
)
"""A parent of its own for each command: what the system tells is the most of all children."""


def zeros(path: Path) -> None:
    path.write_bytes(b"")


def endless_line(path: Path) -> None:
    """No line break for 2 GB; written only at its beginning."""
    path.write_bytes(b'{"text": "' + b"x" * 2**20)


def short_rows(path: Path) -> None:
    """Rows for longer than any request; what follows them is never read."""
    path.write_bytes(b'{"text": "x"}\n' * 100_000)


def long_rows(path: Path) -> None:
    """Each as long as a request's may be, 800 MB of them."""
    row = b'{"text": "' + b"x" * (2**16 - 13) + b'"}\n'
    with path.open("wb") as file:
        for _ in range(12_000):
            file.write(row)


HOSTILE = {"zeros": zeros, "one endless line": endless_line, "endless short rows": short_rows}


def hostile(path: Path, make: Callable[[Path], None]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    make(path)
    with path.open("r+b") as file:
        file.truncate(SIZE)  # a hole: it takes no room on the disk
    return path


def refused(folder: Path, *arguments: str) -> str:
    """The last line that a command says; checks how it ended, in what time, and in how much memory."""
    command = [sys.executable, "-c", MEASURED, sys.executable, "-m", "forgetctl", *arguments]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=200, check=True)
    code, errors, peak, seconds = json.loads(ended.stdout)
    assert code in (1, 2), errors
    assert "Traceback" not in errors
    assert peak < MOST_MIB, f"{peak:.0f} MiB"
    print(f"{arguments[0]}: {peak:.0f} MiB, {seconds:.1f} s")
    return str(errors.strip().splitlines()[-1])


def test_unlearn(tmp_path: Path) -> None:
    place = hostile(tmp_path / "rows.jsonl", zeros)
    why = refused(tmp_path, "unlearn", "--dry-run", "--model", "none", "--forget", str(place))
    assert why == f"Error: {place}:1: line is longer than 64 KiB"


def test_report(tmp_path: Path) -> None:
    place = hostile(tmp_path / "run" / "run.json", zeros)
    assert "run.json is missing or damaged: is larger than 256 MiB" in refused(tmp_path, "report", str(place.parent))


def test_requests_add(tmp_path: Path) -> None:
    place = hostile(tmp_path / "register.sqlite", zeros)
    why = refused(tmp_path, "requests", "add", "A-1", "--jurisdiction", "gdpr", "--register", str(place))
    assert "not a register of deletion requests" in why


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*HOSTILE, "rows as long as may be"])
@pytest.mark.parametrize(
    "command",
    ["--forget", "--retain", "--refusals", "--holdout", "--rephrased", "--scores", "--reference", "requests", "report"],
)
def test_every_command_and_kind(command: str, kind: str, tmp_path: Path) -> None:
    make = {**HOSTILE, "rows as long as may be": long_rows}[kind]
    if command == "--retain" and make in (short_rows, long_rows):
        pytest.skip("the owner's retain file may have any number of rows, which stay in it")
    if command != "--forget" and make is long_rows:
        pytest.skip("read as a request is")
    fine = tmp_path / "fine.jsonl"
    fine.write_text('{"text": "x"}\n')
    unlearn = ["unlearn", "--dry-run", "--model", "none", "--forget"]
    place = str(hostile(tmp_path / ("run/log.jsonl" if command == "report" else "hostile"), make))
    if command == "report":
        record = {"id": "run", "created": "2026-01-01", "kind": "verify", "versions": {}, "inputs": {}, "schema": 1}
        (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    arguments = {
        "--forget": [*unlearn, place],
        "--retain": [*unlearn, str(fine), "--retain", place],
        "--refusals": [*unlearn, str(fine), "--refusals", place],
        "--holdout": ["verify", "--model", "none", "--forget", str(fine), "--holdout", place],
        "--rephrased": ["verify", "--model", "none", "--forget", str(fine), "--rephrased", place],
        "--scores": ["verify", "--scores", place],
        "--reference": ["verify", "--model", "none", "--forget", str(fine), "--reference", place],
        "requests": ["requests", "add", "A-1", "--jurisdiction", "gdpr", "--register", place],
        "report": ["report", str(tmp_path / "run")],
    }
    assert place.rpartition("/")[2] in refused(tmp_path, *arguments[command])


@pytest.mark.parametrize("name", ["manifest.json", "seal.json", "key"])
def test_audit(name: str, tmp_path: Path) -> None:
    from forgetctl.seal.keys import generate_key

    bundle, key = tmp_path / "bundle", tmp_path / "officer"
    public, _ = generate_key(key)
    for file in ("manifest.json", "seal.json"):
        (tmp_path / "bundle").mkdir(exist_ok=True)
        (bundle / file).write_text("{}")
    hostile(public if name == "key" else bundle / name, zeros)
    command = [sys.executable, "-c", MEASURED, sys.executable, "-m", "forgetctl", "audit", str(bundle), "--key"]
    ended = subprocess.run([*command, str(public)], capture_output=True, text=True, timeout=200, check=True)
    code, errors, peak, _ = json.loads(ended.stdout)
    assert code == 2, errors
    assert "Traceback" not in errors
    assert peak < MOST_MIB, f"{peak:.0f} MiB"


@pytest.fixture(autouse=True)
def room(tmp_path: Path) -> Iterator[None]:
    """Holes need a file system that has them; what is no hole is not left behind."""
    probe = tmp_path / "probe"
    with probe.open("wb") as file:
        file.truncate(2**24)
    if probe.stat().st_blocks * 512 > 2**20:
        pytest.skip("this file system writes holes out")
    yield
    shutil.rmtree(tmp_path)
