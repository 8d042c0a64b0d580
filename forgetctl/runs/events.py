"""What happened to a run, in order: an append-only file whose lines each hold the digest of the line before.

A line is canonical JSON: n (from 1), time (UTC), event, facts, previous (SHA-256 of the line before, without its line
break; zeros for the first). Nobody can change, drop or reorder a line without changing all that follow; that the end
was not cut off is known once a signature covers the file.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError, RunError
from ..files.canonical import MalformedError, canonical, parse_canonical, sha256
from ..files.outside import read_bytes
from ..files.writing import now, private

FIRST = "0" * 64
_KEYS = {"n", "time", "event", "facts", "previous"}


@dataclass(frozen=True, kw_only=True)
class Event:
    """One line of the file."""

    n: int
    time: str
    event: str
    facts: dict[str, Any]
    previous: str


class ChainError(ValueError):
    """A file of events that was changed; the message names the line."""


def append_event(path: Path, name: str, facts: Mapping[str, Any]) -> str:
    """Add an event and flush it to disk; returns its time.

    A last line that was cut off by a crash never happened and is dropped first. Raises RunError if the file has been
    changed: nothing is appended to a broken chain.
    """
    try:
        data = read_bytes(path) if path.exists() else b""
    except InputError as error:
        raise RunError(str(error)) from None
    whole = data[: data.rfind(b"\n") + 1]
    try:
        count = len(read_chain(whole))
    except (ChainError, MalformedError) as error:
        raise RunError(f"{path}: {error}") from None
    previous = sha256(whole.splitlines()[-1]) if count else FIRST
    event = {"n": count + 1, "time": now(), "event": name, "facts": dict(facts), "previous": previous}
    with open(path, "r+b" if data else "wb", opener=private) as file:
        file.seek(len(whole))
        file.truncate()
        file.write(canonical(event) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    return str(event["time"])


def read_chain(data: bytes) -> list[Event]:
    """The events of a whole file.

    Raises MalformedError for a line that is no event, ChainError where the chain is broken; both name the line.
    """
    if data and not data.endswith(b"\n"):
        raise ChainError("the last line is cut off")
    events: list[Event] = []
    previous = FIRST
    for number, line in enumerate(data.split(b"\n")[:-1], start=1):
        event = _event(line, number)
        if event.n != number or event.previous != previous:
            raise ChainError(f"line {number} does not follow the line before: something was changed")
        events.append(event)
        previous = sha256(line)
    return events


def _event(line: bytes, number: int) -> Event:
    try:
        value = parse_canonical(line)
    except MalformedError as error:
        raise MalformedError(f"line {number} {error}") from None
    kinds = {"n": int, "time": str, "event": str, "facts": dict, "previous": str}
    if value.keys() != _KEYS or not all(isinstance(value[key], kind) for key, kind in kinds.items()):
        raise MalformedError(f"line {number} is not an event")
    return Event(**value)
