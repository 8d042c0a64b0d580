"""`forgetctl requests`: options -> one call -> echo -> exit code. No database and no tables until a command runs."""

from __future__ import annotations

import json
from dataclasses import astuple, dataclass
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..register.words import (
    ARTEFACT_KINDS,
    ARTEFACT_STATUSES,
    DECISIONS,
    DEFAULT_REGISTER,
    IDENTITY_RESULTS,
    JURISDICTIONS,
)
from ._options import PATH, common, grouped, json_option

if TYPE_CHECKING:
    from ..register.records import Request
    from ..register.rules import Details
    from .terminal import TerminalProgress

OVERDUE = 5
"""Exit code of `list`."""
DAY = click.DateTime(["%Y-%m-%d"])

register_option = click.option(
    "--register",
    "path",
    type=PATH,
    default=DEFAULT_REGISTER,
    show_default=True,
    envvar="FORGETCTL_REGISTER",
    show_envvar=True,
    metavar="FILE",
    help="The register, an SQLite file.",
)


@dataclass(frozen=True, kw_only=True)
class Given:
    """What `add` and `update` are told of a request, as it was typed."""

    received: datetime | None
    channel: str | None
    due: datetime | None
    acknowledged: datetime | None
    identity_method: str | None
    identity_result: str | None
    artefacts: tuple[str, ...]

    def details(self) -> Details:
        """The same, checked. Raises UsageError for an artefact that cannot be."""
        from ..register.checks import parse_artefact
        from ..register.rules import Details

        return Details(
            received=_day(self.received),
            due=_day(self.due),
            acknowledged=_day(self.acknowledged),
            channel=self.channel,
            identity_method=self.identity_method,
            identity_result=self.identity_result,
            artefacts=tuple(map(parse_artefact, self.artefacts)),
        )


detail_options = grouped(
    Given,
    click.option("--received", type=DAY, metavar="DATE", help="When it came in; `add` takes today."),
    click.option("--channel", metavar="TEXT", help="How it came in, such as: web form."),
    click.option("--due", type=DAY, metavar="DATE", help="Last day for the answer; only where the law is other."),
    click.option("--acknowledged", type=DAY, metavar="DATE", help="When its receipt was confirmed."),
    click.option("--identity-method", metavar="TEXT", help="How it was checked who is asking."),
    click.option("--identity-result", type=click.Choice(IDENTITY_RESULTS), help="What that check found."),
    click.option(
        "--artefact",
        "artefacts",
        multiple=True,
        metavar="KIND:NAME[=STATUS]",
        help=f"What may hold the data; repeatable. Kinds: {', '.join(ARTEFACT_KINDS)}. "
        f"Statuses: {', '.join(ARTEFACT_STATUSES)}; without one it is pending.",
    ),
)
"""What `add` and `update` may say of a request. Gives the command a `Given`."""


@click.group()
def requests() -> None:
    """Keep the owner's register of deletion requests: what is due when, what was done, who decided.

    \b
      forgetctl requests add REQ-17 --jurisdiction gdpr --artefact base-model:llama
      forgetctl requests list
      forgetctl requests update REQ-17 --identity-result verified --artefact base-model:llama=done
      forgetctl requests close REQ-17 --decision granted --approver "J. Doe"

    An ID is a file number of yours, never a name or an address: the register and every report show it.
    """


@requests.command()
@click.argument("request_id", metavar="ID")
@click.option(
    "--jurisdiction",
    required=True,
    type=click.Choice(JURISDICTIONS),
    help="The law it is made under, which says when the answer is due; for any other law give --due.",
)
@detail_options
@register_option
@json_option
@common
def add(
    progress: TerminalProgress, given: Given, *, request_id: str, jurisdiction: str, path: Path, as_json: bool
) -> None:
    """Add a request, and make the register if there is none.

    ID is a file number of yours (letters, digits, dots, dashes, underscores), never a name or an address.
    """
    from ..register.rules import begin
    from ..register.store import Register

    today = date.today()
    request = begin(request_id, jurisdiction, given.details(), today)
    with Register.open(path, create=True) as register:
        added = register.add(request)
    _echo(added, today, as_json)


@requests.command()
@click.argument("request_id", metavar="ID")
@detail_options
@register_option
@json_option
@common
def update(progress: TerminalProgress, given: Given, *, request_id: str, path: Path, as_json: bool) -> None:
    """Change what is known of an open request.

    --artefact adds an artefact or sets the status of one that is there.
    """
    from ..register.store import Register

    if not any(astuple(given)):
        raise click.UsageError("nothing to change: give at least one of the options that say something of the request")
    if unclear := [text for text in given.artefacts if "=" not in text]:
        raise click.UsageError(f"say the status of {len(unclear)} artefact(s): --artefact KIND:NAME=STATUS")
    today, details = date.today(), given.details()
    with Register.open(path) as register:
        changed = register.update(request_id, details, today)
    _echo(changed, today, as_json)


@requests.command()
@click.argument("request_id", metavar="ID")
@click.option("--reason", required=True, metavar="TEXT", help="Why it takes longer, as the person was told.")
@click.option("--until", type=DAY, metavar="DATE", help="The new last day; only where the law is other.")
@click.option("--told", "informed", type=DAY, metavar="DATE", help="When the person was told.  [default: today]")
@register_option
@json_option
@common
def extend(
    progress: TerminalProgress,
    *,
    request_id: str,
    reason: str,
    until: datetime | None,
    informed: datetime | None,
    path: Path,
    as_json: bool,
) -> None:
    """Note that the person was told of an extension: once, under gdpr and ccpa before the first period ends.

    gdpr: three months from receipt instead of one. ccpa: 90 days instead of 45.
    """
    from ..register.store import Register

    today = date.today()
    with Register.open(path) as register:
        extended = register.extend(request_id, reason, _day(until), today, _day(informed))
    _echo(extended, today, as_json)


@requests.command()
@click.argument("request_id", metavar="ID")
@click.argument("run")
@click.option("--reason", required=True, metavar="TEXT", help="Why, such as that the run was abandoned or deleted.")
@register_option
@json_option
@common
def unbind(progress: TerminalProgress, *, request_id: str, run: str, reason: str, path: Path, as_json: bool) -> None:
    """Take a run off a request, which could else not be granted before it has a verdict."""
    from ..register.store import Register

    today = date.today()
    with Register.open(path) as register:
        left = register.unbind_run(request_id, run, reason)
    _echo(left, today, as_json)


@requests.command()
@click.argument("request_id", metavar="ID")
@click.option("--decision", required=True, type=click.Choice(DECISIONS), help="What the person was told.")
@click.option("--approver", required=True, metavar="NAME", help="Who decided.")
@click.option(
    "--exception",
    "exceptions",
    multiple=True,
    metavar="TEXT",
    help="Why not all of it, such as: Art. 17(3)(b); repeatable, needed for partly and refused.",
)
@register_option
@json_option
@common
def close(
    progress: TerminalProgress,
    *,
    request_id: str,
    decision: str,
    approver: str,
    exceptions: tuple[str, ...],
    path: Path,
    as_json: bool,
) -> None:
    """Close a request with a decision.

    To grant it, fully or partly, identity must be settled, no artefact pending, and every run verified.
    """
    from ..register.store import Register

    today = date.today()
    with Register.open(path) as register:
        closed = register.close(request_id, decision, approver, exceptions, today)
    _echo(closed, today, as_json)


@requests.command()
@click.argument("request_id", metavar="ID")
@register_option
@json_option
@common
def show(progress: TerminalProgress, *, request_id: str, path: Path, as_json: bool) -> None:
    """Show everything about a request, with its history."""
    from ..register.store import Register

    with Register.open(path) as register:
        request = register.get(request_id)
    today = date.today()
    if as_json:
        _echo_json(_full(request, today))
    else:
        from ._requests_terminal import show_request

        show_request(request, today)


@requests.command("list")
@click.option("--all", "closed", is_flag=True, help="Also those that are closed.")
@register_option
@json_option
@common
def list_requests(progress: TerminalProgress, *, closed: bool, path: Path, as_json: bool) -> None:
    """List the open requests, the most urgent first. Exit code 5 if one is overdue, else 0.

    A request is overdue if its answer is late, or under ccpa the confirmation of its receipt (10 business days).
    """
    from ..register.store import Register
    from ._requests_terminal import by_urgency, show_list

    today = date.today()
    with Register.open(path) as register:
        listed = by_urgency(register.requests(closed=closed), today)
    if as_json:
        _echo_json([_full(request, today) for request in listed])
    else:
        show_list(listed, today)
    click.get_current_context().exit(OVERDUE if any(request.overdue(today) for request in listed) else 0)


def _day(given: datetime | None) -> date | None:
    return given.date() if given else None


def _echo(request: Request, today: date, as_json: bool) -> None:
    if as_json:
        _echo_json(_full(request, today))
    else:
        from ._requests_terminal import show_standing

        show_standing(request, today)


def _full(request: Request, today: date) -> dict[str, Any]:
    return {**request.as_json(), "days_left": request.days_left(today), "overdue": request.overdue(today)}


def _echo_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=1, allow_nan=False))
