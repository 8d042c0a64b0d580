"""The register's SQLite file: made, opened, brought up to date, changed in transactions, and its errors in words."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from ..errors import ForgetctlError, InputError, RunError, UsageError
from ..files.disk import FULL, unmade
from ..files.writing import refuse_in_bundle
from ._migrations import APPLICATION_ID, MIGRATIONS, migrate, version

BUSY_SECONDS = 30.0
"""How long a command waits for another one that is writing."""

IN_USE = "has been in use by another process for too long; nothing was changed, try again"
FAILURES = {
    sqlite3.SQLITE_BUSY: IN_USE,
    sqlite3.SQLITE_PROTOCOL: IN_USE,
    sqlite3.SQLITE_FULL: f"cannot grow: {FULL}; nothing was changed",
    sqlite3.SQLITE_READONLY: "cannot be written; it and its folder must be writable",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened; it and its folder must be readable and writable",
    sqlite3.SQLITE_CORRUPT: "is damaged; put back a copy",
    sqlite3.SQLITE_IOERR: "cannot be read or written, the disk fails or is full; nothing was changed",
}
"""By SQLite's primary result code."""


@contextmanager
def opened(path: Path, *, create: bool) -> Iterator[sqlite3.Connection]:
    """A connection to a register that is up to date.

    Raises UsageError if there is none and `create` does not allow to make it, InputError if the file is something else,
    RunError if it is damaged or from a later version.
    """
    with explained(path):
        _find(path, create=create)
        connection = _connect(path)
    with closing(connection) as db:
        with explained(path):
            _refuse_foreign(db, path)
            db.execute("PRAGMA foreign_keys = ON")
            db.execute("PRAGMA synchronous = FULL")
            if version(db) < len(MIGRATIONS):
                with writing(db):
                    migrate(db, MIGRATIONS)
            if version(db) > len(MIGRATIONS):
                raise RunError(
                    f"{path} is from a later forgetctl: its schema is {version(db)}, this one reads up to "
                    f"{len(MIGRATIONS)}"
                )
        yield db


@contextmanager
def writing(db: sqlite3.Connection) -> Iterator[None]:
    """One transaction that no other writer can come between: all of it or, after any exception, nothing."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


@contextmanager
def reading(db: sqlite3.Connection) -> Iterator[None]:
    """One state of the register for several queries, whatever others write meanwhile."""
    db.execute("BEGIN")
    try:
        yield
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what SQLite and the file system raise into errors of ours."""
    try:
        yield
    except sqlite3.Error as error:
        raise _in_words(path, error) from None
    except OSError as error:
        raise unmade(path, error, "cannot be used as a register") from None


def _in_words(path: Path, error: sqlite3.Error) -> ForgetctlError:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF  # the rest says where exactly
    if code == sqlite3.SQLITE_NOTADB:
        return _foreign(path)
    # SQLite's own message may quote what is in the register, so an unforeseen failure has only its name.
    return RunError(f"{path} {FAILURES.get(code) or f'cannot be used ({type(error).__name__} {code})'}")


def _find(path: Path, *, create: bool) -> None:
    if not path.exists():
        if not create:
            raise UsageError(f"no register at {path}; `forgetctl requests add` begins one")
        _create(path)
    if not path.is_file():
        raise _foreign(path)


def _create(path: Path) -> None:
    """Make an empty register elsewhere and give it its name once it is whole: nobody ever meets half of one.

    SQLite gives the files beside it the mode of the register itself.
    """
    refuse_in_bundle(path.parent)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 0600
    draft = Path(name)
    os.close(handle)
    try:
        with closing(_connect(draft)) as db:
            with writing(db):
                migrate(db, MIGRATIONS)
                db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            db.execute("PRAGMA journal_mode = WAL")  # kept in the file, so whoever opens it later has it too
        with suppress(FileExistsError):  # somebody else was faster, and theirs is the register
            path.hardlink_to(draft)
    finally:
        draft.unlink(missing_ok=True)


def _connect(path: Path) -> sqlite3.Connection:
    """A connection without transactions of its own making; the file must exist."""
    address = f"{path.absolute().as_uri()}?mode=rw"
    db = sqlite3.connect(address, uri=True, timeout=BUSY_SECONDS, isolation_level=None)
    db.row_factory = sqlite3.Row
    return db


def _refuse_foreign(db: sqlite3.Connection, path: Path) -> None:
    if db.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise _foreign(path)


def _foreign(path: Path) -> InputError:
    return InputError(path, "not a register of deletion requests, and left as it is")
