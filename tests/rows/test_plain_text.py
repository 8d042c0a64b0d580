"""Plain text: a paragraph is a passage."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forgetctl.errors import InputError
from forgetctl.rows.containers import Limits
from forgetctl.rows.reading import RowFile, read_rows
from forgetctl.rows.sources import open_source

LETTER = """

Velmira Oskandt moved to Gent
in 2019.
\t
  She has a boat there.\r
And a dog.\r
\r
End."""


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_every_paragraph_is_a_passage_named_by_its_first_line(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "letter.txt"
    path.write_bytes(LETTER.encode(encoding))
    rows = read_rows(path)
    assert [(row.name, row.context, row.response) for row in rows] == [
        ("3", (), "Velmira Oskandt moved to Gent\nin 2019."),
        ("6", (), "  She has a boat there.\nAnd a dog."),
        ("9", (), "End."),
    ]
    assert open_source(path).unit == "line"


def test_one_text_a_line_with_blank_lines_between(tmp_path: Path) -> None:
    path = tmp_path / "notes.text.gz"
    path.write_bytes(gzip.compress(b"one\n\ntwo\n\nthree"))
    assert [row.response for row in RowFile(path, kept=0)] == ["one", "two", "three"]


@settings(deadline=None)
@given(st.lists(st.lists(st.text("ab ü\u2028\x0b", max_size=4), max_size=3), max_size=6))
def test_paragraphs_are_those_of_a_plain_split(
    tmp_path_factory: pytest.TempPathFactory, parts: list[list[str]]
) -> None:
    text = "\n\n".join("\n".join(part) for part in parts)
    path = tmp_path_factory.mktemp("text") / "a.txt"
    path.write_bytes(text.encode())
    expected, part = [], []
    for line in [*text.split("\n"), ""]:
        if line.strip():
            part.append(line)
        elif part:
            expected.append("\n".join(part))
            part = []
    assert [record.value["text"] for record in open_source(path).records(Limits(1000))] == expected


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"a\n\nb\nVelmira \xff", "4: is not UTF-8"),
        (b"a\n\nb\nVelmira \0", "4: holds a NUL byte"),
        (b"a\n\n" + b"Velmira\n" * 10_000, "3: is longer than 64 KiB"),
        (b"x" * 70_000, "1: is longer than 64 KiB"),
        (b"\n" * 10_001, "10001: has more than 10,000 blank lines"),
        (b"a\n\n" * 10_001, "20001: has more than 10,000 rows"),
        (b"\n \n", "holds no row"),
    ],
)
def test_what_is_refused_is_named_by_line(data: bytes, why: str, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(data)
    with pytest.raises(InputError) as caught:
        read_rows(path)
    assert str(caught.value).removeprefix(f"{path}:").removeprefix(" ") == why
