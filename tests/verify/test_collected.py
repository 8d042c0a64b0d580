"""What a verdict rests on: which models there are, and which sets ask for what was to be forgotten."""

from __future__ import annotations

import pytest

from forgetctl.verify.collected import same_tokens
from tests.verify.handmade import collected, model, rows

ROWS = rows([-1.0, -2.0])
START, UNLEARNED = model("start", ROWS), model("unlearned", ROWS)
FIRST, SECOND = model("reference", ROWS), model("reference", rows([-3.0, -4.0]))


def test_the_first_reference_is_the_comparison() -> None:
    found = collected(UNLEARNED, "model", START, (FIRST, SECOND))
    assert found.reference is FIRST
    assert found.models == {"start": START, "unlearned": UNLEARNED, "reference": FIRST}
    assert list(found.models) == ["start", "unlearned", "reference"]


def test_models_that_are_not_there_are_not_listed() -> None:
    found = collected(UNLEARNED, "none")
    assert found.reference is None
    assert found.models == {"unlearned": UNLEARNED}


def test_sets_that_ask_for_the_forget_rows() -> None:
    found = collected(UNLEARNED, "none", rephrased=("rephrased 1 (a.jsonl)", "b"))
    assert list(found.forget_sets()) == [
        ("forget", ""),
        ("rephrased-1", ", rephrased 1 (a.jsonl)"),
        ("rephrased-2", ", b"),
    ]
    assert list(collected(UNLEARNED, "none").forget_sets()) == [("forget", "")]


@pytest.mark.parametrize(("tokens", "same"), [([3, 4], True), ([4, 3], False), ([3, 5], False), ([3, 4, 5], False)])
def test_only_answers_of_equal_lengths_are_compared_per_token(tokens: list[int], same: bool) -> None:
    ours = rows([-1.0] * len(tokens), answer_tokens=tokens)
    assert same_tokens(ours, rows([-9.0, -9.0], answer_tokens=[3, 4])) is same
