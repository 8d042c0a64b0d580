"""Requests to rows and back. Every function here belongs inside a transaction."""

from __future__ import annotations

import json
import sqlite3
from datetime import date
from typing import Any

from ..errors import RunError
from ..files.strict_json import parse_json
from ..files.writing import now
from .records import COLUMNS, DATES, Artefact, BoundRun, Change, Request, plain

SAVE_REQUEST = """
INSERT INTO requests VALUES (
    :id, :jurisdiction, :received, :due, :channel, :acknowledged, :extended_until, :extension_reason,
    :identity_method, :identity_result, :decision, :approver, :closed
)
ON CONFLICT (id) DO UPDATE SET
    received = :received, due = :due, channel = :channel, acknowledged = :acknowledged,
    extended_until = :extended_until, extension_reason = :extension_reason, identity_method = :identity_method,
    identity_result = :identity_result, decision = :decision, approver = :approver, closed = :closed
"""
SAVE_ARTEFACT = """
INSERT INTO artefacts (request, kind, name, status) VALUES (?, ?, ?, ?)
ON CONFLICT (request, kind, name) DO UPDATE SET status = excluded.status
"""


def load(db: sqlite3.Connection, request_id: str) -> Request | None:
    """The request with everything that belongs to it, if there is one. Raises RunError if its rows make no sense."""
    row = db.execute("SELECT * FROM requests WHERE id = ?", [request_id]).fetchone()
    if row is None:
        return None
    exceptions = db.execute("SELECT text FROM exceptions WHERE request = ? ORDER BY rowid", [request_id])
    artefacts = db.execute("SELECT kind, name, status FROM artefacts WHERE request = ? ORDER BY rowid", [request_id])
    history = db.execute("SELECT at, changes FROM history WHERE request = ? ORDER BY rowid", [request_id])
    runs = db.execute(
        "SELECT run, path, method, rows, bound_at, verdict, verdict_at FROM runs WHERE request = ? ORDER BY rowid",
        [request_id],
    )
    try:
        return Request(
            **{name: _value(name, row[name]) for name in COLUMNS},
            exceptions=tuple(row["text"] for row in exceptions),
            artefacts=tuple(Artefact(**row) for row in artefacts),
            runs=tuple(BoundRun(**row) for row in runs),
            history=tuple(Change(row["at"], dict(parse_json(row["changes"]))) for row in history),
        )
    except (ValueError, TypeError):
        raise RunError(
            f"the register is damaged: {request_id} has a value of the wrong kind; put back a copy"
        ) from None


def save(db: sqlite3.Connection, before: Request | None, after: Request) -> None:
    """Write what differs, with an entry in the history; nothing if nothing does. Runs are written by bind and judge."""
    changes = differences(before, after)
    if not changes:
        return
    db.execute(SAVE_REQUEST, {name: plain(getattr(after, name)) for name in COLUMNS})
    for artefact in after.artefacts:
        db.execute(SAVE_ARTEFACT, [after.id, artefact.kind, artefact.name, artefact.status])
    for text in after.exceptions:
        db.execute("INSERT INTO exceptions (request, text) VALUES (?, ?)", [after.id, text])
    remember(db, after.id, changes)


def differences(before: Request | None, after: Request) -> dict[str, Any]:
    """The fields that changed and their new values, as the history keeps them."""
    old = before or Request(id="", jurisdiction="", received=date.min, due=date.min, identity_result="")
    changes = {name: plain(getattr(after, name)) for name in COLUMNS if getattr(after, name) != getattr(old, name)}
    if artefacts := [f"{a.label}={a.status}" for a in after.artefacts if a not in old.artefacts]:
        changes["artefacts"] = artefacts
    if after.exceptions != old.exceptions:
        changes["exceptions"] = list(after.exceptions)
    return changes


def remember(db: sqlite3.Connection, request_id: str, changes: dict[str, Any]) -> None:
    """Add an entry to the history of a request."""
    text = json.dumps(changes, allow_nan=False)
    db.execute("INSERT INTO history (request, at, changes) VALUES (?, ?, ?)", [request_id, now(), text])


def bind(db: sqlite3.Connection, request_id: str, run: str, path: str, method: str, rows: int) -> None:
    """Bind a run to a request."""
    db.execute(
        "INSERT INTO runs (request, run, path, method, rows, bound_at) VALUES (?, ?, ?, ?, ?, ?)",
        [request_id, run, path, method, rows, now()],
    )
    remember(db, request_id, {"run": run, "path": path, "method": method, "rows": rows})


def unbind(db: sqlite3.Connection, request_id: str, run: str, reason: str) -> None:
    """Take a run off a request."""
    db.execute("DELETE FROM runs WHERE request = ? AND run = ?", [request_id, run])
    remember(db, request_id, {"run": run, "unbound": reason})


def verdict(db: sqlite3.Connection, request_id: str, run: str) -> str | None:
    """The verdict of a run as it is noted at a request."""
    row = db.execute("SELECT verdict FROM runs WHERE request = ? AND run = ?", [request_id, run]).fetchone()
    kept: str | None = row["verdict"]
    return kept


def judge(db: sqlite3.Connection, request_id: str, run: str, verdict: str) -> None:
    """Note the verdict of a run in place of any earlier one."""
    values = [verdict, now(), request_id, run]
    db.execute("UPDATE runs SET verdict = ?, verdict_at = ? WHERE request = ? AND run = ?", values)
    remember(db, request_id, {"run": run, "verdict": verdict})


def bound(db: sqlite3.Connection, run: str) -> dict[str, tuple[str, str, int]]:
    """The requests that a run is bound to, each with path, method and rows."""
    rows = db.execute("SELECT request, path, method, rows FROM runs WHERE run = ? ORDER BY rowid", [run])
    return {row["request"]: (row["path"], row["method"], row["rows"]) for row in rows}


def _value(column: str, kept: str | None) -> Any:
    return date.fromisoformat(kept) if kept is not None and column in DATES else kept
