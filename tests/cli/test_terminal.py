"""What reaches a terminal: no control or invisible character, no markup, no message of an unexpected error."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from datetime import UTC, date, datetime

import click
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from forgetctl.cli._failures import Commands
from forgetctl.cli._options import common
from forgetctl.cli._requests_terminal import show_list, show_request, show_standing
from forgetctl.cli.terminal import TerminalProgress, show_audit, show_purge, show_verdict, table
from forgetctl.errors import RunError
from forgetctl.files.plain_text import printable
from forgetctl.register.records import Artefact, BoundRun, Change, Request
from forgetctl.report._formats import clean, markdown
from forgetctl.verify.record import Verdict
from tests.report.report_records import verdict_record

CANARY = "Velmira Oskandt lives at Quillfeather Lane"
STRANGE = (
    "\x1b[2J\x1b]0;owned\x07\x9b31m\u202e\u2066\u2069\u200b\u200f\u061c\ufeff\U000e0041\x00\x7f\r\b"
    "[red]mark[/red][link=x]y[/link]"
)
HOSTILE = st.text(alphabet=st.sampled_from([*STRANGE, *"ab é漢🙂"]), max_size=30).map(lambda text: f"{STRANGE}{text}")


def check_harmless(text: str) -> None:
    """Only what is visible, blanks and line ends: `Cf` holds all bidirectional and zero-width characters."""
    assert {unicodedata.category(c) for c in text} & {"Cc", "Cf", "Cs", "Co"} <= {"Cc"}
    assert {c for c in text if unicodedata.category(c) == "Cc"} <= {"\n", "\t"}


def request(text: str) -> Request:
    at = datetime(2026, 1, 2, tzinfo=UTC).isoformat()
    return Request(
        id=text, jurisdiction="gdpr", received=date(2026, 1, 2), due=date(2026, 2, 2),
        channel=text, identity_method=text, approver=text, exceptions=(text,), extension_reason=text,
        extended_until=date(2026, 3, 2), artefacts=(Artefact("index", text, "pending"),),
        runs=(BoundRun(run=text, path=text, method=text, rows=3, bound_at=at, verdict=text, verdict_at=at),),
        history=(Change(at, {text: text, "a": [text]}),),
    )  # fmt: skip


def hostile_verdict(text: str) -> dict[str, object]:
    check = {"name": text, "status": "fail", "about": "forgotten", "code": text, "text": text}
    return verdict_record(
        checks=[check], skipped=[{"check": text, "reason": text, "source": "measuring"}], verdict="FAIL"
    )


SHOWN: dict[str, Callable[[str], None]] = {
    "verdict": lambda text: show_verdict(Verdict.model_validate(hostile_verdict(text))),
    "audit": lambda text: show_audit([(text, "broken", text)], 1),
    "purge": lambda text: show_purge([text], [(text, text)], dry_run=True),
    "list": lambda text: show_list([request(text)], date(2026, 1, 3)),
    "request": lambda text: show_request(request(text), date(2026, 1, 3)),
    "standing": lambda text: show_standing(request(text), date(2026, 1, 3)),
    "progress": lambda text: TerminalProgress(quiet=False).say(text),
}


@pytest.mark.parametrize("name", SHOWN)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=HOSTILE)
def test_no_name_reaches_the_terminal_as_anything_but_text(
    name: str, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    SHOWN[name](text)
    shown = "".join(capsys.readouterr())
    check_harmless(shown)
    assert "[red]mark" in "".join(shown.split())  # markup stays text


@settings(deadline=None)
@given(st.text())
def test_whatever_is_printed_or_reported_is_plain(text: str) -> None:
    check_harmless(printable(text))
    found = markdown(clean(text))
    check_harmless(found)
    assert "@" not in found
    assert "://" not in found.replace("\\://", "")


def test_tables_keep_markup_as_text(capsys: pytest.CaptureFixture[str]) -> None:
    from forgetctl.cli.terminal import out

    out().print(table(["a"], [["[bold]x[/bold]"]]))
    assert "[bold]x[/bold]" in capsys.readouterr().out


@click.group(cls=Commands)
def group() -> None:
    pass


@group.command()
@click.argument("how")
@common
def fail(progress: TerminalProgress, *, how: str) -> None:
    """Fail."""
    row = f"the row {CANARY}"
    if how == "ours":
        raise RunError(f"{STRANGE} is missing")
    if how == "click":
        raise click.UsageError(f"no {STRANGE}")
    try:
        raise LookupError(row)
    except LookupError as error:
        if how == "cause":
            raise ValueError(row) from error
        raise ValueError(row)  # noqa: B904  the context must not be shown either


@pytest.mark.parametrize("verbose", [[], ["-v"]])
@pytest.mark.parametrize("how", ["cause", "context"])
def test_the_message_of_an_unexpected_error_is_not_shown(how: str, verbose: list[str]) -> None:
    result = CliRunner().invoke(group, ["fail", how, *verbose])
    assert result.exit_code == 1
    assert "unexpected ValueError at" in result.stderr
    assert "Velmira" not in result.output
    assert ("LookupError" in result.stderr) == bool(verbose)
    assert ("in fail" in result.stderr) == bool(verbose)
    assert "row =" not in result.output


@pytest.mark.parametrize(("how", "code"), [("ours", 1), ("click", 2)])
def test_messages_are_harmless(how: str, code: int) -> None:
    result = CliRunner().invoke(group, ["fail", how])
    assert result.exit_code == code
    check_harmless(result.output)
    assert "[red]mark" in result.stderr


def test_help_and_wrong_use_are_still_clicks_own() -> None:
    assert CliRunner().invoke(group, ["fail", "--help"]).exit_code == 0
    wrong = CliRunner().invoke(group, ["fail", "--nothing"])
    assert wrong.exit_code == 2
    assert "No such option" in wrong.stderr
