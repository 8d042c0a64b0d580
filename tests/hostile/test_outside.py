"""Files that somebody else made: what is no regular file, or no text, is refused at once."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import signal
import socket
import sqlite3
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import date
from pathlib import Path

import pytest

from forgetctl.errors import ForgetctlError, InputError, RunError
from forgetctl.files.canonical import MalformedError
from forgetctl.files.outside import LARGEST_BYTES, read_bytes, read_text
from forgetctl.files.writing import file_digest, read_json
from forgetctl.model.score_files import read_scores
from forgetctl.recipe.recipe import load_recipe, read_recipe
from forgetctl.register.rules import Details, begin
from forgetctl.register.store import Register
from forgetctl.report.render import build
from forgetctl.rows.formats import Fields
from forgetctl.rows.reading import RowFile, read_rows
from forgetctl.rows.refusals import read_refusals
from forgetctl.runs.commitments import commit_file, read_key
from forgetctl.seal.bundle import read_bundle
from forgetctl.seal.keys import load_public

SECRET = b"Velmira Oskandt"
READERS: dict[str, Callable[[Path], object]] = {
    "request": read_rows,
    "retain": RowFile,
    "refusals": read_refusals,
    "recipe": lambda path: load_recipe(str(path)),
    "recipe of a run": read_recipe,
    "scores": lambda path: read_scores(path, "reference"),
    "record": read_json,
    "commitment key": read_key,
}
"""Every reader of text."""
SOURCES = ("request", "retain", "commitment")
"""Readers that also take folders, and compressed files (`tests/hostile/test_containers.py`)."""
BINARY: dict[str, Callable[[Path], object]] = {
    "digest": file_digest,
    "commitment": lambda path: commit_file(b"key", path),
    "public key": load_public,
}


@pytest.fixture(autouse=True)
def never_waits() -> Iterator[None]:
    """A read that waits for somebody is ended, and fails its test."""

    def stop(*_: object) -> None:
        raise AssertionError("it waited")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def special(kind: str, folder: Path) -> Path:
    path = folder / "special"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
    elif kind == "directory":
        path.mkdir()
    elif kind == "link to a device":
        path.symlink_to("/dev/zero")
    else:
        return Path(kind)
    return path


def refused(read: Callable[[Path], object], path: Path) -> str:
    with pytest.raises((ForgetctlError, MalformedError)) as caught:
        read(path)
    assert SECRET.decode() not in str(caught.value)
    assert path.name in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", ["fifo", "socket", "directory", "/dev/zero", "/dev/tty", "link to a device"])
@pytest.mark.parametrize("name", [*READERS, *BINARY])
def test_what_is_no_regular_file_is_never_opened(name: str, kind: str, tmp_path: Path) -> None:
    why = refused({**READERS, **BINARY}[name], special(kind, tmp_path))
    if kind == "directory" and name in SOURCES:
        assert "holds no file of rows" in why
    else:
        assert ("is no commitment key" if name == "commitment key" else "is not a regular file") in why


@pytest.mark.parametrize("name", ["manifest.json", "seal.json"])
def test_a_bundle_of_special_files(name: str, tmp_path: Path) -> None:
    for file in {"manifest.json", "seal.json"} - {name}:
        (tmp_path / file).write_text("{}")
    os.mkfifo(tmp_path / name)
    assert refused(lambda _: read_bundle(tmp_path), tmp_path / name) == f"{name} is missing, or is no regular file"


@pytest.mark.parametrize("name", ["run.json", "verdict.json", "log.jsonl", "recipe.yaml", "scores/start.json"])
def test_a_report_of_special_files(name: str, tmp_path: Path) -> None:
    (tmp_path / "scores").mkdir()
    if name != "run.json":
        record = '{"id": "r", "created": "2026-01-01T00:00:00+00:00", "kind": "verify", "versions": {}, "inputs": {}}'
        (tmp_path / "run.json").write_text(record)
    os.mkfifo(tmp_path / name)
    assert "is not a regular file" in refused(lambda _: build(tmp_path), tmp_path / name)


def test_something_else_takes_the_place_of_a_file_between_two_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is opened is looked at again; a FIFO is opened without waiting for whoever writes."""
    fifo, plain = tmp_path / "fifo", tmp_path / "plain"
    os.mkfifo(fifo)
    plain.write_text("text")
    told = plain.stat()
    monkeypatch.setattr(Path, "stat", lambda self, **_: told)
    assert "is not a regular file" in refused(read_bytes, fifo)


def packed(kind: str, folder: Path) -> Path:
    row, path = b'{"text": "' + SECRET + b'"}\n', folder / "packed"
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("rows.jsonl", row)
        return path
    made = {
        "gzip": gzip.compress(row * 1000),
        "bzip2": bz2.compress(row),
        "xz": lzma.compress(row),
        "zstd": b"\x28\xb5\x2f\xfd\x04\x00" + row,
    }
    path.write_bytes(made[kind])
    return path


@pytest.mark.parametrize("kind", ["gzip", "bzip2", "xz", "zstd", "zip"])
@pytest.mark.parametrize("name", [name for name in READERS if name not in SOURCES])
def test_compressed_files_are_told_by_their_first_bytes(name: str, kind: str, tmp_path: Path) -> None:
    why = refused(READERS[name], packed(kind, tmp_path))
    assert ("is no commitment key" if name == "commitment key" else f"is compressed ({kind})") in why


def test_words_that_begin_like_a_compressed_file_are_words(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_text("BZh is no answer.\nPKs neither.\n")
    assert read_refusals(path) == ["BZh is no answer.", "PKs neither."]


@pytest.mark.parametrize(
    ("data", "line", "why"),
    [
        (b"one\ntwo \xff three", 2, "is not UTF-8"),
        (b"one\n\xed\xa0\x80", 2, "is not UTF-8"),  # a surrogate
        (b"\n\n" + SECRET + b"\0", 3, "holds a NUL byte"),
        ("\ufeffUTF-16".encode("utf-16"), 1, "holds a NUL byte"),
    ],
)
def test_what_is_no_text_names_the_line(data: bytes, line: int, why: str, tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes(data)
    assert refused(read_text, path) == f"{path}:{line}: {why}"


def test_one_byte_order_mark_is_none_of_the_text(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes(b"\xef\xbb\xbf\xef\xbb\xbfa\r\nb")
    assert read_text(path) == "\ufeffa\r\nb"


def test_a_large_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(LARGEST_BYTES + 1)
    assert refused(read_bytes, path) == f"{path}: is larger than 256 MiB"
    assert refused(lambda place: read_text(place, 1024), path) == f"{path}: is larger than 1 KiB"


def test_a_name_that_no_file_can_have() -> None:
    with pytest.raises(InputError, match="is no name that a file can have"):
        read_bytes(Path("a\0b"))


# Rows: how many, and how long


def rows(folder: Path, *lines: bytes) -> Path:
    path = folder / "rows.jsonl"
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


def test_a_request_has_at_most_ten_thousand_rows(tmp_path: Path) -> None:
    row = b'{"text": "' + SECRET + b'"}'
    assert len(read_rows(rows(tmp_path, *[row] * 10_000, b""))) == 10_000
    path = rows(tmp_path, *[row] * 10_001)
    assert refused(read_rows, path) == f"{path}:10001: has more than 10,000 rows"
    assert len(read_rows(path, Fields(max_rows=10_001))) == 10_001
    assert len(RowFile(path)) == 10_001
    assert refused(lambda place: RowFile(place, most=9), path) == f"{path}:10: has more than 9 rows"


def test_blank_lines_are_not_read_for_ever(tmp_path: Path) -> None:
    path = rows(tmp_path, *[b" "] * 10_001)
    assert refused(read_rows, path) == f"{path}:10001: has more than 10,000 blank lines"


def test_a_longer_line_is_allowed_where_it_is_asked_for(tmp_path: Path) -> None:
    path = rows(tmp_path, b'{"text": "' + b"x" * 100_000 + b'"}')
    assert refused(read_rows, path) == f"{path}:1: line is longer than 64 KiB"
    assert len(read_rows(path, Fields(max_line=128 * 1024))) == 1


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b'{"text": "a", "text": "b"}', "has a key twice in one object"),
        (b'{"text": "a", "more": {"b": 1, "b": 1}}', "has a key twice in one object"),
        (b'{"text": "a", "n": NaN}', "holds NaN or infinity, which are not JSON"),
        (b'{"text": "a", "n": -Infinity}', "holds NaN or infinity, which are not JSON"),
        (b'{"text": "a", "n": 1e999}', "holds a number that is too large"),
        (b'{"text": "a", "n": 18446744073709551616}', "holds a whole number that is too large"),
        (b'{"text": "a", "n": -' + b"9" * 5000 + b"}", "holds a whole number that is too large"),
        (b'{"text": "a", "n": "\\uD800"}', "holds a lone surrogate, which is not text"),
        (b'{"text": "a", "\\udfff": 1}', "holds a lone surrogate, which is not text"),
        (b'{"text": "a\0"}', "holds a NUL byte"),
        (b'{"text": "a", "n": ' + b"[" * 100 + b"]" * 100 + b"}", "is nested too deeply"),
        (b'{"text": "a", "n": ' + b'{"[":' * 10_000 + b"1" + b"}" * 10_000 + b"}", "is nested too deeply"),
    ],
)
@pytest.mark.parametrize("read", [lambda path: read_rows(path, Fields(max_line=2**20)), RowFile], ids=["all", "file"])
def test_json_that_two_readers_could_read_differently(
    read: Callable[[Path], object], line: bytes, why: str, tmp_path: Path
) -> None:
    path = rows(tmp_path, b'{"text": "fine"}', line)
    assert refused(read, path) == f"{path}:2: {why}"


def test_what_only_looks_like_it_is_accepted(tmp_path: Path) -> None:
    brackets = b"[{" * 1000
    path = rows(
        tmp_path,
        b'\xef\xbb\xbf{"text": "' + brackets + b'\\"[", "n": 18446744073709551615}\r',
        b'{"text": "\\\\ud800 \\ud83d\\ude42"}\r',
        b'{"text": "a", "n": ' + b"[" * 99 + b"]" * 99 + b"}",
    )
    assert [row.response for row in read_rows(path)] == [f'{brackets.decode()}"[', "\\ud800 🙂", "a"]


@pytest.mark.parametrize("depth", [260, 10_000])
def test_deep_records_of_a_run(depth: int, tmp_path: Path) -> None:
    """260 is what pydantic can read and cannot write again."""
    record = '{"id": "r", "created": "2026-01-01", "kind": "verify", "versions": {}, "inputs": {}, "more": %s}'
    (tmp_path / "run.json").write_text(record % ("[" * depth + "]" * depth))
    assert "is damaged: it is nested too deeply" in refused(lambda _: build(tmp_path), tmp_path / "run.json")
    assert "is nested too deeply" in refused(read_json, tmp_path / "run.json")


@pytest.mark.parametrize("depth", [260, 10_000])
def test_deep_history_of_a_register(depth: int, tmp_path: Path) -> None:
    path, today = tmp_path / "register.sqlite", date(2026, 1, 5)
    with Register.open(path, create=True) as register:
        register.add(begin("A-1", "gdpr", Details(), today))
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE history SET changes = ?", ['{"a":' + "[" * depth + "]" * depth + "}"])
    with Register.open(path) as register, pytest.raises(RunError, match="the register is damaged: A-1"):
        register.get("A-1")
