"""What may happen to a request: each rule takes it as it is and gives it as it will be, or refuses."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date

from ..errors import UsageError
from ._dates import PERIODS, due_date, extended_date
from .checks import checked_choice, checked_id, checked_text
from .records import Artefact, Request
from .words import DECISIONS, IDENTITY_RESULTS, IDENTITY_SETTLED, JURISDICTIONS


@dataclass(frozen=True, kw_only=True)
class Details:
    """What the owner says of a request, on arrival or later; None is not said."""

    received: date | None = None
    due: date | None = None
    acknowledged: date | None = None
    channel: str | None = None
    identity_method: str | None = None
    identity_result: str | None = None
    artefacts: Sequence[Artefact] = ()


def begin(request_id: str, jurisdiction: str, details: Details, today: date) -> Request:
    """A new request. Raises UsageError for an id, a date or a text that cannot be."""
    checked_id(request_id)
    checked_choice("a jurisdiction", jurisdiction, JURISDICTIONS)
    received = details.received or today
    _refuse_future(request_id, "received", received, today)
    if jurisdiction not in PERIODS and details.due is None:
        raise UsageError("--jurisdiction other needs --due: no law is known here that gives the date")
    due = details.due or due_date(jurisdiction, received)
    return amend(Request(id=request_id, jurisdiction=jurisdiction, received=received, due=due), details, today)


def amend(request: Request, details: Details, today: date) -> Request:
    """The request with what is now said of it. Raises UsageError if it is closed, or for dates that cannot be."""
    refuse_closed(request)
    if request.extended_until and (details.received or details.due):
        raise UsageError(f"{request.id} is extended, and the extension rests on its dates; they stay as they are")
    received = details.received or request.received
    _refuse_future(request.id, "received", received, today)  # before anything is counted from it
    changed = replace(
        request,
        received=received,
        due=_due(request, received, details.due),
        acknowledged=details.acknowledged or request.acknowledged,
        channel=_text("the channel", details.channel, request.channel),
        identity_method=_text("the identity method", details.identity_method, request.identity_method),
        identity_result=checked_choice(
            "the identity result", details.identity_result or request.identity_result, IDENTITY_RESULTS
        ),
        artefacts=_merged(request.artefacts, details.artefacts),
    )
    _check_dates(changed, today)
    return changed


def prolong(request: Request, reason: str, until: date | None, today: date, informed: date | None = None) -> Request:
    """The request with more time. Raises UsageError if it is closed, was extended before, or it was too late for that.

    informed: when the person was told of the extension, and why, if not today; it must be before the first period ends.
    """
    refuse_closed(request)
    informed = informed or today
    _refuse_future(request.id, "extended", informed, today)
    if request.extended_until:
        raise UsageError(f"{request.id} was extended already, until {request.extended_until}")
    if request.jurisdiction not in PERIODS:
        if until is None or until <= request.due:
            raise UsageError(f"give --until, a date after the due date {request.due}")
    elif until is not None:
        raise UsageError(f"--until goes with --jurisdiction other; {request.jurisdiction} says itself how long")
    elif informed > request.due:
        raise UsageError(
            f"too late to extend {request.id}: the person had to be told by {request.due} (if they were, --told DATE)"
        )
    else:
        until = extended_date(request.jurisdiction, request.received)
    return replace(request, extended_until=until, extension_reason=checked_text("the reason", reason))


def conclude(request: Request, decision: str, approver: str, exceptions: Sequence[str], today: date) -> Request:
    """The request with its decision. Raises UsageError saying everything that is missing, and how to set it."""
    refuse_closed(request)
    checked_choice("a decision", decision, DECISIONS)
    claimed = tuple(dict.fromkeys(checked_text("an exception", text) for text in exceptions))
    if decision == "granted" and claimed:
        raise UsageError("a request that is granted claims no exception; with one it is granted partly")
    concluded = replace(
        request,
        decision=decision,
        approver=checked_text("the approver", approver),
        exceptions=claimed,
        closed=today,
    )
    if missing := list(_missing(concluded)):
        raise UsageError(f"{request.id} cannot be closed as {decision}: {'; '.join(missing)}")
    return concluded


def _missing(request: Request) -> Iterator[str]:
    """What stands against the decision, each with what would settle it."""
    if request.decision != "granted" and not request.exceptions:
        yield "no reason is given (--exception TEXT)"
    if request.decision == "refused":
        return
    update = f"forgetctl requests update {request.id}"
    if request.identity_result not in IDENTITY_SETTLED:
        yield (
            f"identity is {request.identity_result}, not {' or '.join(IDENTITY_SETTLED)} "
            f"({update} --identity-result verified)"
        )
    for artefact in request.artefacts:
        if artefact.status == "pending":
            done = shlex.quote(f"{artefact.label}=done")
            yield f"artefact {artefact.label} is pending ({update} --artefact {done})"
    for run in request.runs:
        if run.verdict is None:
            unbind = f"forgetctl requests unbind {request.id} {run.run} --reason TEXT"
            yield f"run {run.run} has no verdict (forgetctl verify {shlex.quote(run.path)}; if it is no more, {unbind})"


def refuse_closed(request: Request) -> None:
    """Raise UsageError if the request is closed."""
    if request.closed:
        raise UsageError(f"{request.id} was closed on {request.closed}")


def _due(request: Request, received: date, given: date | None) -> date:
    """The law's date, or the owner's where no law is named."""
    if request.jurisdiction not in PERIODS:
        return given or request.due
    if given is not None:
        raise UsageError(f"--due goes with --jurisdiction other; {request.jurisdiction} counts from receipt")
    return due_date(request.jurisdiction, received)


def _text(what: str, said: str | None, before: str | None) -> str | None:
    return before if said is None else checked_text(what, said)


def _merged(before: Sequence[Artefact], said: Sequence[Artefact]) -> tuple[Artefact, ...]:
    """Artefacts in the order in which they were first named, each with its last status."""
    return tuple({artefact.label: artefact for artefact in (*before, *said)}.values())


def _refuse_future(request_id: str, what: str, day: date, today: date) -> None:
    if day > today:
        raise UsageError(f"{request_id} cannot be {what} on {day}: that is in the future")


def _check_dates(request: Request, today: date) -> None:
    if request.acknowledged:
        _refuse_future(request.id, "acknowledged", request.acknowledged, today)
    for what, later in (("acknowledged", request.acknowledged), ("due", request.due)):
        if later and later < request.received:
            raise UsageError(f"{request.id} cannot be {what} on {later}, before it was received ({request.received})")
