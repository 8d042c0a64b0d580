"""Sets of attack prompts: such as every model can be asked, scored alike, and what they cost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from forgetctl.model.encoders import Encoders
from forgetctl.model.scores import GREEDY, Role
from forgetctl.people.attack_prompts import AS_ASKED
from forgetctl.progress import Silent
from forgetctl.recipe.recipe import Recipe, Verify
from forgetctl.rows.reading import read_rows
from forgetctl.rows.row import Row
from forgetctl.verify._attack_sets import cost, with_attacks
from forgetctl.verify.measuring import RowSets, Scorer, _how, check_length

RECIPE = Recipe(method="npo-rt", verify=Verify(answer_tokens=4, samples=1, sampled_rows=1), seed=3)


@pytest.fixture(scope="module")
def sets(world: Path) -> RowSets:
    rows = {
        "forget": read_rows(world / "requests.jsonl")[:6],
        "retain": [replace(row, response="Yes.") for row in read_rows(world / "remaining.jsonl")[:8]],
    }
    return RowSets(rows=rows, files=dict.fromkeys(rows, world / "requests.jsonl"), perturbed="request")


def test_rounds_are_sets_that_every_model_can_be_asked(world: Path, sets: RowSets) -> None:
    models = [world / "model", world / "reference"]
    full = with_attacks(sets, "full", models, RECIPE, Encoders())
    names = [name for name in full.rows if name.startswith("attack-")]
    assert names == [f"attack-{number}" for number in range(1, len(names) + 1)]
    assert names
    assert full.wordings.keys() == set(names)
    for name in names:
        assert sum(full.wordings[name].templates.values()) == len(full.rows[name]) == len(sets.forget)
        assert full.wordings[name].prompts > 0
        assert not any(row.perturbed_responses or row.paraphrased_response for row in full.rows[name])
    for model in models:
        check_length(full, RECIPE, model, Encoders())


def test_prompts_that_are_too_long_for_a_model_give_place_to_shorter_ones(world: Path, sets: RowSets) -> None:
    cut = RECIPE.model_copy(update={"max_length": 2})
    none = with_attacks(sets, "full", [world / "model"], cut, Encoders())
    assert not [name for name in none.rows if name.startswith("attack-")]
    long = max(
        len(row.prompt) for row in with_attacks(sets, "full", [world / "model"], RECIPE, Encoders()).rows["attack-1"]
    )
    assert long > max(len(row.prompt) for row in sets.forget)


def test_without_attacks_nothing_changes(world: Path, sets: RowSets) -> None:
    assert with_attacks(sets, "none", [world / "model"], RECIPE, Encoders()) == sets


def test_scores_say_the_templates_and_hold_no_text(world: Path, sets: RowSets) -> None:
    quick = with_attacks(sets, "quick", [world / "model", world / "reference"], RECIPE, Encoders())
    scoring = Scorer(sets=quick, recipe=RECIPE, device=torch.device("cpu"), progress=Silent())
    ours, theirs = scoring.unlearned(world / "model"), scoring.reference(world / "reference")
    start = scoring.start(world / "model")
    for scores in (ours, theirs, start):
        asked = scores.sets["attack-1"]
        assert asked.wording == quick.wordings["attack-1"]
        assert asked.names == scores.forget.names
        assert set(asked.elicited) == ({GREEDY} if scores.role != "start" else set())
        assert asked.perturbed_logp is None
        assert scores.sets["forget"].wording is None
        written = scores.model_dump_json()
        for row in (*quick.rows["attack-1"], *sets.forget):
            assert row.prompt not in written
            assert row.response not in written


def answers(sets: RowSets, recipe: Recipe) -> int:
    """Generated answers of a whole verification with one reference."""
    total = 0
    roles: tuple[Role, ...] = ("unlearned", "reference", "start")
    for role in roles:
        for name, rows in sets.rows.items():
            how = _how(role, name)
            for mode in how.modes if how else ():
                if mode == "without thought":
                    continue  # these models do not think
                sampled = mode == "sampled"
                total += min(recipe.verify.sampled_rows, len(rows)) * recipe.verify.samples if sampled else len(rows)
    return total


@pytest.mark.parametrize(("retain", "most"), [(450, 1.15), (0, 1.2)])
def test_quick_costs_few_answers_more(retain: int, most: float) -> None:
    """Of 200 rows, with as many retain rows as a run has or none. Answers take nearly all of a verification's time."""
    rows = {
        "forget": [Row(n, (("user", f"Who is {n}?"),), f"Somebody of number {n}.") for n in range(1, 201)],
        "retain": [Row(n, (("user", f"What is {n}?"),), f"{n}.") for n in range(1, retain + 1)],
    }
    sets = RowSets(rows=rows, files=dict.fromkeys(rows, Path("rows.jsonl")))
    usual = Recipe(method="npo-rt")
    before, after = answers(sets, usual), answers(with_attacks(sets, "quick", [], usual, Encoders()), usual)
    assert 1 < after / before < most


def test_the_cost_is_said_in_answers(world: Path, sets: RowSets) -> None:
    quick = with_attacks(sets, "quick", [world / "model"], RECIPE, Encoders())
    prompts = sum(count for name, count in quick.wordings["attack-1"].templates.items() if name != AS_ASKED)
    assert cost(quick, "quick", 2) == (
        f"Attack prompts (--attacks quick): {prompts} for 6 rows, each answered by 2 models: {2 * prompts} answers more"
    )
