"""The register in a terminal: what is due when, and everything about one request."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import Any

from rich.table import Table
from rich.text import Text

from ..register.records import BoundRun, Change, Request
from .terminal import STYLES, one_line, out, table

LATE, SOON = "bold red", "bold yellow"
SOON_DAYS = 7
"""A request with this many days left, or fewer, stands out."""
WIDEST_ID = 28
NONE = "-"
COLUMNS = ("request", "law", "received", "due", "left", "extended", "identity", "artefacts", "verdict", "state")
STACKED = (
    ("request", "law"),
    ("received", "due"),
    ("left", "extended"),
    ("identity", "artefacts"),
    ("verdict", "state"),
)
"""What shares a column, above and below, where the terminal is too narrow for all."""


def by_urgency(requests: Sequence[Request], today: date) -> list[Request]:
    """Overdue requests first, then by days left; closed ones last."""
    return sorted(
        requests,
        key=lambda request: (bool(request.closed), not request.overdue(today), request.effective_due, request.id),
    )


def show_list(requests: Sequence[Request], today: date) -> None:
    """Print a line for each request; two on a narrow terminal."""
    console = out()
    if not requests:
        console.print("No open requests.")
        return
    rows = [_cells(request, today) for request in requests]
    grid = _one_line(rows)
    width = console.measure(grid, options=console.options.update(max_width=10_000)).maximum
    if not console.is_terminal:
        console.width = max(console.width, width)  # a file has no right edge, and whole lines can be searched
    console.print(grid if width <= console.width else _two_lines(rows))
    if late := sum(request.overdue(today) for request in requests):
        console.print(Text(f"{late} overdue", LATE))


def show_request(request: Request, today: date) -> None:
    """Print everything that the register knows of a request."""
    console = out()
    console.print(_facts("request", request.id, _request_facts(request, today)))
    if request.artefacts:
        rows = [[artefact.kind, artefact.name, artefact.status] for artefact in request.artefacts]
        console.print(table(["artefact", "name", "status"], rows))
    for run in request.runs:
        console.print(_facts("run", run.run, _run_facts(run)))
    entries = [entry for change in request.history for entry in _entries(change)]
    console.print(table(["history (UTC)", "changed", "to"], entries))


def show_standing(request: Request, today: date) -> None:
    """Print in a line where a request stands; once it is closed, also what its runs found."""
    console = out()
    if request.closed:
        end = _said(f"closed {request.closed}, {request.decision}")
    else:
        end = Text.assemble("due ", str(request.effective_due), ", ", _left(request, today))
        if not request.acknowledged and request.acknowledge_by:
            end.append_text(Text.assemble("; confirm receipt ", _acknowledge_by(request, today)))
    console.print(Text.assemble((one_line(request.id), "bold"), ": ", end))
    for run in request.runs if request.closed else ():
        console.print(Text.assemble("run ", one_line(run.run), ": ", _verdict(run.verdict)))


def _cells(request: Request, today: date) -> dict[str, Text]:
    settled = sum(artefact.status != "pending" for artefact in request.artefacts)
    return {
        "request": _said(request.id),
        "law": _said(request.jurisdiction),
        "received": Text(str(request.received)),
        "due": Text(str(request.effective_due)),
        "left": _left(request, today),
        "extended": Text("yes" if request.extended_until else "no"),
        "identity": _said(request.identity_result),
        "artefacts": Text(f"{settled}/{len(request.artefacts)}" if request.artefacts else NONE),
        "verdict": _verdict(request.last_verdict),
        "state": _state(request, today),
    }


def _one_line(rows: Sequence[Mapping[str, Text]]) -> Table:
    grid = _whole(table(COLUMNS, []))
    for row in rows:
        grid.add_row(*(row[name] for name in COLUMNS))
    return grid


def _two_lines(rows: Sequence[Mapping[str, Text]]) -> Table:
    grid = _whole(table(["\n".join(names) for names in STACKED], []))
    grid.leading = 1
    grid.columns[0].no_wrap, grid.columns[0].max_width = False, WIDEST_ID
    for row in rows:
        grid.add_row(*(Text("\n").join(row[name] for name in names) for names in STACKED))
    return grid


def _whole(grid: Table) -> Table:
    """The table with its columns close together and none of them broken: half a date is none."""
    grid.collapse_padding = True
    for column in grid.columns:
        column.no_wrap = True
    return grid


def _left(request: Request, today: date) -> Text:
    """Days left in words; the colour only repeats them."""
    days = request.days_left(today)
    if days is None:
        return Text(NONE)
    if days < 0:
        return Text(f"{_days(-days)} late", LATE)
    return Text(_days(days) if days else "today", SOON if days <= SOON_DAYS else "")


def _days(count: int) -> str:
    return "1 day" if count == 1 else f"{count} days"


def _state(request: Request, today: date) -> Text:
    if request.closed:
        return _said(f"closed, {request.decision}")
    return Text("acknowledge", LATE) if request.unacknowledged(today) else Text("open")


def _acknowledge_by(request: Request, today: date) -> Text:
    """Until when receipt is to be confirmed, where the law asks for it."""
    if request.acknowledge_by is None:
        return Text(NONE)
    late = request.unacknowledged(today)
    return Text(f"by {request.acknowledge_by}{' (late)' if late else ''}", LATE if late else "")


def _verdict(verdict: str | None) -> Text:
    return Text(one_line(verdict), STYLES.get(verdict, "")) if verdict else Text(NONE)


def _request_facts(request: Request, today: date) -> dict[str, Text]:
    """What `show` says of the request itself, by name."""
    due = Text(str(request.effective_due))
    if not request.closed:
        due.append_text(Text.assemble(" (", _left(request, today), ")"))
    return {
        "state": _state(request, today),
        "closed": Text(str(request.closed or NONE)),
        "law": _said(request.jurisdiction),
        "received": Text(str(request.received)),
        "channel": _said(request.channel),
        "acknowledged": Text(str(request.acknowledged)) if request.acknowledged else _acknowledge_by(request, today),
        "due": due,
        "extended": _said(f"from {request.due}: {request.extension_reason}" if request.extended_until else None),
        "identity": _said(request.identity_result),
        "identity method": _said(request.identity_method),
        "approver": _said(request.approver),
        "exceptions": Text("\n").join(map(_said, request.exceptions)) or Text(NONE),
    }


def _run_facts(run: BoundRun) -> dict[str, Text]:
    """What `show` says of a run, by name."""
    return {
        "verdict": _verdict(run.verdict),
        "verified": _said(_utc(run.verdict_at) if run.verdict_at else None),
        "bound": _said(_utc(run.bound_at)),
        "method": _said(run.method),
        "rows": Text(str(run.rows)),
        "path": _said(run.path),
    }


def _entries(change: Change) -> Iterator[list[str]]:
    """A line for each field that changed, the time only in the first."""
    time = _utc(change.at)
    for field, value in change.changes.items():
        yield [time, field.replace("_", " "), _words(value)]
        time = ""


def _words(value: Any) -> str:
    return "; ".join(map(str, value)) if isinstance(value, list) else str(value)


def _facts(what: str, name: str, facts: Mapping[str, Text]) -> Table:
    grid = table([what, ""], [])
    grid.columns[1].header = Text(one_line(name))
    for fact, value in facts.items():
        grid.add_row(fact, value)
    return grid


def _said(text: str | None) -> Text:
    return Text(one_line(text)) if text else Text(NONE)


def _utc(time: str) -> str:
    return time.removesuffix("+00:00").replace("T", " ")
