"""Several real processes at one register, and one that is killed: no change is lost, none is half done."""

from __future__ import annotations

import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from forgetctl.register.records import Request
from forgetctl.register.rules import Details
from forgetctl.register.store import Register

WRITERS, ROUNDS = 8, 25

HEAD = """
import sys
from datetime import date
from pathlib import Path
from forgetctl.errors import UsageError
from forgetctl.register.checks import parse_artefact
from forgetctl.register.rules import Details, begin
from forgetctl.register.rules import Details
from forgetctl.register.store import Register

path, name, rounds = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
today = date.today()
print("ready", flush=True)
sys.stdin.readline()
"""
# Each writer opens the register anew in every round, as commands do; the first round may have to make it.
WRITE = HEAD + (
    """
for number in range(rounds):
    own = f"{name}-{number}"
    with Register.open(path, create=True) as register:
        try:
            register.add(begin("shared", "ccpa", Details(), today))
        except UsageError:
            pass
        register.add(begin(own, "gdpr", Details(artefacts=(parse_artefact("index:faq"),)), today))
    with Register.open(path) as register:
        register.update("shared", Details(artefacts=(parse_artefact(f"index:{own}=done"),)), today)
        register.bind_run(f"run-{own}", path.parent, "npo-rt", {own: 1, "shared": 2})
        register.record_verdict(f"run-{own}", "PASS")
"""
)
LOOP = HEAD + (
    """
with Register.open(path, create=True) as register:
    for number in range(rounds):
        artefacts = tuple(parse_artefact(f"index:{part}") for part in range(5))
        register.add(begin(f"{name}-{number}", "gdpr", Details(channel="x" * 300, artefacts=artefacts), today))
        print(number, flush=True)
"""
)


def start(code: str, path: Path, name: str, rounds: int) -> subprocess.Popen[str]:
    """A process that has imported everything and waits to be let go."""
    arguments = [sys.executable, "-c", code, str(path), name, str(rounds)]
    process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def let_go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


def everything(path: Path) -> dict[str, Request]:
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert db.execute("PRAGMA foreign_key_check").fetchall() == []
    with Register.open(path) as register:
        return {request.id: request for request in register.requests(closed=True)}


def test_many_writers_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "requests.sqlite"
    writers = [start(WRITE, path, f"w{number}", ROUNDS) for number in range(WRITERS)]
    for writer in writers:
        let_go(writer)
    for writer in writers:
        writer.communicate(timeout=120)
    assert [writer.returncode for writer in writers] == [0] * WRITERS
    found = everything(path)
    names = {f"w{writer}-{number}" for writer in range(WRITERS) for number in range(ROUNDS)}
    assert found.keys() == {*names, "shared"}
    shared = found.pop("shared")
    assert {artefact.name for artefact in shared.artefacts} == names
    assert {run.run for run in shared.runs} == {f"run-{name}" for name in names}
    assert {run.verdict for run in shared.runs} == {"PASS"}
    kinds = Counter(
        next(iter(entry.changes)) if "verdict" not in entry.changes else "verdict" for entry in shared.history
    )
    assert kinds == {"id": 1, "artefacts": len(names), "run": len(names), "verdict": len(names)}
    assert all(len(request.history) == 3 and request.last_verdict == "PASS" for request in found.values())
    assert [file.name for file in tmp_path.iterdir()] == [path.name]  # no draft is left, and the log is merged


@pytest.mark.parametrize("seed", range(4))
def test_a_killed_writer_leaves_a_sound_register(tmp_path: Path, seed: int) -> None:
    path = tmp_path / "requests.sqlite"
    writer = start(LOOP, path, "w", 100_000)
    let_go(writer)
    assert writer.stdout is not None
    for _ in range(20):
        assert writer.stdout.readline()
    time.sleep(random.Random(seed).uniform(0, 0.05))
    writer.send_signal(signal.SIGKILL)
    told = 20 + len(writer.communicate()[0].splitlines())
    assert writer.returncode == -signal.SIGKILL
    found = everything(path)
    assert len(found) in (told, told + 1)  # at most one was kept but not yet told
    assert found.keys() == {f"w-{number}" for number in range(len(found))}
    assert all(len(request.artefacts) == 5 and len(request.history) == 1 for request in found.values())
    with Register.open(path) as register:
        assert register.update("w-0", Details(channel="letter"), found["w-0"].received).channel == "letter"
