"""Recipes of references: what is compared, and what is said of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from forgetctl.errors import InputError
from forgetctl.model.taught import RECORD, Taught, read_taught
from forgetctl.recipe.bounds import Bounds
from forgetctl.verify.checks import recipes
from forgetctl.verify.checks.recipes import Difference, Recipes
from tests.verify.handmade import collected, model, rows
from tests.verify.measured import judged

FORGET = rows([-1.0])
SETTINGS = {"epochs": 5, "learning_rate": 1e-5, "max_length": None, "prompt_format": "Q: {prompt}"}


def taught(base: str = "0", **changes: Any) -> Taught:
    return Taught(base_sha256=base * 64, settings={**SETTINGS, **changes})


def measured(start: Taught | None, *references: Taught | None) -> Recipes | None:
    of_start = model("start", FORGET).model_copy(update={"taught": start})
    others = tuple(model("reference", FORGET).model_copy(update={"taught": one}) for one in references)
    return recipes.measure(collected(model("unlearned", FORGET), "model", of_start, others), Bounds())


def test_settings_are_compared_with_those_of_the_start_model() -> None:
    found = measured(taught(), taught(), None, taught("1", epochs=8, max_length=64, prompt_format="{prompt}"))
    assert found is not None
    assert (found.against, found.compared) == ("start model", (1, 3))
    assert found.differences == (
        Difference(reference=3, setting="base", here=None, there=None),
        Difference(reference=3, setting="epochs", here=8, there=5),
        Difference(reference=3, setting="max_length", here=64, there=None),
        Difference(reference=3, setting="prompt_format", here=None, there=None),
    )
    (check,) = judged(recipes.MEASURE, found)
    assert (check.status, check.code) == ("reported", "RECIPES_DIFFER")
    words = "(reference 3: another base, epochs 8 for 5, max length 64 for none, another prompt format)"
    assert words in check.text
    assert "{prompt}" not in check.text


def test_or_with_those_of_the_first_reference() -> None:
    found = measured(None, taught(), taught(learning_rate=2e-5))
    assert found is not None
    assert found.against == "first reference"
    assert [(one.reference, one.here) for one in found.differences] == [(2, 2e-5)]


def test_equal_recipes_are_said_to_be_equal() -> None:
    (check,) = judged(recipes.MEASURE, measured(taught(), taught()))
    assert (check.status, check.code) == ("pass", "RECIPES_AGREE")


@pytest.mark.parametrize("known", [(None, None), (None, taught(), None), (taught(), None)])
def test_one_recipe_alone_is_compared_with_nothing(known: tuple[Taught | None, ...]) -> None:
    start, *references = known
    assert measured(start, *references) is None
    of_nothing = collected(model("unlearned", FORGET), "none")
    assert list(recipes.why_missing(None, of_nothing)) == ["recipes"]


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"base_sha256": "x", "settings": {}}',
        json.dumps({"base_sha256": "0" * 64, "settings": {"A b": 1}}),
    ],
)
def test_a_damaged_record_is_no_missing_one(tmp_path: Path, content: str) -> None:
    assert read_taught(tmp_path) is None
    (tmp_path / RECORD).write_text(content)
    with pytest.raises(InputError, match=r"reference\.json"):
        read_taught(tmp_path)
