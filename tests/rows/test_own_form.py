"""Our own form of a record reads back to the same rows, whatever it came from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from forgetctl.rows.containers import Record
from forgetctl.rows.formats import Fields, reader_of, rows_of
from forgetctl.rows.own_form import own_record
from tests.rows.test_known_formats import ASKED, BLUE, GREEN, OPENAI, TRANSLATE, conversation

PATH = Path("rows.jsonl")
ABOUT = {"request_id": "R-1", "subject_id": "s", "secrets": ["1", "Gand"]}
PAIR = {"prompt": ASKED, "chosen": [BLUE], "rejected": [GREEN]}
MORE = [{"role": "user", "content": "Sure?"}, {"role": "assistant", "content": "Yes.", "weight": 0}]
RECORDS: list[dict[str, Any]] = [
    {"text": "A passage.", "spans": [[0, 1]], **ABOUT},
    {"question": "q", "answer": "a", "paraphrased_answer": "p", "perturbed_answer": ["x", "y"]},
    {**TRANSLATE, **ABOUT},
    {**TRANSLATE, "history": [["a", "b"]], "system": "s"},
    {**TRANSLATE, "kto_tag": False},
    {**OPENAI, **ABOUT},
    {**conversation(b={"paraphrased_response": "q"}, d={"spans": [[0, 1]]}), **ABOUT},
    {**conversation(d={"weight": 0}), **ABOUT},
    {**conversation(), "label": False},
    {**PAIR, **ABOUT, "tools": OPENAI["tools"]},
    {"prompt": ASKED, "chosen": [BLUE, *MORE, BLUE], "rejected": [GREEN]},
    {"prompt": ASKED, "chosen": [BLUE, *MORE], "rejected": [BLUE, *MORE, GREEN]},
    {"chosen": [*ASKED, BLUE], "rejected": [*ASKED, {"role": "user", "content": "?"}, GREEN]},
    {"chosen": "The sky is blue.", "rejected": "The sky is green."},
    {"prompt": "p", "completion": "c", "label": False},
    {"chosen": [*ASKED, {**BLUE, "weight": 0}], "rejected": [*ASKED, {**BLUE, "weight": 0}, *ASKED, GREEN]},
]


def own(value: dict[str, Any], fields: Fields) -> dict[str, Any] | None:
    return own_record(reader_of(PATH, Record(1, value, 0, 0, 0), fields), fields)


def check(value: dict[str, Any], fields: Fields) -> None:
    rows = rows_of(PATH, Record(1, value, 0, 0, 0), fields)
    written = own(value, fields)
    if written is None:
        assert rows == []
        return
    again = Record(1, json.loads(json.dumps(written)), 0, 0, 0)
    assert rows_of(PATH, again, Fields()) == rows
    assert own(again.value, Fields()) == written


@pytest.mark.parametrize("answers", ["both", "chosen"])
@pytest.mark.parametrize("turns", ["all", "last"])
@pytest.mark.parametrize("value", RECORDS, ids=range(len(RECORDS)))
def test_the_same_rows(
    value: dict[str, Any], turns: Literal["all", "last"], answers: Literal["chosen", "both"]
) -> None:
    check(value, Fields(turns=turns, answers=answers))


def test_plain_records_stay_plain() -> None:
    assert own({"question": "q", "answer": "a", "id": 4, **ABOUT}, Fields()) == {
        "prompt": "q",
        "response": "a",
        **ABOUT,
    }
    assert own({"text": "t"}, Fields()) == {"text": "t"}


def test_what_is_left_out_stays_as_context() -> None:
    messages = conversation()["messages"]
    kept = {"messages": [messages[0], {**messages[1], "weight": 0}, *messages[2:]]}
    assert own(conversation(), Fields(turns="last")) == kept


texts = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=4).filter(str.strip)
calls = st.builds(lambda name: [{"function": {"name": name, "arguments": {"a": name}}}], texts)
users = st.builds(lambda text: {"role": "user", "content": text}, texts)
results = st.builds(lambda text: {"role": "tool", "content": text}, texts)
answers = st.fixed_dictionaries(
    {"role": st.just("assistant"), "content": texts},
    optional={"weight": st.sampled_from([0, 1]), "tool_calls": calls, "paraphrased_response": texts},
)
endings = st.lists(st.one_of(users, results, answers), max_size=5)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(users, endings, endings, st.sampled_from(["all", "last"]))
def test_any_conversation_and_any_pair(
    first: dict[str, Any], more: list[dict[str, Any]], other: list[dict[str, Any]], turns: Literal["all", "last"]
) -> None:
    last = {"role": "assistant", "content": "x"}
    check({"messages": [first, *more, last], **ABOUT}, Fields(turns=turns))
    check({"chosen": [first, *more, last], "rejected": [first, *other, last]}, Fields(turns=turns))
    check({"prompt": [first], "chosen": [last, *more], "rejected": [last, *other]}, Fields(turns=turns))
