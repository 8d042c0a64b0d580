"""Spans: what is read and refused, and how they move to another response; the texts are invented."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgetctl.errors import InputError
from forgetctl.people.mentions import Mentions
from forgetctl.recipe.recipe import Quotas, Retain
from forgetctl.rows.holdout import check_marked
from forgetctl.rows.pairing import Excluded, check_rests, choose_retain, with_perturbed
from forgetctl.rows.precheck import check_texts
from forgetctl.rows.reading import RowFile, read_rows
from forgetctl.rows.row import Row
from forgetctl.rows.secret import Secret
from forgetctl.rows.spans import answering_alike, filled, joined_spans, moved_spans, unmarked_parts, without

TEXT = "Velmira Oskandt lives in Quillfen and likes chess."
NAME, TOWN = (0, 15), (25, 33)
FILE = Path("request.jsonl")


def write(folder: Path, *rows: dict[str, Any]) -> Path:
    path = folder / "request.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def read(folder: Path, spans: Any, **fields: Any) -> Row:
    (row,) = read_rows(write(folder, {"prompt": "Who?", "response": TEXT, "spans": spans, **fields}))
    return row


def row(
    *spans: tuple[int, int], response: str = TEXT, line: int = 1, secrets: tuple[str, ...] = (), **fields: Any
) -> Row:
    named = tuple(map(Secret, secrets))
    return Row(line, (("user", "Who?"),), response, spans=spans, secrets=named, **fields)


# Reading


def test_spans_are_code_points_of_the_response(tmp_path: Path) -> None:
    assert read(tmp_path, [[0, 15], [25, 33]]).marked == "Velmira Oskandt Quillfen"
    wide = {"text": "👩‍🚀 Zoë lives in Łódź.", "spans": [[4, 7], [17, 21]]}
    (passage,) = read_rows(write(tmp_path, wide))
    assert passage.marked == "Zoë Łódź"


@pytest.mark.parametrize("spans", [None, [[0, 50]], [[0, 20], [20, 50]]])
def test_where_all_is_marked_nothing_is(spans: Any, tmp_path: Path) -> None:
    found = read(tmp_path, spans)
    assert found.spans == ()
    assert found == row()


def test_white_space_alone_is_no_text_that_is_left(tmp_path: Path) -> None:
    (passage,) = read_rows(write(tmp_path, {"text": "  Velmira \n", "spans": [[2, 9]]}))
    assert passage.spans == ()


def test_spans_stand_in_any_order_and_those_that_touch_are_one(tmp_path: Path) -> None:
    assert read(tmp_path, [[25, 33], [7, 15], [0, 7]]).spans == (NAME, TOWN)


@pytest.mark.parametrize(
    ("spans", "why"),
    [
        ([], "field 'spans' is an empty list; leave it out where all of the response is to be forgotten"),
        ([[3, 3]], "field 'spans' has one that is empty, or marks white space alone"),
        ([[5, 3]], "field 'spans' has one that is empty, or marks white space alone"),
        ([[15, 16]], "field 'spans' has one that is empty, or marks white space alone"),
        ([[0, 51]], "field 'spans' has one that leaves the response, which has 50 code points"),
        ([[-3, 4]], "field 'spans' has one that leaves the response, which has 50 code points"),
        ([[0, 5], [4, 8]], "field 'spans' has two that overlap"),
        ([[0, 5], [0, 5]], "field 'spans' has two that overlap"),
        ([[0, 9], [2, 4]], "field 'spans' has two that overlap"),
        *(
            (value, "field 'spans' must be a list of pairs of whole numbers, [start, end]")
            for value in ("0-5", [0, 5], [[0, 5, 6]], [[0, 5.0]], [[False, True]], [["0", "5"]], [{"start": 0}], {}, 3)
        ),
    ],
)
def test_what_is_no_span_is_refused_by_line(spans: Any, why: str, tmp_path: Path) -> None:
    path = write(tmp_path, {"prompt": "p", "response": "r"}, {"prompt": "Who?", "response": TEXT, "spans": spans})
    with pytest.raises(InputError) as caught:
        read_rows(path)
    assert str(caught.value) == f"{path}:2: {why}"


def test_a_retain_file_has_no_spans(tmp_path: Path) -> None:
    """Also none that would be refused: other tools have a field of that name."""
    path = write(tmp_path, {"text": TEXT, "spans": [[0, 15]]}, {"text": TEXT, "spans": [{"label": "PERSON"}]})
    assert [kept.spans for kept in RowFile(path)] == [(), ()]
    assert [kept.spans for kept in RowFile(path, kept=0)] == [(), ()]


def test_other_responses_must_be_alike_outside_of_the_spans(tmp_path: Path) -> None:
    wrong = "Tamsin Ferrow lives in Norwick and likes chess."
    assert read(tmp_path, [[0, 15], [25, 33]], perturbed_responses=[wrong]).perturbed_responses == (wrong,)
    for fields in ({"perturbed_responses": [wrong, "Nobody."]}, {"paraphrased_response": "She lives in Quillfen."}):
        with pytest.raises(InputError, match=r"request.jsonl:1: has spans, so its paraphrased and perturbed responses"):
            read(tmp_path, [[0, 15], [25, 33]], **fields)
    assert read(tmp_path, [[0, 50]], perturbed_responses=["Nobody."]).perturbed_responses == ("Nobody.",)


# Parts


@st.composite
def marked_texts(draw: st.DrawFn) -> tuple[str, tuple[tuple[int, int], ...]]:
    """Parts that are marked and parts between them, of letters that stand in one of the two alone."""
    marked = draw(st.lists(st.text("abc", min_size=1, max_size=4), min_size=1, max_size=4))
    count = len(marked) - 1
    between = draw(st.lists(st.text("xyz ", min_size=1, max_size=4), min_size=count, max_size=count))
    text, spans = draw(st.text("xyz ", max_size=3)), []
    for part, following in zip(marked, [*between, draw(st.text("xyz ", max_size=3))], strict=True):
        spans.append((len(text), len(text) + len(part)))
        text += part + following
    return text, tuple(spans)


@given(marked_texts())
def test_parts_add_up_to_the_response(case: tuple[str, tuple[tuple[int, int], ...]]) -> None:
    text, spans = case
    own = [text[start:end] for start, end in spans]
    unmarked = unmarked_parts(text, spans)
    assert "".join(part + mark for part, mark in zip(unmarked, [*own, ""], strict=True)) == text


@given(marked_texts(), st.text("ABC", min_size=1, max_size=9))
def test_spans_move_with_what_stands_in_their_place(case: tuple[str, tuple[tuple[int, int], ...]], other: str) -> None:
    text, spans = case
    own = row(*spans, response=text)
    assert moved_spans(own, text) == spans
    parts = unmarked_parts(text, spans)
    moved = moved_spans(own, other.join(parts))
    assert [other.join(parts)[start:end] for start, end in moved] == [other] * len(spans)


def test_another_response_outside_of_the_spans_is_refused() -> None:
    own = row(NAME, TOWN)
    for other in (
        "Tamsin dwells in Norwick and likes chess.",
        "Tamsin lives in Norwick and likes tennis.",
        " lives in Norwick and likes chess.",
        "Tamsin lives in and likes chess.",
        "Tamsin lives in   and likes chess.",
    ):
        with pytest.raises(ValueError, match=r"another response|nothing in the place"):
            moved_spans(own, other)
    assert answering_alike(row(), "Nobody.") == row(response="Nobody.")


def test_all_that_several_mark() -> None:
    assert joined_spans([[(4, 6), (0, 2)], [(2, 3)], [(5, 9)]]) == ((0, 3), (4, 9))


# What is forgotten, and what is kept


def test_wrong_answers_are_made_of_what_others_mark() -> None:
    own = row(NAME, TOWN)
    other = row((0, 13), (23, 30), response="Tamsin Ferrow lives in Norwick and sings.")
    assert filled(own, other) == "Tamsin Ferrow lives in Norwick and likes chess."
    assert filled(other, row(TOWN)) == "Quillfen lives in Quillfen and sings."
    assert filled(own, row()) is None
    rows, origin = with_perturbed([own, other], [row(response="Never marked.")], 3)
    assert origin == "nearest answers"
    assert [one.perturbed_responses for one in rows] == [
        ("Tamsin Ferrow lives in Norwick and likes chess.",),
        ("Velmira Oskandt lives in Quillfen and sings.",),
    ]
    assert with_perturbed([own], [row(response="Never marked.")], 3)[1] is None


def test_a_secret_outside_of_the_spans_is_refused() -> None:
    """Unless another row of the same text marks it: what is kept of a text is what none of its rows marks."""

    def check(*rows: Row) -> None:
        check_rests(FILE, rows, Mentions.of_rows(rows).among)

    check(row(NAME, secrets=("Oskandt",)))
    with pytest.raises(InputError, match=r"request.jsonl:7: holds a secret of the request outside of its spans"):
        check(row(NAME, line=7), row(response="Hm.", secrets=("quillfen",)))
    check(row(NAME), row(TOWN, secrets=("Quillfen",)))
    check(row(NAME), row(secrets=("Quillfen",)))


def test_a_retain_row_that_answers_with_the_marked_text_is_kept_out() -> None:
    retain = [row(response="Quillfen"), *(row(response=f"Answer {number}, of something else.") for number in range(9))]
    settings = Retain(near_duplicate=95)
    assert choose_retain([row(TOWN)], retain, settings, 0, Mentions(()).among).excluded == Excluded(0, 1, 0, 0)
    assert choose_retain([row()], retain, settings, 0, Mentions(()).among).excluded == Excluded(0, 0, 0, 0)


def test_the_precheck_looks_at_what_is_marked() -> None:
    text = "I cannot help you. She lives in Quillfen."
    kept = [row(response="Where people live, there are others.")] * 9
    common = Row(3, (("user", "Who?"),), "People live where Velmira Oskandt lives.", spans=((0, 6),))
    for marked, rules in (((0, 18), ["refusals"]), ((19, 41), [])):
        flags = check_texts([row(marked, response=text)], kept, (0, 0), ["I cannot help you."], Quotas(forget_share=9))
        assert [flag.rule for flag in flags] == rules
    flags = check_texts([common], kept, (0, 0), [], Quotas(forget_share=9))
    assert [(flag.rule, flag.names) for flag in flags] == [("common", ("3",))]


def test_rows_to_learn_without_the_marked_parts_of_some() -> None:
    whole, other = row(), row(response="Velmira paints.")
    assert without([whole, other], [row(NAME)]) == [row(NAME), other]
    assert without([whole, other], [row(NAME), row(TOWN)]) == [row(NAME, TOWN), other]
    assert without([whole, other], [row(NAME), row()]) == [other]
    assert without([row(response=TEXT.upper()), other], [row(NAME)]) == [other]  # nobody knows where the parts are
    assert without([whole, other], [row(response="Hm.")]) == [whole, other]


def test_a_holdout_is_marked_where_the_request_is() -> None:
    check_marked(FILE, [row(NAME), row()], [row(), row(TOWN)])
    check_marked(FILE, [row()], [row()])
    with pytest.raises(InputError, match="no row has spans, and rows to forget have"):
        check_marked(FILE, [row()], [row(TOWN)])
    with pytest.raises(InputError, match="has spans, and no row to forget has"):
        check_marked(FILE, [row(TOWN)], [row()])
