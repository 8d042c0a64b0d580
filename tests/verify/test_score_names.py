"""Scores by file name and back: nothing is lost, and a verdict can be reached again."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from forgetctl.model.scores import Scores
from forgetctl.verify.collected import Collected, Kind, by_name, from_names
from forgetctl.verify.registry import WORKS
from tests.verify.verdicts import complete, verdict


def through_files(collected: Collected) -> Collected:
    text = {name: json.dumps(scores.model_dump(mode="json")) for name, scores in by_name(collected).items()}
    named = {name: Scores.model_validate(json.loads(text[name])) for name in sorted(text)}
    return from_names(
        named,
        kind=collected.kind,
        altered=WORKS,
        rephrased=collected.rephrased,
        tracked=collected.tracked,
        kl=collected.kl,
    )


def test_everything_comes_back() -> None:
    found = complete(20)
    assert set(by_name(found)) == {
        *("start", "unlearned", "reference", "reference-2", "start-nf4", "unlearned-nf4", "reference-nf4"),
        *("unlearned-relearned", "reference-relearned"),
    }
    assert through_files(found) == found
    assert verdict(through_files(found)) == verdict(found)


def test_little_comes_back_as_little() -> None:
    found = replace(complete(20), start=None, references=(), kind="none", precisions={}, altered={}, rephrased=())
    assert through_files(found) == found


def test_many_references_keep_their_order() -> None:
    found = complete(20)
    many = tuple(found.references[0].model_copy(update={"name": f"r{n}"}) for n in range(12))
    assert [scores.name for scores in through_files(replace(found, references=many)).references] == [
        f"r{n}" for n in range(12)
    ]


def test_strange_names_are_refused() -> None:
    with pytest.raises(ValueError, match="none has"):
        from_names({"other": complete(20).unlearned}, kind="none")
    with pytest.raises(KeyError):
        from_names({"start": complete(20).unlearned}, kind="none")


@pytest.mark.parametrize("kind", ["none", "holdout"])
def test_a_comparison_that_the_scores_are_not_of_is_refused(kind: Kind) -> None:
    """Weaker evidence must not be told where there is a reference, and no reference where there is none."""
    named = by_name(complete(20))
    with pytest.raises(ValueError, match="such a comparison"):
        from_names(named, kind=kind, altered=WORKS)
    with pytest.raises(ValueError, match="such a comparison"):
        from_names({"unlearned": named["unlearned"]}, kind="model", altered=WORKS)
