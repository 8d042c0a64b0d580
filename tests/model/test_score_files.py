"""What of a file of scores can be compared with what was asked now."""

from __future__ import annotations

from typing import Any

import pytest

from forgetctl.model.score_files import asked_alike
from forgetctl.model.scores import Scores, Wording
from tests.verify.handmade import model, rows

WORDED = Wording(version=1, templates={"direct": 2})


def scored(**attack: Any) -> Scores:
    scores = model("reference", rows([-1.0, -2.0]), retain=rows([-1.0]))
    if not attack:
        return scores
    again = rows([-1.0, -2.0], **{"wording": WORDED, **attack})
    return scores.model_copy(update={"sets": {**scores.sets, "attack-1": again}})


@pytest.mark.parametrize(
    ("stored", "kept"),
    [
        ({"wording": WORDED}, True),
        ({"wording": Wording(version=2, templates={"direct": 2})}, False),
        ({"wording": Wording(version=1, templates={"direct": 1, "cloze": 1})}, False),
        ({"answer_tokens": [1, 2]}, False),
    ],
)
def test_other_prompts_are_no_comparison(stored: dict[str, Any], kept: bool) -> None:
    alike = asked_alike(scored(**stored), scored(wording=WORDED))
    assert ("attack-1" in alike.sets) is kept
    assert {"forget", "retain"} <= alike.sets.keys()


def test_what_was_not_asked_now_is_left_out() -> None:
    assert "attack-1" not in asked_alike(scored(wording=WORDED), scored()).sets
