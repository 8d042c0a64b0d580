"""A request with everything that belongs to it, as it is kept, and what follows from its dates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import date
from typing import Any

from ._dates import acknowledge_by


@dataclass(frozen=True)
class Artefact:
    """A thing that may hold what has to be forgotten."""

    kind: str
    name: str
    status: str

    @property
    def label(self) -> str:
        """KIND:NAME, as the owner types it."""
        return f"{self.kind}:{self.name}"

    def as_json(self) -> dict[str, str]:
        """Field by field."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class BoundRun:
    """A run that unlearned rows of the request, and what its verification found."""

    run: str
    path: str
    method: str
    rows: int
    bound_at: str
    verdict: str | None
    verdict_at: str | None

    def as_json(self) -> dict[str, Any]:
        """Field by field."""
        return asdict(self)


@dataclass(frozen=True)
class Change:
    """One entry of the history: UTC time to the second, the fields that changed and their new values."""

    at: str
    changes: Mapping[str, Any]

    def as_json(self) -> dict[str, Any]:
        """Field by field."""
        return {"at": self.at, "changes": dict(self.changes)}


@dataclass(frozen=True, kw_only=True)
class Request:
    """A deletion request. `due` is the date before any extension."""

    id: str
    jurisdiction: str
    received: date
    due: date
    channel: str | None = None
    acknowledged: date | None = None
    extended_until: date | None = None
    extension_reason: str | None = None
    identity_method: str | None = None
    identity_result: str = "pending"
    decision: str | None = None
    approver: str | None = None
    closed: date | None = None
    exceptions: tuple[str, ...] = ()
    artefacts: tuple[Artefact, ...] = ()
    runs: tuple[BoundRun, ...] = ()
    history: tuple[Change, ...] = ()

    @property
    def effective_due(self) -> date:
        """The last day for an answer."""
        return self.extended_until or self.due

    @property
    def acknowledge_by(self) -> date | None:
        """The last day to confirm receipt, where the law asks for it."""
        return acknowledge_by(self.jurisdiction, self.received)

    @property
    def last_verdict(self) -> str | None:
        """The newest verdict of its runs."""
        judged = [run for run in self.runs if run.verdict]
        return max(judged, key=lambda run: run.verdict_at or "").verdict if judged else None

    def days_left(self, today: date) -> int | None:
        """Days until the answer is due, negative once it is late; None for a closed request."""
        return None if self.closed else (self.effective_due - today).days

    def unacknowledged(self, today: date) -> bool:
        """Whether it is open and receipt should have been confirmed by now."""
        deadline = self.acknowledge_by
        return not (self.closed or self.acknowledged) and deadline is not None and deadline < today

    def overdue(self, today: date) -> bool:
        """Whether it is open and the answer, or the confirmation of receipt, is late."""
        days = self.days_left(today)
        return (days is not None and days < 0) or self.unacknowledged(today)

    def as_json(self) -> dict[str, Any]:
        """Field by field, with dates as ISO 8601."""
        return {
            **{name: plain(getattr(self, name)) for name in COLUMNS},
            "effective_due": self.effective_due.isoformat(),
            "acknowledge_by": plain(self.acknowledge_by),
            "exceptions": list(self.exceptions),
            "artefacts": [artefact.as_json() for artefact in self.artefacts],
            "runs": [run.as_json() for run in self.runs],
            "history": [change.as_json() for change in self.history],
        }


LISTS = ("exceptions", "artefacts", "runs", "history")
"""Fields that are lists, each kept in a table of its name."""
COLUMNS = tuple(field.name for field in fields(Request) if field.name not in LISTS)
DATES = ("received", "due", "acknowledged", "extended_until", "closed")


def plain(value: Any) -> Any:
    """A date as ISO 8601; anything else as it is."""
    return value.isoformat() if isinstance(value, date) else value
