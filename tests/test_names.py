"""Names with line breaks, escape sequences and bidirectional controls: no line of the output is theirs."""

from __future__ import annotations

import shutil
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

from forgetctl.cli.main import cli
from forgetctl.cli.terminal import TerminalProgress
from forgetctl.files.plain_text import one_line, printable
from forgetctl.report.report import Kind, run_report
from forgetctl.seal.audit import AuditOptions, exit_code, run_audit
from forgetctl.seal.keys import generate_key
from forgetctl.seal.purge import PurgeOptions, plan_purge, run_purge
from forgetctl.seal.seal import SealOptions, run_seal
from tests.seal.conftest import Evidence, sealed  # noqa: F401  a fixture
from tests.seal.test_owner_tampering import rewrite
from tests.seal.verified import verified_run

FORGED = "Bundle: sound"
NAME = f"a\n{FORGED}\r\x1b[2K\x1b]0;title\x07\x85{FORGED}\u2028{FORGED}\u202eb\u200b\t\x0b\x0c"
MARK = "\N{REPLACEMENT CHARACTER}"


def test_one_line_keeps_what_shows_and_marks_the_rest() -> None:
    assert one_line("Ärzte 名前 a b\N{NO-BREAK SPACE}c") == "Ärzte 名前 a b\N{NO-BREAK SPACE}c"
    assert one_line("a\nb\tc\r\x1b") == f"a{MARK}b{MARK}c{MARK}{MARK}"
    assert printable("a\nb\tc\r\x1b") == f"a\nb\tc{MARK}{MARK}"


@given(st.text())
def test_one_line_is_one_line(text: str) -> None:
    shown = one_line(text)
    assert len(shown) == len(text)
    assert len(shown.splitlines()) <= 1
    assert not [c for c in shown if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")]


def lines(*arguments: object) -> Iterator[str]:
    """Everything that a command prints, line by line as a terminal would show it."""
    ended = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert "Traceback" not in ended.output
    yield from ended.output.splitlines()


def forged(shown: list[str]) -> list[str]:
    """Lines that begin as one of ours, and characters that do not show."""
    assert shown
    return [line for line in shown if line.strip().startswith(FORGED) or not line.isprintable()]


@pytest.fixture
def named(sealed: Evidence, tmp_path: Path) -> tuple[Path, Path]:  # noqa: F811
    """A run of such a name, and a bundle."""
    run = Path(shutil.copytree(sealed.run.path, tmp_path / NAME))
    shutil.copyfile(sealed.run.key_file, tmp_path / f"{NAME}.key")
    return run, Path(shutil.copytree(sealed.bundle, tmp_path / f"{NAME}.b"))


def test_no_command_prints_a_line_of_a_name(sealed: Evidence, named: tuple[Path, Path], tmp_path: Path) -> None:  # noqa: F811
    run, bundle = named
    (bundle / f"{NAME}.txt").write_text("more")
    public, rows = sealed.public(sealed.officer), sealed.folder / "request.jsonl"
    there, model = tmp_path / "there.jsonl", run / "model"
    shutil.copyfile(rows, there)
    for command in (
        ("report", run),
        ("seal", run, "--key", sealed.officer, "--out", tmp_path / f"{NAME}.bundle"),
        ("seal", bundle, "--key", sealed.engineer),
        ("audit", bundle, "--key", public),
        ("audit", bundle, "--key", public, "--model", model),
        ("audit", tmp_path / NAME, "--key", tmp_path / f"{NAME}.pub"),
        ("purge", run, "--dry-run", "--keys"),
        ("purge", run),
        ("prove", bundle, "--row", there, "--commit-key", tmp_path / NAME),
        ("keygen", "--out", tmp_path / f"{NAME}.own"),
        ("unlearn", "--model", tmp_path / f"{NAME}.none", "--forget", there),
        ("unlearn", "--model", tmp_path, "--forget", tmp_path / f"{NAME}.none"),
        ("unlearn", "--resume", run),
        ("verify", run, "--reference", tmp_path / NAME),
        ("verify", "--model", model, "--forget", there, "--start", tmp_path / f"{NAME}.none"),
        ("reference", "--base", tmp_path / f"{NAME}.none", "--retain", there, "--out", tmp_path / "out"),
        ("merge", "--base", tmp_path / NAME, "--adapter", tmp_path, "--out", tmp_path / NAME),
        ("requests", "list", "--register", tmp_path / f"{NAME}.sqlite"),
        ("recipes", NAME),
        (NAME,),
    ):
        assert forged(list(lines(*command))) == [], command[0]


def test_nor_do_bars_and_notes(capsys: pytest.CaptureFixture[str]) -> None:
    progress = TerminalProgress()
    progress.console = Console(stderr=True, force_terminal=True, width=200, color_system=None, highlight=False)
    progress.say(NAME)
    with progress.bar(NAME, 2) as bar:
        bar.advance(1, NAME)
    shown = capsys.readouterr().err
    assert "\x1b]" not in shown
    assert "\u202e" not in shown
    assert [line for line in shown.splitlines() if line.startswith(FORGED)] == []


CHARACTERS = st.sampled_from(
    ["\n", "\r", "\x1b[2J", "\u2028", "\u202e", "\u200f", "\x85", "\t", "\x07", "a", "é", FORGED]
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(CHARACTERS, min_size=1, max_size=8).map("".join))
def test_whatever_the_name_a_refusal_is_one_line(sealed: Evidence, tmp_path: Path, name: str) -> None:  # noqa: F811
    for command in (
        ("audit", tmp_path / f"{name}-", "--key", sealed.public(sealed.officer)),
        ("report", tmp_path / f"{name}-"),
        ("unlearn", "--model", tmp_path / f"{name}-", "--forget", tmp_path / f"{name}-"),
    ):
        shown = list(lines(*command))
        assert len(shown) == 1
        assert forged(shown) == []


def test_records_and_pages_hold_no_name_that_breaks_a_line(tmp_path: Path) -> None:
    run = verified_run(tmp_path, NAME)
    key = tmp_path / "key"
    generate_key(key)
    bundle = run_seal(SealOptions(path=run.path, key=key))
    for name in ("events.jsonl", "run.json", "manifest.json", "seal.json", "report.html", "report.md", "report.json"):
        text = (bundle / name).read_text()
        assert [line for line in text.splitlines() if line.strip().startswith(FORGED)] == [], name
        assert "\u202e" not in text, name
        assert "\x1b" not in text, name
    assert exit_code(run_audit(AuditOptions(bundle=bundle, keys=(tmp_path / "key.pub",)))) == 0
    run_purge(plan_purge(PurgeOptions(run.path, keys=True)))
    assert "\u202e" not in run.events_file.read_text()


def test_a_command_line_with_line_breaks_is_one_line_of_a_page(tmp_path: Path) -> None:
    run = verified_run(tmp_path)
    rewrite(run.record_file, lambda record: record.update(argv=["forgetctl", NAME]))
    pages: tuple[Kind, ...] = ("html", "md")
    for kind in pages:
        _, text = run_report(run.path, kind)
        assert [line for line in text.splitlines() if FORGED in line and "forgetctl" not in line] == []
