"""The register's file: private, never mistaken for another, brought up to date, and errors that say what to do."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import date
from pathlib import Path

import pytest

from forgetctl.errors import InputError, RunError, UsageError
from forgetctl.register import _database as database
from forgetctl.register import _tables as tables
from forgetctl.register._migrations import MIGRATIONS, migrate
from forgetctl.register.rules import Details, begin
from forgetctl.register.store import Register

TODAY = date(2026, 3, 10)
RELEASED = Path(__file__).with_name("forgetctl-0.1.sqlite")

VERSION_1 = """
CREATE TABLE requests (id TEXT PRIMARY KEY NOT NULL, jurisdiction TEXT NOT NULL, received TEXT NOT NULL,
    due TEXT NOT NULL, channel TEXT, acknowledged TEXT, extended_until TEXT, extension_reason TEXT,
    identity_method TEXT, identity_result TEXT NOT NULL, decision TEXT, approver TEXT, closed TEXT);
CREATE TABLE exceptions (request TEXT NOT NULL REFERENCES requests (id), text TEXT NOT NULL,
    PRIMARY KEY (request, text));
CREATE TABLE artefacts (request TEXT NOT NULL REFERENCES requests (id), kind TEXT NOT NULL, name TEXT NOT NULL,
    status TEXT NOT NULL, PRIMARY KEY (request, kind, name));
CREATE TABLE history (request TEXT NOT NULL REFERENCES requests (id), at TEXT NOT NULL, changes TEXT NOT NULL);
CREATE INDEX history_of_a_request ON history (request);
INSERT INTO requests VALUES ('REQ-1', 'gdpr', '2026-03-01', '2026-04-01', 'letter', NULL, NULL, NULL, NULL, 'verified',
    NULL, NULL, NULL);
INSERT INTO artefacts VALUES ('REQ-1', 'index', 'faq', 'done');
INSERT INTO history VALUES ('REQ-1', '2026-03-01T08:00:00+00:00', '{"id": "REQ-1"}');
PRAGMA application_id = 1181902708;
PRAGMA user_version = 1;
PRAGMA journal_mode = WAL;
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "requests.sqlite"


@pytest.fixture
def old(path: Path) -> Path:
    """A register of the first version."""
    with closing(sqlite3.connect(path)) as db:
        db.executescript(VERSION_1)
    return path


@pytest.fixture
def register(path: Path) -> Iterator[Register]:
    with Register.open(path, create=True) as opened:
        opened.add(begin("REQ-1", "gdpr", Details(), TODAY))
        yield opened


def add(register: Register, request_id: str = "REQ-2") -> None:
    register.add(begin(request_id, "gdpr", Details(channel="x" * 400), TODAY))


def add_many(register: Register) -> None:
    for number in range(2, 200):
        add(register, f"REQ-{number}")


def schema(path: Path) -> dict[str, str]:
    """Every table and index, without the white space of its definition."""
    with closing(sqlite3.connect(path)) as db:
        found = db.execute("SELECT name, sql FROM sqlite_master WHERE sql NOT NULL")
        return {name: "".join(sql.split()) for name, sql in found}


def ask(path: Path, question: str) -> object:
    with closing(sqlite3.connect(path)) as db:
        return db.execute(question).fetchone()[0]


def test_only_a_request_to_create_makes_a_register(path: Path) -> None:
    with pytest.raises(UsageError, match=r"no register at .*requests\.sqlite; `forgetctl requests add` begins one"):
        Register.open(path).__enter__()
    assert list(path.parent.iterdir()) == []
    with Register.open(path, create=True):
        pass
    assert list(path.parent.iterdir()) == [path]


def test_a_register_cannot_be_made_where_there_is_no_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be used as a register: No such file or directory"):
        Register.open(tmp_path / "nowhere" / "x.sqlite", create=True).__enter__()
    assert list(tmp_path.iterdir()) == []


def test_the_register_and_the_files_beside_it_are_private(path: Path) -> None:
    before = os.umask(0)
    try:
        with Register.open(path, create=True) as register:
            add(register)
            files = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    finally:
        os.umask(before)
    assert files == {path.name + ending: 0o600 for ending in ("", "-wal", "-shm")}


@pytest.mark.parametrize("name", ["a b#c?d%20e.sqlite", "règistre.db", ":memory:"])
def test_any_file_name_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    with Register.open(Path(name), create=True) as register:
        add(register)
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_settings_that_keep_what_is_written(register: Register, path: Path) -> None:
    assert ask(path, "PRAGMA journal_mode") == "wal"
    asked = ("foreign_keys", "synchronous", "busy_timeout")
    assert [register._db.execute(f"PRAGMA {name}").fetchone()[0] for name in asked] == [1, 2, 30_000]


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"\x00" * 5000, b"SQLite format 3\x00" + b"\xff" * 5000, b'{"a": 1}\n' * 900]
)
@pytest.mark.parametrize("create", [True, False])
def test_other_files_are_left_as_they_are(path: Path, content: bytes, create: bool) -> None:
    path.write_bytes(content)
    with pytest.raises(InputError, match="not a register of deletion requests"):
        Register.open(path, create=create).__enter__()
    assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("mode", ["DELETE", "WAL"])
def test_other_databases_are_left_as_they_are(path: Path, mode: str) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA journal_mode = {mode}")
        db.execute("CREATE TABLE requests (id)")
        db.execute("PRAGMA user_version = 1")
    content = path.read_bytes()
    with pytest.raises(InputError, match="not a register of deletion requests"):
        Register.open(path, create=True).__enter__()
    assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]


def test_what_is_no_file_is_no_register(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")  # opening it would wait for a writer
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "dangling"):
        with pytest.raises(InputError, match="not a register"):
            Register.open(path, create=True).__enter__()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["dangling", "pipe"]


def test_a_register_from_a_later_version_is_refused_unchanged(register: Register, path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(RunError, match=f"later forgetctl: its schema is 99, this one reads up to {len(MIGRATIONS)}"):
        Register.open(path).__enter__()
    assert ask(path, "PRAGMA user_version") == 99


def test_a_register_of_the_first_version_is_brought_up_to_date(old: Path, tmp_path: Path) -> None:
    with Register.open(old) as register:
        kept = register.get("REQ-1")
        register.bind_run("r1", tmp_path, "npo-rt", {"REQ-1": 2})
        assert register.record_verdict("r1", "PASS") == ["REQ-1"]
        assert register.close("REQ-1", "granted", "A", [], TODAY).closed == TODAY
    assert (kept.channel, kept.artefacts[0].label, kept.history[0].changes) == ("letter", "index:faq", {"id": "REQ-1"})
    with Register.open(tmp_path / "new.sqlite", create=True):
        pass
    assert schema(old) == schema(tmp_path / "new.sqlite")
    assert ask(old, "PRAGMA user_version") == ask(tmp_path / "new.sqlite", "PRAGMA user_version") == len(MIGRATIONS)


def test_a_register_of_0_1_is_read_and_written_on(tmp_path: Path) -> None:
    """Made by the commands of forgetctl 0.1.0: three requests, two of them closed, one run of two, one unbound."""
    path = Path(shutil.copyfile(RELEASED, tmp_path / "requests.sqlite"))
    with Register.open(path) as register:
        first, second, third = register.requests(closed=True)
        assert [len(request.history) for request in (first, second, third)] == [6, 5, 4]
        assert (first.decision, first.approver, first.artefacts[0].status) == ("granted", "A. Officer", "done")
        assert (second.extended_until, second.extension_reason) == (date(2026, 5, 31), "many requests")
        assert (third.exceptions, third.runs, third.history[2].changes["unbound"]) == (
            ("legal claims",),
            (),
            "the run was deleted",
        )
        assert [(run.run, run.rows, run.verdict) for run in (*first.runs, *second.runs)] == [
            ("20260305-npo", 5, "PASS"),
            ("20260305-npo", 3, "PASS"),
        ]
        assert register.record_verdict("20260305-npo", "FAIL") == ["REQ-1", "REQ-2"]
        assert register.close("REQ-2", "granted", "A", [], date(2026, 12, 1)).closed
        assert register.get("REQ-2").history[:5] == second.history
    with Register.open(tmp_path / "new.sqlite", create=True):
        pass
    assert schema(path) == schema(tmp_path / "new.sqlite")


def test_a_migration_that_fails_leaves_the_register_as_it_was(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = schema(old)
    broken = (*MIGRATIONS, ("CREATE TABLE other (x)", "INSERT INTO nowhere VALUES (1)"))
    monkeypatch.setattr(database, "MIGRATIONS", broken)
    with pytest.raises(RunError, match="cannot be used"):
        Register.open(old).__enter__()
    assert schema(old) == before
    assert ask(old, "PRAGMA user_version") == 1


def test_steps_are_taken_in_order_and_once() -> None:
    steps = (("CREATE TABLE a (x)",), ("ALTER TABLE a ADD COLUMN y", "INSERT INTO a VALUES (1, 2)"))
    with closing(sqlite3.connect(":memory:")) as db:
        migrate(db, steps[:1])
        migrate(db, steps)
        migrate(db, steps)
        assert db.execute("SELECT * FROM a").fetchall() == [(1, 2)]


def test_processes_that_migrate_at_once_do_it_once(old: Path) -> None:
    code = (
        "import sys, pathlib\nfrom forgetctl.register.store import Register\n"
        "print('ready', flush=True)\nsys.stdin.readline()\n"
        "with Register.open(pathlib.Path(sys.argv[1])) as register:\n    print(register.get('REQ-1').channel)\n"
    )
    running = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(old)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(6)
    ]
    for process in running:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in running:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    assert [process.communicate()[0] for process in running] == ["letter\n"] * 6
    assert ask(old, "PRAGMA integrity_check") == "ok"


def test_whoever_holds_the_register_too_long_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.05)
    with Register.open(path, create=True) as register:
        add(register, "REQ-1")
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(RunError, match="in use by another process for too long; nothing was changed"):
                add(register)
            assert [request.id for request in register.requests()] == ["REQ-1"]  # readers need not wait
        add(register)


def test_a_full_disk_changes_nothing(register: Register) -> None:
    register._db.execute(f"PRAGMA max_page_count = {register._db.execute('PRAGMA page_count').fetchone()[0]}")
    with pytest.raises(RunError, match="cannot grow: no space left on the disk; nothing was changed"):
        add_many(register)
    kept = register.requests()
    assert all(len(request.history) == 1 for request in kept)
    register._db.execute("PRAGMA max_page_count = 100000")
    add(register, f"REQ-{len(kept) + 1}")
    assert len(register.requests()) == len(kept) + 1


def test_a_file_that_may_not_grow_is_an_error_of_ours(path: Path) -> None:
    code = (
        "import pathlib, resource, sys\nfrom datetime import date\n"
        "from forgetctl.errors import RunError\nfrom forgetctl.register.rules import Details, begin\n"
        "from forgetctl.register.store import Register\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (120_000, 120_000))\n"
        "with Register.open(pathlib.Path(sys.argv[1]), create=True) as register:\n"
        "    try:\n"
        "        for number in range(500):\n"
        "            register.add(begin(f'REQ-{number}', 'gdpr', Details(channel='x' * 400), date.today()))\n"
        "    except RunError as error:\n        print(number, error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    count, said = done.stdout.split(maxsplit=1)
    assert "nothing was changed" in said
    with Register.open(path) as register:
        assert len(register.requests()) == int(count) > 0
    assert ask(path, "PRAGMA integrity_check") == "ok"


def test_a_damaged_register_is_an_error_of_ours(path: Path) -> None:
    with Register.open(path, create=True) as register:
        for number in range(60):
            add(register, f"REQ-{number}")
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    path.write_bytes(content)
    with Register.open(path) as register, pytest.raises(RunError, match="is damaged; put back a copy"):
        register.requests()


def test_text_that_is_no_text_is_an_error_of_ours(register: Register, path: Path) -> None:
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("UPDATE requests SET channel = CAST(x'666f6fff' AS TEXT)")
    with pytest.raises(RunError, match="cannot be used") as refusal:
        register.get("REQ-1")
    assert "foo" not in str(refusal.value)


def test_a_register_that_may_not_be_written_is_an_error_of_ours(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Register.open(path, create=True) as register:
        add(register, "REQ-1")
    connect = sqlite3.connect
    monkeypatch.setattr(
        database.sqlite3, "connect", lambda name, **how: connect(name.replace("mode=rw", "mode=ro"), **how)
    )
    with Register.open(path) as register:
        assert register.get("REQ-1").channel
        with pytest.raises(RunError, match="cannot be written; it and its folder must be writable"):
            add(register)


def test_an_interrupted_change_is_undone(register: Register, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(tables, "remember", interrupt)  # the request is written by then, its history is not
        with pytest.raises(KeyboardInterrupt):
            add(register, "REQ-2")
    assert [request.id for request in register.requests()] == ["REQ-1"]
    add(register, "REQ-2")


def test_history_is_json_in_the_file(register: Register, path: Path) -> None:
    """Whoever opens the file with SQLite itself can read it."""
    assert json.loads(str(ask(path, "SELECT changes FROM history")))["id"] == "REQ-1"
