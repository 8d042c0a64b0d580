"""The schema, as the ordered steps that led to it; a register of any earlier version is brought up to date."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

APPLICATION_ID = 0x46726774
"""In the header of every register: "Frgt". A database without it is somebody else's."""

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    # 1: requests, what they touch and claim, and their history.
    (
        """
        CREATE TABLE requests (
            id TEXT PRIMARY KEY NOT NULL,
            jurisdiction TEXT NOT NULL,
            received TEXT NOT NULL,
            due TEXT NOT NULL,
            channel TEXT,
            acknowledged TEXT,
            extended_until TEXT,
            extension_reason TEXT,
            identity_method TEXT,
            identity_result TEXT NOT NULL,
            decision TEXT,
            approver TEXT,
            closed TEXT
        )
        """,
        """
        CREATE TABLE exceptions (
            request TEXT NOT NULL REFERENCES requests (id),
            text TEXT NOT NULL,
            PRIMARY KEY (request, text)
        )
        """,
        """
        CREATE TABLE artefacts (
            request TEXT NOT NULL REFERENCES requests (id),
            kind TEXT NOT NULL,
            name TEXT NOT NULL,
            status TEXT NOT NULL,
            PRIMARY KEY (request, kind, name)
        )
        """,
        """
        CREATE TABLE history (
            request TEXT NOT NULL REFERENCES requests (id),
            at TEXT NOT NULL,
            changes TEXT NOT NULL
        )
        """,
        "CREATE INDEX history_of_a_request ON history (request)",
    ),
    # 2: the runs that unlearned a request's rows, and their verdicts.
    (
        """
        CREATE TABLE runs (
            request TEXT NOT NULL REFERENCES requests (id),
            run TEXT NOT NULL,
            path TEXT NOT NULL,
            method TEXT NOT NULL,
            rows INTEGER NOT NULL,
            bound_at TEXT NOT NULL,
            verdict TEXT,
            verdict_at TEXT,
            PRIMARY KEY (request, run)
        )
        """,
        "CREATE INDEX requests_of_a_run ON runs (run)",
    ),
)
"""The statements of each step. A step that was ever released is never edited; changes are new steps."""


def version(db: sqlite3.Connection) -> int:
    """How many steps a register has taken."""
    return int(db.execute("PRAGMA user_version").fetchone()[0])


def migrate(db: sqlite3.Connection, migrations: Sequence[Sequence[str]]) -> None:
    """Take the steps that are missing; none if somebody else was faster. Belongs inside a transaction."""
    for number in range(version(db), len(migrations)):
        for statement in migrations[number]:
            db.execute(statement)
        db.execute(f"PRAGMA user_version = {number + 1}")
