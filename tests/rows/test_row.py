import traceback

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from forgetctl.rows.row import Row, SourceFile, listed, normalise
from forgetctl.rows.secret import Secret
from forgetctl.verify.statistics.shapes import RowName

ROW = Row(
    line=12,
    context=(("system", "Be brief."), ("user", "Where does Velmira live?")),
    response="9 Quillfen Lane",
    request_id="R-7",
    subject_id="Velmira",
    paraphrased_response="Quillfen Lane, number 9",
    perturbed_responses=("4 Sedgewick Row",),
    secrets=(Secret("Quillfen"),),
)


@pytest.mark.parametrize("text", [repr(ROW), str(ROW), f"{[ROW]}", f"{ROW}"])
def test_representation_holds_the_line_and_no_text(text: str) -> None:
    assert text.strip("[]") == "Row(12)"


def test_traceback_through_a_row_holds_no_text() -> None:
    try:
        raise LookupError(ROW)
    except LookupError as error:
        shown = "".join(traceback.format_exception(error))
    assert "Row(12)" in shown
    assert "Quillfen Lane" not in shown


def test_prompt_joins_the_turns() -> None:
    assert ROW.prompt == "Be brief.\nWhere does Velmira live?"
    assert Row(1, (), "A passage.").prompt == ""


def test_answering_replaces_the_response_only() -> None:
    other = ROW.answering("Nowhere.")
    assert other.response == "Nowhere."
    assert other.answering(ROW.response) == ROW
    assert ROW.response == "9 Quillfen Lane"


def test_the_key_is_both_texts_normalised_and_shows_neither() -> None:
    assert ROW.key == ("be brief. where does velmira live?", "9 quillfen lane")
    assert ROW.key is ROW.key
    assert ROW.answering(" 9  QUILLFEN Lane").key == ROW.key
    assert ROW.answering("Nowhere.").key != ROW.key
    assert "velmira" not in repr(ROW.key) + repr([ROW.key])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Velmira", "velmira"),
        ("  9\tQuillfen \n\n Lane ", "9 quillfen lane"),
        ("STRASSE", "strasse"),
        ("Straße", "strasse"),
        ("a\u00a0b\u3000c", "a b c"),
        ("", ""),
        (" \n", ""),
    ],
)
def test_normalise(text: str, expected: str) -> None:
    assert normalise(text) == expected


@settings(deadline=None)
@given(st.text())
def test_normalise_twice_is_normalise_once(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)


@pytest.mark.parametrize(
    ("turn", "file", "name", "record_name"),
    [
        (None, None, "12", "12"),
        (2, None, "12, turn 2", "12, turn 2"),
        (None, SourceFile(3, "ada.jsonl"), "ada.jsonl:12", "3:12"),
        (2, SourceFile(3, "a/b.jsonl"), "a/b.jsonl:12, turn 2", "3:12, turn 2"),
    ],
)
def test_names(turn: int | None, file: SourceFile | None, name: str, record_name: str) -> None:
    """Records do not hold the names of files, which may say whom they are about."""
    row = Row(12, (), "r", turn=turn, file=file)
    assert (row.name, row.record_name, repr(row)) == (name, record_name, f"Row({record_name})")
    TypeAdapter(RowName).validate_python(row.record_name)


@pytest.mark.parametrize("name", ["", "ada.jsonl:12", "12, turn two", "12\n", "0:12", "12:1:1", "-1", "12, turn 0"])
def test_records_take_no_other_names(name: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(RowName).validate_python(name)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["1"], "1"),
        (["1", "4", "6"], "1, 4, 6"),
        (["1", "4", "6", "9"], "1, 4, 6 and 1 more"),
        (["1, turn 1", "1, turn 2"], "1, turn 1; 1, turn 2"),
    ],
)
def test_listed(names: list[str], words: str) -> None:
    assert listed(names, 3) == words
