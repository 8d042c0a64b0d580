"""The register: what commands and jobs do with it. Every change is one transaction together with its history."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path

from ..errors import UsageError
from . import _tables as tables
from . import rules
from ._database import explained, opened, reading, writing
from .checks import LONGEST_PATH, checked_id, checked_text
from .records import Request
from .words import DEFAULT_REGISTER

__all__ = ["DEFAULT_REGISTER", "Register"]


class Register:
    """The deletion requests of one owner. Several processes may have it open and change it at the same time."""

    def __init__(self, path: Path, db: sqlite3.Connection) -> None:
        self.path = path
        self._db = db

    @classmethod
    @contextmanager
    def open(cls, path: Path, *, create: bool = False) -> Iterator[Register]:
        """The register at `path`; `create` makes one (0600) if there is none.

        Raises UsageError if there is none, InputError if the file is something else, RunError if it is damaged, out of
        reach or from a later version. Every method raises RunError if the disk is full or fails, or if another process
        writes for too long; nothing is changed then.
        """
        with opened(path, create=create) as db:
            yield cls(path, db)

    def get(self, request_id: str) -> Request:
        """One request. Raises UsageError if there is none."""
        with self._reading():
            return self._known(request_id)

    def requests(self, *, closed: bool = False) -> list[Request]:
        """All requests, those that are closed only if asked for, in the order in which they were added."""
        with self._reading():
            ids = self._db.execute("SELECT id FROM requests WHERE closed IS NULL OR ? ORDER BY rowid", [closed])
            return [self._known(row["id"]) for row in ids]

    def add(self, request: Request) -> Request:
        """Add a request that `rules.begin` made. Raises UsageError if its id is taken."""
        with self._writing():
            if tables.load(self._db, request.id):
                raise UsageError(f"{request.id} is in the register already; `forgetctl requests update` changes it")
            tables.save(self._db, None, request)
            return self._known(request.id)

    def update(self, request_id: str, details: rules.Details, today: date) -> Request:
        """Change what is said of a request. Raises UsageError if a rule is broken."""
        return self._change(request_id, lambda request: rules.amend(request, details, today))

    def extend(
        self, request_id: str, reason: str, until: date | None, today: date, informed: date | None = None
    ) -> Request:
        """Give a request more time, once. informed: when the person was told, if not today. Raises UsageError."""
        return self._change(request_id, lambda request: rules.prolong(request, reason, until, today, informed))

    def close(self, request_id: str, decision: str, approver: str, exceptions: Sequence[str], today: date) -> Request:
        """Decide a request. Raises UsageError saying what is missing."""
        return self._change(request_id, lambda request: rules.conclude(request, decision, approver, exceptions, today))

    def check_open(self, ids: Sequence[str]) -> None:
        """Raise UsageError naming the first id that is unknown or closed."""
        with self._reading():
            for request_id in ids:
                self._refuse_closed(request_id)

    def bind_run(self, run: str, path: Path, method: str, rows: Mapping[str, int]) -> None:
        """Bind a run to the requests whose rows it unlearns: `rows` says how many, by id of the request.

        Binding a run again, as when it is resumed, changes nothing. Raises UsageError if a request is unknown or
        closed, or if the name is that of another run: it is by the name that verdicts are recorded.
        """
        place = str(path.resolve())
        checked_text("the name of the run", run)
        checked_text("the path of the run", place, LONGEST_PATH)
        checked_text("the method of the run", method)
        with self._writing():
            bound = tables.bound(self._db, run)
            if bound == {request_id: (place, method, count) for request_id, count in rows.items()}:
                return
            if bound:
                raise UsageError(
                    f"{self.path} knows another run named {run}, of {', '.join(bound)}; give this one another name"
                )
            for request_id, count in rows.items():
                self._refuse_closed(request_id)
                tables.bind(self._db, request_id, run, place, method, count)

    def knows_run(self, run: str) -> bool:
        """Whether a run is bound to a request."""
        with self._reading():
            return bool(tables.bound(self._db, run))

    def unbind_run(self, request_id: str, run: str, reason: str) -> Request:
        """Take a run off a request, as one that was abandoned or deleted; the history keeps it, with the reason.

        Raises UsageError if the request is unknown or closed, or does not know the run.
        """
        checked_text("the reason", reason)
        with self._writing():
            self._refuse_closed(request_id)
            if request_id not in tables.bound(self._db, run):
                raise UsageError(f"no run of that name is bound to {request_id}")
            tables.unbind(self._db, request_id, run, reason)
            return self._known(request_id)

    def record_verdict(self, run: str, verdict: str) -> list[str]:
        """Note the verdict of a run at every request that it is bound to, also closed ones; returns their ids.

        Raises UsageError if no request knows the run.
        """
        checked_text("the verdict", verdict)
        with self._writing():
            ids = list(tables.bound(self._db, run))
            if not ids:
                raise UsageError(f"no request in {self.path} knows the run {run}")
            for request_id in ids:
                # A verdict that is told again is no news, and must not look like the latest.
                if tables.verdict(self._db, request_id, run) != verdict:
                    tables.judge(self._db, request_id, run, verdict)
            return ids

    def _change(self, request_id: str, rule: Callable[[Request], Request]) -> Request:
        with self._writing():
            before = self._known(request_id)
            tables.save(self._db, before, rule(before))
            return self._known(request_id)

    def _known(self, request_id: str) -> Request:
        request = tables.load(self._db, checked_id(request_id))
        if request is None:
            raise UsageError(f"no request {request_id} in {self.path}")
        return request

    def _refuse_closed(self, request_id: str) -> None:
        rules.refuse_closed(self._known(request_id))

    @contextmanager
    def _reading(self) -> Iterator[None]:
        with explained(self.path), reading(self._db):
            yield

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with explained(self.path), writing(self._db):
            yield
