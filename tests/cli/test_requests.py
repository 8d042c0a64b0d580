"""The register at the command line: what is refused, what is printed, and the exit codes."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from forgetctl.cli.main import cli
from forgetctl.cli.requests import requests
from forgetctl.register.records import Request
from forgetctl.register.store import Register

TODAY = date.today()
HOSTILE = "[red]Smith[/red] [/]"
Command = Callable[..., Result]


def ago(days: int) -> str:
    return str(TODAY - timedelta(days=days))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "requests.sqlite"


@pytest.fixture
def command(path: Path) -> Command:
    """Runs `forgetctl requests` with a register of its own."""

    def run(*arguments: str, width: int = 80) -> Result:
        environment = {"FORGETCTL_REGISTER": str(path), "COLUMNS": str(width)}
        return CliRunner(env=environment).invoke(cli, ["requests", *arguments])

    return run


@pytest.fixture
def ok(command: Command) -> Callable[..., str]:
    def run(*arguments: str, code: int = 0, width: int = 80) -> str:
        done = command(*arguments, width=width)
        assert done.exit_code == code, done.output
        return done.stdout

    return run


def add(ok: Callable[..., str], request_id: str, law: str = "gdpr", *more: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(ok("add", request_id, "--jurisdiction", law, *more, "--json"))
    return value


def refused(done: Result) -> str:
    assert done.exit_code == 2, done.output
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    return done.stderr[done.stderr.index("Error: ") :]


def strict(text: str) -> Any:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    return json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize("name", sorted(requests.commands))
def test_every_command_and_option_is_documented(name: str) -> None:
    found = requests.commands[name]
    assert found.help
    assert found.help.splitlines()[0].endswith((".", "else 0."))
    assert [option.name for option in found.params if isinstance(option, click.Option) and not option.help] == []
    assert {"--register", "--json"} <= {name for option in found.params for name in option.opts}


def test_help_says_that_ids_are_no_names() -> None:
    for arguments in (["requests", "--help"], ["requests", "add", "--help"]):
        assert "never a name or an address" in " ".join(CliRunner().invoke(cli, arguments).output.split())
    listed = " ".join(CliRunner().invoke(cli, ["requests", "list", "--help"]).output.split())
    assert "Exit code 5 if one is overdue" in listed


def test_help_needs_neither_database_nor_tables() -> None:
    code = (
        "import sys\nfrom forgetctl.cli.main import cli\n"
        "try:\n    cli(['requests', 'add', '--help'])\nexcept SystemExit as end:\n    assert end.code == 0\n"
        "loaded = {'sqlite3', 'rich', 'dateutil', 'torch'} & set(sys.modules)\nassert not loaded, loaded"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_register_is_in_the_working_directory_unless_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FORGETCTL_REGISTER", raising=False)
    runner = CliRunner()
    assert runner.invoke(cli, ["requests", "add", "REQ-1", "--jurisdiction", "gdpr"]).exit_code == 0
    assert runner.invoke(cli, ["requests", "add", "R", "--jurisdiction", "gdpr", "--register", "b.db"]).exit_code == 0
    assert sorted(file.name for file in tmp_path.iterdir()) == ["b.db", "forgetctl-requests.sqlite"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("list",),
        ("show", "REQ-1"),
        ("update", "REQ-1", "--channel", "letter"),
        ("extend", "REQ-1", "--reason", "complex"),
        ("close", "REQ-1", "--decision", "refused", "--approver", "A", "--exception", "x"),
    ],
)
def test_only_add_begins_a_register(command: Command, path: Path, arguments: tuple[str, ...]) -> None:
    assert "`forgetctl requests add` begins one" in refused(command(*arguments))
    assert not path.exists()


def test_a_refused_add_begins_no_register(command: Command, path: Path) -> None:
    refused(command("add", "ann@example.org", "--jurisdiction", "gdpr"))
    refused(command("add", "REQ-1", "--jurisdiction", "gdpr", "--artefact", "nonsense"))
    assert not path.exists()


def test_another_file_is_refused(command: Command, path: Path) -> None:
    path.write_text("my notes")
    for arguments in (("list",), ("add", "REQ-1", "--jurisdiction", "gdpr")):
        assert "not a register of deletion requests" in refused(command(*arguments))
    assert path.read_text() == "my notes"


def test_add_says_when_it_is_due(ok: Callable[..., str]) -> None:
    due = TODAY + timedelta(days=45)
    assert ok("add", "REQ-1", "--jurisdiction", "ccpa", "--acknowledged", str(TODAY)) == f"REQ-1: due {due}, 45 days\n"
    waiting = ok("add", "REQ-2", "--jurisdiction", "ccpa")
    assert re.fullmatch(rf"REQ-2: due {due}, 45 days; confirm receipt by \d{{4}}-\d\d-\d\d\n", waiting)
    late = ok("add", "REQ-3", "--jurisdiction", "ccpa", "--received", ago(46))
    assert late.startswith(f"REQ-3: due {ago(1)}, 1 day late; confirm receipt by ")
    assert late.endswith(" (late)\n")


def test_add_keeps_everything_that_is_said(ok: Callable[..., str]) -> None:
    added = add(
        ok,
        "REQ-1",
        "other",
        *("--due", str(TODAY), "--received", ago(9), "--acknowledged", ago(8), "--channel", "web form"),
        *("--identity-method", "call back", "--identity-result", "verified"),
        *("--artefact", "index:faq", "--artefact", "backup:tape=not-affected"),
    )
    assert {name: added[name] for name in ("received", "acknowledged", "due", "channel", "identity_method")} == {
        "received": ago(9),
        "acknowledged": ago(8),
        "due": str(TODAY),
        "channel": "web form",
        "identity_method": "call back",
    }
    assert (added["identity_result"], added["days_left"], added["overdue"]) == ("verified", 0, False)
    assert [artefact["status"] for artefact in added["artefacts"]] == ["pending", "not-affected"]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--jurisdiction", "gdpr", "--received", "2999-01-01"), "in the future"),
        (("--jurisdiction", "gdpr", "--received", "2024-02-30"), "does not match the format"),
        (("--jurisdiction", "gdpr", "--received", "yesterday"), "does not match the format"),
        (("--jurisdiction", "gdpr", "--due", "2999-01-01"), "--due goes with --jurisdiction other"),
        (("--jurisdiction", "other"), "needs --due"),
        (("--jurisdiction", "lgpd"), "not one of"),
        ((), "Missing option '--jurisdiction'"),
        (("--jurisdiction", "gdpr", "--identity-result", "maybe"), "not one of"),
        (("--jurisdiction", "gdpr", "--artefact", "cache:x"), "the kind of an artefact is one of base-model, adapter"),
        (("--jurisdiction", "gdpr", "--channel", "a\nb"), "the channel holds a control character, U+000A"),
        (("--jurisdiction", "gdpr", "--channel", "\x1b[2J"), "the channel holds a control character, U+001B"),
        (("--jurisdiction", "gdpr", "--channel", "\u202eabc"), "the channel holds a character that reorders text"),
        (("--jurisdiction", "gdpr", "--channel", "\udcff"), "the channel holds broken text"),
        (("--jurisdiction", "gdpr", "--channel", "x" * 501), "more than 500"),
    ],
)
def test_what_add_refuses(command: Command, arguments: tuple[str, ...], why: str) -> None:
    assert why in refused(command("add", "REQ-1", *arguments))


def test_an_id_is_taken_once(ok: Callable[..., str], command: Command) -> None:
    add(ok, "REQ-1")
    assert "REQ-1 is in the register already" in refused(command("add", "REQ-1", "--jurisdiction", "ccpa"))


def test_update(ok: Callable[..., str], command: Command) -> None:
    add(ok, "REQ-1", "gdpr", "--artefact", "index:faq")
    assert "nothing to change" in refused(command("update", "REQ-1"))
    assert "KIND:NAME=STATUS" in refused(command("update", "REQ-1", "--artefact", "index:faq"))
    assert "no request REQ-2" in refused(command("update", "REQ-2", "--channel", "letter"))
    changed = json.loads(
        ok("update", "REQ-1", "--artefact", "index:faq=done", "--artefact", "adapter:a=pending", "--json")
    )
    assert [(artefact["kind"], artefact["status"]) for artefact in changed["artefacts"]] == [
        ("index", "done"),
        ("adapter", "pending"),
    ]
    assert changed["history"][-1]["changes"] == {"artefacts": ["index:faq=done", "adapter:a=pending"]}


def test_extend(ok: Callable[..., str], command: Command) -> None:
    add(ok, "REQ-1", "ccpa", "--received", ago(40), "--acknowledged", ago(39))
    assert ok("extend", "REQ-1", "--reason", "complex") == f"REQ-1: due {TODAY + timedelta(days=50)}, 50 days\n"
    assert "extended already" in refused(command("extend", "REQ-1", "--reason", "again"))
    add(ok, "REQ-2", "ccpa", "--received", ago(46))
    assert f"the person had to be told by {ago(1)}" in refused(command("extend", "REQ-2", "--reason", "complex"))
    add(ok, "REQ-3", "other", "--due", str(TODAY))
    assert "give --until" in refused(command("extend", "REQ-3", "--reason", "complex"))
    until = str(TODAY + timedelta(days=1))
    assert ok("extend", "REQ-3", "--reason", "complex", "--until", until) == f"REQ-3: due {until}, 1 day\n"
    assert "Missing option '--reason'" in refused(command("extend", "REQ-3"))


def test_close_says_all_that_is_missing_in_one_line(ok: Callable[..., str], command: Command, path: Path) -> None:
    add(ok, "REQ-1", "gdpr", "--artefact", "index:faq")
    with Register.open(path) as register:
        register.bind_run("r1", path.parent, "npo-rt", {"REQ-1": 3})
    said = refused(command("close", "REQ-1", "--decision", "partly", "--approver", "A. Lee"))
    for words in (
        "no reason is given",
        "identity is pending",
        "artefact index:faq is pending",
        f"run r1 has no verdict (forgetctl verify {path.parent}; if it is no more",
    ):
        assert words in said
    assert len(said.splitlines()) == 1


def test_close_prints_the_verdicts_it_rests_on(ok: Callable[..., str], command: Command, path: Path) -> None:
    add(ok, "REQ-1", "gdpr", "--identity-result", "not-needed")
    with Register.open(path) as register:
        for run, verdict in (("r1", "FAIL"), ("r2", "PASS")):
            register.bind_run(run, path.parent, "npo-rt", {"REQ-1": 3})
            register.record_verdict(run, verdict)
    told = ok("close", "REQ-1", "--decision", "granted", "--approver", "A. Lee")
    assert told == f"REQ-1: closed {TODAY}, granted\nrun r1: FAIL\nrun r2: PASS\n"
    for arguments in (
        ("close", "REQ-1", "--decision", "refused", "--approver", "A", "--exception", "x"),
        ("update", "REQ-1", "--channel", "letter"),
        ("extend", "REQ-1", "--reason", "complex"),
    ):
        assert f"REQ-1 was closed on {TODAY}" in refused(command(*arguments))


def overview(ok: Callable[..., str]) -> None:
    """Requests in every state that `list` tells apart, the most urgent added last."""
    add(ok, "closed", "gdpr")
    ok("close", "closed", "--decision", "refused", "--approver", "A", "--exception", "x")
    add(ok, "later", "other", "--due", str(TODAY + timedelta(days=8)))
    add(ok, "soon", "other", "--due", str(TODAY + timedelta(days=7)))
    add(ok, "today", "other", "--due", str(TODAY), "--artefact", "index:a=done", "--artefact", "index:b")
    add(ok, "unconfirmed", "ccpa", "--received", ago(30))
    add(ok, "late", "other", "--received", ago(9), "--due", ago(3))


def test_list_puts_the_most_urgent_first_and_says_it_in_words(ok: Callable[..., str]) -> None:
    overview(ok)
    lines = ok("list", "--all", code=5, width=60).splitlines()
    rows = [line.split() for line in lines if line.split()[1:2] in (["other"], ["ccpa"], ["gdpr"])]
    assert [row[0] for row in rows] == ["late", "unconfirmed", "today", "soon", "later", "closed"]
    words = [" ".join(row[4:]) for row in rows]
    assert words[0] == "3 days late no pending - - open"
    assert words[1] == "15 days no pending - - acknowledge"
    assert words[2] == "today no pending 1/2 - open"
    assert words[3] == "7 days no pending - - open"
    assert words[5] == "- no pending - - closed, refused"
    assert lines[-1] == "2 overdue"
    assert "closed" not in ok("list", code=5)


def test_list_exit_code(ok: Callable[..., str]) -> None:
    add(ok, "REQ-1", "other", "--due", str(TODAY))
    ok("list", code=0)
    add(ok, "REQ-2", "ccpa", "--received", ago(15))
    ok("list", code=5)
    ok("update", "REQ-2", "--acknowledged", str(TODAY))
    ok("list", code=0)
    add(ok, "REQ-3", "other", "--received", ago(2), "--due", ago(1))
    assert strict(ok("list", "--json", code=5))[0]["overdue"] is True
    ok("close", "REQ-3", "--decision", "refused", "--approver", "A", "--exception", "x")
    ok("list", "--all", code=0)


def test_list_as_json(ok: Callable[..., str]) -> None:
    overview(ok)
    found = strict(ok("list", "--all", "--json", code=5))
    assert [(request["id"], request["days_left"], request["overdue"]) for request in found] == [
        ("late", -3, True),
        ("unconfirmed", 15, True),
        ("today", 0, False),
        ("soon", 7, False),
        ("later", 8, False),
        ("closed", None, False),
    ]
    assert all(request["history"] for request in found)
    assert strict(ok("show", "late", "--json")) == found[0]


def test_an_empty_list(ok: Callable[..., str]) -> None:
    add(ok, "REQ-1")
    ok("close", "REQ-1", "--decision", "refused", "--approver", "A", "--exception", "x")
    assert ok("list") == "No open requests.\n"
    assert ok("list", "--json") == "[]\n"


def test_show_tells_everything(ok: Callable[..., str], path: Path) -> None:
    add(ok, "REQ-1", "ccpa", "--channel", HOSTILE, "--identity-method", "call back", "--artefact", "index:faq")
    ok("extend", "REQ-1", "--reason", "many copies")
    with Register.open(path) as register:
        register.bind_run("r1", path.parent, "npo-rt", {"REQ-1": 3})
        register.record_verdict("r1", "INCONCLUSIVE")
    ok("close", "REQ-1", "--decision", "refused", "--approver", "A. Lee", "--exception", "Art. 17(3)(b)")
    told = ok("show", "REQ-1", width=200)
    facts = dict(re.findall(r"^ ([a-z ]+?)   +(\S.*?) *$", told, flags=re.MULTILINE))
    expected = {
        "state": "closed, refused",
        "closed": str(TODAY),
        "channel": HOSTILE,
        "identity method": "call back",
        "approver": "A. Lee",
        "exceptions": "Art. 17(3)(b)",
        "extended": f"from {TODAY + timedelta(days=45)}: many copies",
        "due": str(TODAY + timedelta(days=90)),
        "verdict": "INCONCLUSIVE",
        "method": "npo-rt",
        "rows": "3",
        "path": str(path.parent),
    }
    assert {name: facts.get(name) for name in expected} == expected
    for field in ("extension reason", "decision", "verdict"):
        assert re.search(rf"{field} +\S", told.split("history (UTC)")[1])
    assert "no request REQ-2" in refused(
        CliRunner().invoke(cli, ["requests", "show", "REQ-2", "--register", str(path)])
    )


def test_hostile_text_stays_text(ok: Callable[..., str], path: Path) -> None:
    """Markup is shown as it is, and what somebody else wrote into the file cannot reach the terminal."""
    add(ok, "REQ-1", "gdpr", "--artefact", f"index:{HOSTILE}", "--channel", HOSTILE)
    with Register.open(path) as register:
        register.bind_run(HOSTILE, path.parent, "npo-rt", {"REQ-1": 3})
        register.record_verdict(HOSTILE, HOSTILE)
    assert ok("show", "REQ-1", width=200).count(HOSTILE) == 9  # twice each with the history, the run's name thrice
    foreign = "\x1b[2J\u202e"
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE requests SET channel = ?, jurisdiction = ?, identity_result = ?", [foreign] * 3)
        db.execute("UPDATE artefacts SET name = ?, status = ?", [foreign] * 2)
        db.execute("UPDATE runs SET run = ?, verdict = ?, verdict_at = ?", [foreign] * 3)
    for arguments in (("list",), ("show", "REQ-1"), ("list", "--json"), ("show", "REQ-1", "--json")):
        told = ok(*arguments)
        assert "\x1b" not in told
        assert "\u202e" not in told


def test_long_texts_fit_a_narrow_terminal(ok: Callable[..., str]) -> None:
    add(ok, "R" * 64, "gdpr", "--channel", "word " * 99 + "end", "--artefact", f"index:{'n' * 200}")
    told = ok("show", "R" * 64, width=80)
    assert max(map(len, told.splitlines())) <= 80
    assert told.count("word") == 2 * 99
    assert "".join(told.split()).count("n" * 20) >= 2


def terminal(path: Path, width: int, *arguments: str, **environment: str) -> str:
    """What a real terminal of this width is sent."""
    import fcntl
    import pty
    import struct
    import termios

    main, other = pty.openpty()
    fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
    kept = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR")}
    running = subprocess.Popen(
        [sys.executable, "-m", "forgetctl", "requests", *arguments, "--register", str(path)],
        stdout=other,
        env={**kept, "TERM": "xterm-256color", **environment},
    )
    os.close(other)
    text = b""
    while True:
        try:
            part = os.read(main, 65536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        text += part
    assert running.wait() == 5
    os.close(main)
    return text.decode()


def test_colours_on_a_terminal_only_repeat_the_words(ok: Callable[..., str], path: Path) -> None:
    overview(ok)
    coloured, plain = terminal(path, 120, "list"), terminal(path, 120, "list", NO_COLOR="1")
    for words, colour in (("3 days late", 31), ("acknowledge", 31), ("today", 33), ("7 days", 33)):
        assert re.search(rf"\x1b\[1;{colour}m{words}", coloured), words
    assert not re.search(r"\x1b\[[0-9;]*3\dm8 days", coloured)
    assert not re.search(r"\x1b\[[0-9;]*3\dm", plain)
    without = re.sub(r"\x1b\[[0-9;]*m", "", coloured)
    assert without == re.sub(r"\x1b\[[0-9;]*m", "", plain)


def test_a_narrow_terminal_gets_two_lines_a_request(ok: Callable[..., str], path: Path) -> None:
    overview(ok)
    told = re.sub(r"\x1b\[[0-9;]*m", "", terminal(path, 60, "list"))
    lines = [line.rstrip() for line in told.splitlines()]
    assert max(map(len, lines)) <= 60
    first = next(number for number, line in enumerate(lines) if line.split()[:1] == ["late"])
    assert lines[first].split() == ["late", ago(9), "3", "days", "late", "pending", "-"]
    assert lines[first + 1].split() == ["other", ago(3), "no", "-", "open"]


def test_several_processes_add_the_same_request_once(path: Path) -> None:
    arguments = ["requests", "add", "REQ-1", "--jurisdiction", "gdpr", "--register", str(path)]
    running = [
        subprocess.Popen([sys.executable, "-m", "forgetctl", *arguments], stderr=subprocess.PIPE, text=True)
        for _ in range(5)
    ]
    said = [process.communicate()[1] for process in running]
    assert sorted(process.returncode for process in running) == [0, 2, 2, 2, 2]
    assert sum("REQ-1 is in the register already" in text for text in said) == 4
    with Register.open(path) as register:
        found: list[Request] = register.requests()
    assert [len(request.history) for request in found] == [1]
