"""The hash chain of events."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgetctl.errors import RunError
from forgetctl.files.canonical import MalformedError, sha256
from forgetctl.runs.events import FIRST, ChainError, append_event, read_chain


@pytest.fixture
def chain(tmp_path: Path) -> Path:
    path = tmp_path / "events.jsonl"
    for number in range(3):
        append_event(path, "step", {"number": number})
    return path


def test_each_line_holds_the_digest_of_the_one_before(chain: Path) -> None:
    lines = chain.read_bytes().splitlines()
    events = read_chain(chain.read_bytes())
    assert [event.n for event in events] == [1, 2, 3]
    assert [event.previous for event in events] == [FIRST, sha256(lines[0]), sha256(lines[1])]
    assert [event.facts for event in events] == [{"number": 0}, {"number": 1}, {"number": 2}]
    assert all(event.time.endswith("+00:00") for event in events)
    assert chain.stat().st_mode & 0o777 == 0o600


@given(st.data())
def test_any_flipped_bit_breaks_the_chain(data: st.DataObject) -> None:
    event = {"n": 1, "time": "t", "event": "a", "facts": {"b": 1}, "previous": FIRST}
    first = json.dumps(event, separators=(",", ":"), sort_keys=True).encode()
    second = json.dumps({**event, "n": 2, "previous": sha256(first)}, separators=(",", ":"), sort_keys=True).encode()
    whole = first + b"\n" + second + b"\n"
    assert len(read_chain(whole)) == 2
    place = data.draw(st.integers(0, len(first)))  # the last line's own digest stands nowhere yet
    bit = data.draw(st.integers(0, 7))
    changed = whole[:place] + bytes([whole[place] ^ (1 << bit)]) + whole[place + 1 :]
    with pytest.raises((ChainError, MalformedError), match=r"line \d|cut off"):
        read_chain(changed)


@pytest.mark.parametrize("order", [[1, 0, 2], [0, 2], [0, 1, 1, 2], [1, 2]])
def test_lines_cannot_be_moved_dropped_or_repeated(chain: Path, order: list[int]) -> None:
    lines = chain.read_bytes().splitlines(keepends=True)
    with pytest.raises(ChainError, match="does not follow"):
        read_chain(b"".join(lines[place] for place in order))


def test_nothing_is_appended_to_a_broken_chain(chain: Path) -> None:
    broken = chain.read_bytes().replace(b'"number":1', b'"number":7')
    chain.write_bytes(broken)
    with pytest.raises(RunError, match=r"events\.jsonl: line 3"):
        append_event(chain, "step", {})
    assert chain.read_bytes() == broken


def test_a_line_that_was_cut_off_never_happened(chain: Path) -> None:
    whole = chain.read_bytes()
    chain.write_bytes(whole + b'{"event":"ste')
    with pytest.raises(ChainError, match="cut off"):
        read_chain(chain.read_bytes())
    append_event(chain, "later", {})
    assert chain.read_bytes().startswith(whole)
    assert [event.event for event in read_chain(chain.read_bytes())] == ["step"] * 3 + ["later"]


def test_a_killed_writer_leaves_a_chain_that_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    code = (
        "import sys; from pathlib import Path; from forgetctl.runs.events import append_event\n"
        "while True: append_event(Path(sys.argv[1]), 'step', {'padding': 'x' * 20000})"
    )
    for _ in range(3):
        writer = subprocess.Popen([sys.executable, "-c", code, str(path)])
        size = path.stat().st_size if path.is_file() else 0
        end = time.monotonic() + 30
        while time.monotonic() < end and (not path.is_file() or path.stat().st_size < size + 200_000):
            time.sleep(0.01)
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
        append_event(path, "after the kill", {})
    events = read_chain(path.read_bytes())
    assert sum(event.event == "after the kill" for event in events) == 3
    assert len(events) > 20
