"""Scores by file name and back: nothing is lost, and a verdict can be reached again."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from forgetctl.model.scores import Scores
from forgetctl.verify.evidence.collected import Collected
from forgetctl.verify.evidence.stored import by_name, collect
from tests.verify.verdicts import complete, verdict


def through_files(found: Collected) -> Collected:
    text = {name: json.dumps(scores.model_dump(mode="json")) for name, scores in by_name(found).items()}
    named = {name: Scores.model_validate(json.loads(text[name])) for name in sorted(text)}
    return collect(named, found.kind, found.rephrased, found.tracked)


def test_everything_comes_back() -> None:
    found = complete(20)
    assert set(by_name(found)) == {
        *("start", "unlearned", "reference", "reference-2", "start-nf4", "unlearned-nf4", "reference-nf4"),
        *("unlearned-relearned", "reference-relearned"),
    }
    assert through_files(found) == found
    assert verdict(through_files(found)) == verdict(found)


def test_little_comes_back_as_little() -> None:
    found = replace(complete(20), start=None, references=(), kind="none", precisions={}, relearned={}, rephrased=())
    assert through_files(found) == found


def test_many_references_keep_their_order() -> None:
    found = complete(20)
    many = tuple(found.references[0].model_copy(update={"name": f"r{n}"}) for n in range(12))
    assert [scores.name for scores in through_files(replace(found, references=many)).references] == [
        f"r{n}" for n in range(12)
    ]


def test_strange_names_are_refused() -> None:
    with pytest.raises(ValueError, match="none has"):
        collect({"other": complete(20).unlearned}, "none", (), ())
    with pytest.raises(KeyError):
        collect({"start": complete(20).unlearned}, "none", (), ())
