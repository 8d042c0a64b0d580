"""Rows of one conversation: kept apart from what is forgotten of it, and cut into halves together."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from forgetctl.errors import InputError
from forgetctl.recipe.recipe import Retain
from forgetctl.rows import pairing
from forgetctl.rows.conversations import by_conversation
from forgetctl.rows.formats import Fields
from forgetctl.rows.holdout import check_apart, for_calibration, for_verdict
from forgetctl.rows.pairing import Excluded
from forgetctl.rows.reading import RowFile, read_rows
from forgetctl.rows.row import Row
from tests.rows.test_pairing import choose_retain

SETTINGS = Retain(minimum=50, near_duplicate=99.0, check_rows=1)


def talk(number: int, turns: int, weight: int = 1) -> dict[str, Any]:
    """A conversation in which the assistant says something else at every turn."""
    said = [
        [
            {"role": "user", "content": f"question {turn} of {number}"},
            {"role": "assistant", "content": f"{'abcdefgh'[turn] * (9 + number)} {number}", "weight": weight},
        ]
        for turn in range(turns)
    ]
    return {"messages": [message for pair in said for message in pair]}


def write(path: Path, records: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


@pytest.fixture
def retained(tmp_path: Path) -> Path:
    return write(tmp_path / "retain.jsonl", [talk(number, 4) for number in range(6)])


@pytest.mark.parametrize("batch", [3, 4096])
@pytest.mark.parametrize("kept", [0, 2**20], ids=["on disk", "in memory"])
@pytest.mark.parametrize("turn", range(4))
def test_no_turn_of_a_forgotten_turn_s_conversation_is_retained(
    turn: int, kept: int, batch: int, retained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever of its turns the request names, and wherever a batch ends."""
    monkeypatch.setattr(pairing, "BATCH_ROWS", batch)
    rows = RowFile(retained, kept=kept)
    forget = [replace(rows[4 * 2 + turn], line=1, turn=None)]
    found = choose_retain(forget, rows, SETTINGS, 0)
    assert {rows[position].line for position in (*found.train, *found.check)} == {1, 2, 4, 5, 6}
    assert found.excluded == Excluded(1, 0, 0, 3)


def test_a_turn_that_is_context_alone_is_one_of_the_conversation(tmp_path: Path) -> None:
    records = [talk(number, 2) for number in range(4)]
    records[1]["messages"][1]["weight"] = 0
    rows = read_rows(write(tmp_path / "retain.jsonl", records))
    forget = [Row(1, rows[2].context[:1], rows[2].context[1][1])]
    found = choose_retain(forget, rows, SETTINGS, 0)
    assert [rows[position].line for position in (*found.train, *found.check)].count(2) == 0
    assert found.excluded == Excluded(0, 0, 0, 1)


def test_the_same_words_to_another_question_are_another_conversation(retained: Path) -> None:
    rows = read_rows(retained)
    forget = [replace(rows[4], context=(("user", "question 0 of nobody"),), turn=None)]
    found = choose_retain(forget, rows, SETTINGS, 0)
    assert found.excluded == Excluded(0, 1, 0, 0)  # a near duplicate itself, and no more


def test_both_answers_of_a_pair_are_one_conversation(tmp_path: Path) -> None:
    pairs = [{"prompt": f"q {n}", "chosen": "x" * (n + 5), "rejected": "y" * (n + 5)} for n in range(4)]
    rows = read_rows(write(tmp_path / "pairs.jsonl", pairs))
    found = choose_retain([rows[3]], rows, SETTINGS, 0)
    assert found.excluded == Excluded(1, 0, 0, 1)
    assert {rows[position].line for position in (*found.train, *found.check)} == {1, 3, 4}


def test_rows_of_a_record_stand_together(retained: Path) -> None:
    assert [len(own) for own in by_conversation(RowFile(retained))] == [4] * 6
    single = [Row(1, (), "a"), Row(1, (), "b")]  # two that only share a number
    assert [len(own) for own in by_conversation(single)] == [1, 1]


def test_a_holdout_of_a_forgotten_conversation_is_refused(tmp_path: Path, retained: Path) -> None:
    rows = read_rows(retained)
    with pytest.raises(InputError, match=r"retain\.jsonl:3, turn 1: is of a conversation of which rows are to be"):
        check_apart(retained, rows, [rows[10]])
    check_apart(retained, rows[:8] + rows[12:], [rows[10]])


def test_halves_of_a_holdout_share_no_conversation(tmp_path: Path) -> None:
    rows = read_rows(write(tmp_path / "holdout.jsonl", [talk(number, 3) for number in range(60)]))
    first = for_calibration(tmp_path, rows, 0.5, 7)
    second = for_verdict(rows, first)
    assert (len(first), len(second)) == (90, 90)
    assert {row.line for row in first}.isdisjoint(row.line for row in second)


def test_single_rows_are_cut_as_before(tmp_path: Path) -> None:
    """By their keys in order, whatever conversations there might be."""
    rows = [Row(line, (("user", f"q {line}"),), f"a {line}") for line in range(1, 51)]
    keys = sorted({row.key for row in rows})
    order = np.random.default_rng([3, 50]).permutation(50)
    chosen = {keys[place] for place in order[:25]}
    assert for_calibration(tmp_path, rows, 0.5, 3) == [row for row in rows if row.key in chosen]


def test_last_turns_alone(retained: Path) -> None:
    assert [row.name for row in RowFile(retained, Fields(turns="last"))] == ["1", "2", "3", "4", "5", "6"]
