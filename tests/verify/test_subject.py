"""Which retain rows are scored."""

from __future__ import annotations

import pytest

from forgetctl.rows.row import Row
from forgetctl.verify._subject import _evenly as evenly
from forgetctl.verify._subject import _Retained as Retained


@pytest.mark.parametrize(
    ("count", "expected"),
    [(0, []), (1, [10]), (2, [10, 50]), (3, [10, 30, 50]), (5, [10, 20, 30, 40, 50]), (9, [10, 20, 30, 40, 50])],
)
def test_evenly(count: int, expected: list[int]) -> None:
    assert evenly([10, 20, 30, 40, 50], count) == expected
    assert evenly([], count) == []


def test_wrong_answers_come_from_rows_that_were_not_trained_on(tmp_path: object) -> None:
    rows = [Row(number, (("user", "who?"),), f"{number}.") for number in (1, 2, 3)]
    retained = Retained(tmp_path, rows, frozenset({rows[1].key}))  # type: ignore[arg-type]
    assert [row.line for row in retained.unrehearsed] == [1, 3]
    assert Retained(tmp_path, rows).unrehearsed == rows  # type: ignore[arg-type]
