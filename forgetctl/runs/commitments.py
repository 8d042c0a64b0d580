"""Keyed commitments to the rows of a request: who has the key can show that a row was in it, nobody else can tell.

Records tell people apart by number; a commitment to each one's `subject_id` ties the number to somebody for who has the
key.

A commitment is HMAC-SHA-256 over the canonical JSON of a row's conversation, and of its spans where it has any, since
these alone are forgotten. Every request has a key of its own, so that opening the rows of one says nothing about
another's.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError, RunError, UsageError
from ..files.canonical import MalformedError, canonical
from ..files.outside import read_text
from ..files.writing import write_bytes
from ..rows.formats import Fields
from ..rows.row import Row, subjects_of
from ..rows.sources import open_source

KEY_BYTES, LARGEST_KEY_FILE = 32, 2**10
ALGORITHM = "HMAC-SHA-256 over RFC 8785 JSON: of context and response, and of spans where there are any; of subject_id"


@dataclass(frozen=True, repr=False)
class Part:
    """The rows of one request among those that a run serves. request: its id in the owner's register, if it has one."""

    request: str | None
    rows: tuple[Row, ...]


def split_requests(rows: Sequence[Row], ids: Sequence[str], file: Path) -> list[Part]:
    """The rows by the request that they belong to, which a row's `request_id` tells.

    ids: of the owner's register, in the order given; empty if the run is bound to no request, and then a `request_id`
    only keeps rows apart. Raises InputError naming the row that belongs to none of them, UsageError for an id that no
    row belongs to.
    """
    if not ids:
        by_request: dict[str | None, list[Row]] = {}
        for row in rows:
            by_request.setdefault(row.request_id, []).append(row)
        return [Part(None, tuple(part)) for part in by_request.values()]
    parts: dict[str, list[Row]] = {name: [] for name in ids}
    for row in rows:
        name = row.request_id if row.request_id is not None else ids[0] if len(ids) == 1 else None
        if name not in parts:
            why = "names no request" if name is None else "names a request that --request does not"
            raise InputError(file, f"its request_id {why}", row.name)
        parts[name].append(row)
    if empty := [name for name, part in parts.items() if not part]:
        raise UsageError(f"{file} holds no row of request {empty[0]}")
    return [Part(name, tuple(part)) for name, part in parts.items()]


def commit_row(key: bytes, row: Row) -> str:
    """The commitment to a row's conversation, and to its spans if it has any, hexadecimal."""
    spans = {"spans": [list(span) for span in row.spans]} if row.spans else {}
    try:
        text = canonical({"context": [list(turn) for turn in row.context], "response": row.response, **spans})
    except MalformedError as error:
        raise UsageError(f"row {row.name} {error}") from None
    return hmac.new(key, text, hashlib.sha256).hexdigest()


def commit_subject(key: bytes, subject_id: str) -> str:
    """The commitment to whom rows are about, hexadecimal. Raises UsageError for an id that JSON cannot hold."""
    try:
        return hmac.new(key, canonical({"subject_id": subject_id}), hashlib.sha256).hexdigest()
    except MalformedError as error:
        raise UsageError(f"a subject_id {error}") from None


def commit_parts(parts: Sequence[Part], keys: Sequence[bytes]) -> dict[str, Any]:
    """The content of commitments.json. subject: a person's number, in the order of the request."""
    rows = sorted((row for part in parts for row in part.rows), key=lambda row: row.place)
    number = {subject: place for place, subject in enumerate(subjects_of(rows), 1)}
    return {
        "schema": 2,
        "algorithm": ALGORITHM,
        "requests": [
            {
                "request": part.request,
                "rows": [{"row": row.record_name, "hmac": commit_row(key, row)} for row in part.rows],
                "subjects": [
                    {"subject": number[subject], "hmac": commit_subject(key, subject)}
                    for subject in subjects_of(part.rows)
                    if subject is not None
                ],
            }
            for part, key in zip(parts, keys, strict=True)
        ],
    }


@dataclass(frozen=True)
class CommittedRow:
    """Where a row stands. request: its id in the owner's register, if it has one. row: its name there, see
    `Row.record_name`. subject: number of the person whom the row names, None where the request names another or none.
    """

    request: str | None
    row: str
    subject: int | None


def find_row(commitments: Mapping[str, Any], key: bytes, row: Row) -> CommittedRow | None:
    """What a row was committed to as under this key, or None.

    Raises MalformedError if the commitments are damaged.
    """
    wanted = commit_row(key, row)
    try:
        for part in commitments["requests"]:
            for entry in part["rows"]:
                if hmac.compare_digest(str(entry["hmac"]), wanted):
                    name = str(entry["row"] if "row" in entry else entry["line"])  # line: schema 1
                    return CommittedRow(
                        part["request"], name, _find_subject(part.get("subjects", ()), key, row.subject_id)
                    )
    except (AttributeError, KeyError, TypeError, ValueError):
        raise MalformedError("holds no commitments") from None
    return None


def _find_subject(subjects: Iterable[Mapping[str, Any]], key: bytes, subject_id: str | None) -> int | None:
    if not subject_id:
        return None
    wanted = commit_subject(key, subject_id)
    found = (int(one["subject"]) for one in subjects if hmac.compare_digest(str(one["hmac"]), wanted))
    return next(found, None)


def commit_file(key: bytes, path: Path, sha256: str | None = None, fields: Fields | None = None) -> str:
    """The commitment to a whole source of rows, with the algorithm's name.

    sha256: of the source as it was read before, if it was. fields: how it is read. Raises InputError if it cannot be
    read, or has changed since.
    """
    keyed, plain = hmac.new(key, digestmod=hashlib.sha256), hashlib.sha256()
    for part in open_source(path, fields).chunks():
        keyed.update(part)
        plain.update(part)
    if sha256 is not None and plain.hexdigest() != sha256:
        raise InputError(path, "has changed since its rows were read")
    return f"hmac-sha256:{keyed.hexdigest()}"


def make_key(path: Path) -> bytes:
    """A new random key, written to a private file as hexadecimal."""
    key = secrets.token_bytes(KEY_BYTES)
    write_bytes(path, key.hex().encode())
    return key


def read_key(path: Path) -> bytes:
    """A key from its file. Raises RunError if it is missing or damaged."""
    if not path.exists():
        raise RunError(f"{path}: there is no such key")
    try:
        key = bytes.fromhex(read_text(path, LARGEST_KEY_FILE))
    except (InputError, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise RunError(f"{path} is damaged: it is no commitment key")
    return key
