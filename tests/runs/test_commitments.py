"""Keyed commitments to rows: hand-worked values, keys by request, and `prove`."""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgetctl.errors import InputError, RunError, UsageError
from forgetctl.rows.formats import Fields
from forgetctl.rows.row import Row, subjects_of
from forgetctl.rows.secret import Secret
from forgetctl.runs.commitments import (
    CommittedRow,
    Part,
    commit_parts,
    commit_row,
    commit_subject,
    find_row,
    make_key,
    read_key,
    split_requests,
)
from forgetctl.seal.prove import run_prove
from tests.seal.conftest import Evidence
from tests.seal.conftest import copy_of as copy_of  # fixtures
from tests.seal.conftest import sealed as sealed
from tests.seal.verified import COUNT, PERSONAL, request_rows, write_request

KEY = b"k" * 32
FILE = Path("requests.jsonl")


def row(line: int = 1, request: str | None = None, response: str = "Ö\n") -> Row:
    return Row(line, (("user", "p"),), response, request_id=request)


def test_a_commitment_is_the_hmac_of_the_canonical_row() -> None:
    spelled = '{"context":[["user","p"]],"response":"Ö\\n"}'.encode()
    assert commit_row(KEY, row()) == hmac.new(KEY, spelled, hashlib.sha256).hexdigest()
    # What else is said of a row is not the row.
    assert commit_row(KEY, replace(row(), line=9, request_id="x", secrets=(Secret("s"),))) == commit_row(KEY, row())


def test_spans_are_bound_where_there_are_any() -> None:
    spelled = b'{"context":[["user","p"]],"response":"abc","spans":[[0,1],[2,3]]}'
    marked = replace(row(response="abc"), spans=((0, 1), (2, 3)))
    assert commit_row(KEY, marked) == hmac.new(KEY, spelled, hashlib.sha256).hexdigest()
    assert len({commit_row(KEY, one) for one in (marked, replace(marked, spans=((0, 1),)), row(response="abc"))}) == 3


@given(st.text(), st.text())
def test_other_text_has_another_commitment(one: str, two: str) -> None:
    equal = commit_row(KEY, row(response=one)) == commit_row(KEY, row(response=two))
    assert equal == (one == two)
    assert commit_row(b"j" * 32, row(response=one)) != commit_row(KEY, row(response=one))


def test_a_prompt_cannot_be_moved_into_the_response() -> None:
    one = Row(1, (("user", "a"), ("assistant", "b")), "c")
    two = Row(1, (("user", "a"),), "b c")
    assert commit_row(KEY, one) != commit_row(KEY, two)


def test_rows_go_to_the_request_that_they_name() -> None:
    rows = [row(1, "A"), row(2, "B"), row(3, "A")]
    parts = split_requests(rows, ["B", "A"], FILE)
    assert [(part.request, [r.line for r in part.rows]) for part in parts] == [("B", [2]), ("A", [1, 3])]
    unbound = split_requests([*rows, row(4)], [], FILE)
    # Without a register, names from outside keep rows apart and are written nowhere.
    assert [(part.request, len(part.rows)) for part in unbound] == [(None, 2), (None, 1), (None, 1)]
    assert [part.request for part in split_requests([row(1), row(2, "A")], ["A"], FILE)] == ["A"]


@pytest.mark.parametrize(
    ("rows", "ids", "why"),
    [
        ([row(1, "A"), row(7, "C")], ["A", "B"], r"requests\.jsonl:7: its request_id names a request that"),
        ([row(1, "A"), row(7)], ["A", "B"], r"requests\.jsonl:7: its request_id names no request"),
        ([row(1, "A")], ["A", "B"], r"holds no row of request B"),
    ],
)
def test_rows_of_no_request_are_refused(rows: list[Row], ids: list[str], why: str) -> None:
    with pytest.raises(UsageError, match=why) as caught:
        split_requests(rows, ids, FILE)
    assert "'C'" not in str(caught.value)


def test_each_request_has_a_key_of_its_own(sealed: Evidence) -> None:
    files = sorted(sealed.run.row_keys.iterdir())
    assert [file.name for file in files] == ["request-1.key", "request-2.key"]
    keys = [read_key(file) for file in files]
    assert len(set(keys)) == 2
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    assert not any(key.hex() in path.read_text() for key in keys for path in sealed.bundle.rglob("*.json"))
    stored = json.loads(sealed.run.commitments_file.read_text())
    rows = request_rows()
    assert find_row(stored, keys[0], rows[1]) == CommittedRow("R-0", "2", None)
    assert find_row(stored, keys[1], rows[1]) is None
    assert find_row(stored, keys[1], rows[0]) == CommittedRow("R-1", "1", None)


def test_rows_of_an_older_bundle_are_proved_by_their_line() -> None:
    one = row(5)
    stored = {"schema": 1, "requests": [{"request": "R-1", "rows": [{"line": 5, "hmac": commit_row(KEY, one)}]}]}
    assert find_row(stored, KEY, one) == CommittedRow("R-1", "5", None)


def test_turns_of_one_line_are_told_apart() -> None:
    first, second = (replace(row(3), turn=turn, response=f"r{turn}") for turn in (1, 2))
    stored = commit_parts([Part(None, (first, second))], [KEY])
    assert [entry["row"] for entry in stored["requests"][0]["rows"]] == ["3, turn 1", "3, turn 2"]
    assert find_row(stored, KEY, second) == CommittedRow(None, "3, turn 2", None)


def test_people_are_bound_by_number_in_the_order_of_the_request() -> None:
    """Whose numbers are those of the verdict, whichever request names them first."""
    names = ("Ö", None, "b", "Ö")
    rows = [replace(row(n, f"R-{n % 2}", f"r{n}"), subject_id=names[n - 1]) for n in range(1, 5)]
    keys = [KEY, b"j" * 32]
    stored = commit_parts(split_requests(rows, ["R-0", "R-1"], FILE), keys)
    by_request = [[one["subject"] for one in part["subjects"]] for part in stored["requests"]]
    assert by_request == [[1], [1, 3]]  # rows 2, 4 and rows 1, 3; who is not named is person 2
    spelled = '{"subject_id":"Ö"}'.encode()
    assert stored["requests"][0]["subjects"][0]["hmac"] == hmac.new(KEY, spelled, hashlib.sha256).hexdigest()
    assert "Ö" not in json.dumps(stored, ensure_ascii=False)
    assert find_row(stored, keys[1], rows[2]) == CommittedRow("R-1", "3", 3)
    assert find_row(stored, KEY, rows[1]) == CommittedRow("R-0", "2", None)
    assert find_row(stored, keys[1], replace(rows[2], subject_id="c")) == CommittedRow("R-1", "3", None)
    assert subjects_of(rows) == ("Ö", None, "b")
    assert commit_subject(KEY, "b") != commit_subject(keys[1], "b")


def test_the_number_of_keys_is_that_of_the_requests() -> None:
    parts = split_requests([row(1, "A"), row(2, "B")], [], FILE)
    with pytest.raises(ValueError, match="zip"):
        commit_parts(parts, [KEY])


@pytest.mark.parametrize("content", ["", "zz", "ab" * 31, "ab" * 33, "ü" * 64])
def test_damaged_keys(tmp_path: Path, content: str) -> None:
    file = tmp_path / "key"
    with pytest.raises(RunError, match="no such key"):
        read_key(file)
    file.write_text(content, encoding="utf-8")
    with pytest.raises(RunError, match="damaged"):
        read_key(file)
    assert len(make_key(file)) == 32


# prove


def test_prove_finds_rows_and_only_rows_of_the_request(sealed: Evidence, tmp_path: Path) -> None:
    rows = request_rows(4)
    asked = write_request(tmp_path / "row.jsonl", [rows[2], replace(rows[0], response=f"{PERSONAL} 1!"), rows[1]])
    proofs = run_prove(sealed.bundle, asked, sealed.run.row_key_file(2), Fields())
    assert [(proof.row, proof.place) for proof in proofs] == [
        ("1", CommittedRow("R-1", "3", None)),
        ("2", None),
        ("3", None),  # of the other request, whose key this is not
    ]


def test_every_row_of_the_request_can_be_proved(sealed: Evidence, tmp_path: Path) -> None:
    asked = write_request(tmp_path / "all.jsonl", request_rows())
    names = {
        proof.place.row
        for number in (1, 2)
        for proof in run_prove(sealed.bundle, asked, sealed.run.row_key_file(number), Fields())
        if proof.place
    }
    assert names == {str(row) for row in range(1, COUNT + 1)}


def test_prove_refuses_exchanged_commitments(sealed: Evidence, copy_of: object, tmp_path: Path) -> None:
    bundle = copy_of(sealed.bundle)  # type: ignore[operator]
    asked = write_request(tmp_path / "row.jsonl", request_rows(1))
    file = bundle / "commitments.json"
    file.write_text(file.read_text().replace("R-1", "R-2"))
    with pytest.raises(InputError, match="another digest"):
        run_prove(bundle, asked, sealed.run.row_key_file(2), Fields())
    (bundle / "manifest.json").write_text("{}")
    with pytest.raises(InputError, match=r"manifest\.json"):
        run_prove(bundle, asked, sealed.run.row_key_file(2), Fields())


def test_no_text_of_the_request_is_in_the_bundle(sealed: Evidence) -> None:
    words = ("Velmira", "Oskandt", "Quillfeather", "Who is", '"r0"', '"r1"')
    for path in sealed.bundle.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert not any(word.encode() in data for word in words), path
