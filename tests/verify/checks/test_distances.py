"""How far forget rows lie from the comparison: which pairs are compared, and by what numbers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from forgetctl.model.scores import ScoreSet
from forgetctl.recipe.bounds import Bounds
from forgetctl.verify.checks import control, distances, noise_floor, relearning
from forgetctl.verify.checks._closeness import paired
from forgetctl.verify.checks.distances import Closeness
from forgetctl.verify.collected import Collected
from tests.verify.handmade import against, collected, model, rows

BOUNDS = Bounds()
OURS = rows([-1.0, -2.0, -3.0, -4.0], truth=[0.0, 1.0, 2.0, 3.0])
THEIRS = rows([-2.0, -3.0, -6.0, -7.0], truth=[0.0, 1.0, 2.5, -1.0])
PLAIN = rows([-2.0, -3.0, -6.0, -7.0])
FAR = rows([-51.0, -52.0, -53.0, -54.0], truth=[60.0, 61.0, 62.0, 63.0])


def names(finding: Any) -> list[str]:
    return [closeness.name for closeness in finding]


def figures(collected: Collected) -> dict[str, Closeness]:
    return {closeness.name: closeness for closeness in distances.measure(collected, BOUNDS)}


# One pair


def test_paired_figures_by_hand() -> None:
    """Shares at or below x, ours and theirs:
    -7: 0, 1/4; -6: 0, 2/4; -4: 1/4, 2/4; -3: 2/4, 3/4; -2: 3/4, 1; -1: 1, 1. The largest difference is 1/2.
    Truth ratios, as logs: -1: 0, 1/4; 0: 1/4, 2/4; 1: 2/4, 3/4; 2: 3/4, 3/4; 2.5: 3/4, 1; 3: 1, 1. It is 1/4."""
    truth, answers = paired(OURS, THEIRS, BOUNDS)
    assert (truth.name, answers.name) == ("truth ratio", "answer log-prob")
    assert (truth.distance.D, truth.distance.n) == (0.25, 4)
    assert (answers.distance.D, answers.distance.n) == (0.5, 4)
    assert (truth.gap, truth.shift) == (None, None)
    assert answers.gap == -2.5 - -4.5  # medians
    assert answers.shift is not None
    assert answers.shift.difference == -2.5 - -4.5  # means: -10 / 4 and -18 / 4
    assert answers.shift.spread == pytest.approx(np.std([-2, -3, -6, -7], ddof=1))
    for found, ours, theirs in (
        (truth, [0, 1, 2, 3], [0, 1, 2.5, -1]),
        (answers, [-1, -2, -3, -4], [-2, -3, -6, -7]),
    ):
        assert found.tofu_p == pytest.approx(stats.ks_2samp(ours, theirs).pvalue)
        assert found.distance.lower <= found.distance.D <= found.distance.upper


def test_swap_p_by_enumeration() -> None:
    """Every score of ours above every one of theirs: of 2^4 swaps only two, none and all, give D = 1. p = 1/8."""
    *_, answers = paired(OURS, FAR, BOUNDS)
    assert answers.distance.D == 1
    assert answers.p == pytest.approx(1 / 8, abs=0.03)  # drawn


def test_gap_is_negative_below_the_comparison() -> None:
    *_, answers = paired(FAR, OURS, BOUNDS)
    assert answers.gap == -50
    assert answers.shift is not None
    assert answers.shift.difference == -50


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        (OURS, PLAIN, ["answer log-prob"]),
        (PLAIN, THEIRS, ["answer log-prob"]),
        (OURS, rows([-2.0] * 4, truth=[1.0] * 4, answer_tokens=[1, 1, 1, 2]), ["truth ratio"]),
        (OURS, rows([-2.0] * 4, answer_tokens=[1, 1, 1, 2]), []),
    ],
    ids=["no-ratios-there", "no-ratios-here", "other-tokens", "neither"],
)
def test_only_what_both_have_is_compared(ours: ScoreSet, theirs: ScoreSet, expected: list[str]) -> None:
    """Log-probabilities per token of another tokenizer are left out; truth ratios are still comparable."""
    assert names(paired(ours, theirs, BOUNDS)) == expected


def test_rows_of_a_subject_are_resampled_together() -> None:
    subjects = [row // 2 for row in range(24)]
    ours, theirs = ([-float(row % 7 + shift) for row in range(24)] for shift in (0, 1))
    (plain,) = paired(rows(ours), rows(theirs), BOUNDS)
    (grouped,) = paired(rows(ours, subjects=subjects), rows(theirs, subjects=subjects), BOUNDS)
    assert (plain.distance.unit, grouped.distance.unit) == ("rows", "subjects")
    assert grouped.distance.D == plain.distance.D


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(-20, 0), st.integers(-20, 0)), min_size=1, max_size=12), st.randoms())
def test_order_of_rows_does_not_matter(pairs: list[tuple[int, int]], random: Any) -> None:
    def compared(values: list[tuple[int, int]]) -> list[Closeness]:
        ours, theirs = rows([float(a) for a, _ in values]), rows([float(b) for _, b in values])
        return list(paired(ours, theirs, BOUNDS))

    shuffled = list(pairs)
    random.shuffle(shuffled)
    (first,), (second,) = compared(pairs), compared(shuffled)
    assert first.distance == second.distance
    assert (first.p, first.tofu_p, first.gap) == (second.p, second.tofu_p, second.gap)


# Which pairs


def test_reference_comes_before_the_holdout() -> None:
    unlearned = model("unlearned", OURS, holdout=FAR)
    found = collected(unlearned, "holdout", references=(model("reference", THEIRS),))
    assert figures(found)["answer log-prob"].distance.D == 0.5  # against THEIRS, not FAR
    assert names(distances.measure(found, BOUNDS)) == ["truth ratio", "answer log-prob"]


def test_against_the_holdout_without_a_reference() -> None:
    unseen = rows([-2.0, -3.0, -6.0])
    found = collected(model("unlearned", OURS, holdout=unseen), "holdout", model("start", FAR, holdout=unseen))
    (answers,) = distances.measure(found, BOUNDS)
    # Shares at or below x, ours and theirs: -6: 0, 1/3; -4: 1/4, 1/3; -3: 2/4, 2/3; -2: 3/4, 1. The largest is 1/3.
    distance = answers.distance.D
    assert distance == pytest.approx(1 / 3)
    assert (answers.distance.n, answers.p, answers.gap) == (3, None, -2.5 - -3.0)
    assert answers.shift is not None
    assert answers.shift.difference == pytest.approx(-2.5 + 11 / 3)
    assert answers.tofu_p == pytest.approx(stats.ks_2samp([-1, -2, -3, -4], [-2, -3, -6]).pvalue)
    (started,) = control.measure(found, BOUNDS)
    assert started.distance.D == 1  # the start model's own scores of the unseen rows count


@pytest.mark.parametrize("kind", ["none", "holdout"])
def test_nothing_to_compare_with(kind: Any) -> None:
    unlearned = model("unlearned", OURS, **({"holdout": FAR} if kind == "none" else {}))
    assert list(distances.measure(collected(unlearned, kind), BOUNDS)) == []


def test_the_start_model_is_compared_with_the_same() -> None:
    found = collected(model("unlearned", THEIRS), "model", model("start", OURS), (model("reference", THEIRS),))
    assert [one.distance.D for one in control.measure(found, BOUNDS)] == [0.25, 0.5]
    assert [closeness.distance.D for closeness in distances.measure(found, BOUNDS)] == [0, 0]
    assert list(control.measure(replace(found, start=None), BOUNDS)) == []


def test_rephrased_rows_are_compared_with_the_references_own() -> None:
    unlearned = model("unlearned", OURS, rephrased_1=OURS, rephrased_2=OURS)
    reference = model("reference", OURS, rephrased_1=FAR, rephrased_2=THEIRS)
    found = collected(unlearned, "model", references=(reference,), rephrased=("a.jsonl", "b.jsonl"))
    shown = {name: closeness.distance.D for name, closeness in figures(found).items() if "answer" in name}
    assert shown == {
        "answer log-prob": 0,
        "answer log-prob, a.jsonl": 1,
        "answer log-prob, b.jsonl": 0.5,
    }


def test_a_precision_is_compared_with_the_reference_at_it() -> None:
    models = {"unlearned": model("unlearned", FAR), "reference": model("reference", FAR), "start": model("start", OURS)}
    found = against(OURS, OURS, precisions={"nf4": models})
    assert {name: closeness.distance.D for name, closeness in figures(found).items()} == {
        "truth ratio": 0,
        "answer log-prob": 0,
        "truth ratio, nf4": 0,
        "answer log-prob, nf4": 0,
    }


def test_a_precision_is_compared_with_the_full_reference_where_that_cannot_be_loaded() -> None:
    scored = {"nf4": model("unlearned", FAR), "bf16": model("unlearned", THEIRS)}
    found = against(OURS, OURS, precisions={name: {"unlearned": scores} for name, scores in scored.items()})
    shown = {name: closeness.distance.D for name, closeness in figures(found).items() if "answer" in name}
    assert shown == {"answer log-prob": 0, "answer log-prob, nf4": 1, "answer log-prob, bf16": 0.5}


# The noise floor


@pytest.mark.parametrize("count", [0, 1])
def test_no_floor_without_a_second_reference(count: int) -> None:
    found = collected(model("unlearned", OURS), "model", references=(model("reference", OURS),) * count)
    assert noise_floor.measure(found, BOUNDS) is None


def floor(*references: ScoreSet) -> dict[str, float]:
    found = collected(
        model("unlearned", FAR), "model", references=tuple(model("reference", rows) for rows in references)
    )
    return {closeness.name: closeness.distance.D for closeness in noise_floor.measure(found, BOUNDS) or ()}


def test_floor_is_the_farthest_from_the_first() -> None:
    assert floor(OURS, THEIRS) == {"truth ratio": 0.25, "answer log-prob": 0.5}
    for references in ((OURS, THEIRS, FAR), (OURS, FAR, THEIRS)):
        assert floor(*references) == {"truth ratio": 1, "answer log-prob": 1}
    assert floor(OURS, OURS, THEIRS) == {"truth ratio": 0.25, "answer log-prob": 0.5}
    # Both others are half away from the first, and all the way from each other.
    between = rows([-1.0, -2.0, -51.0, -52.0])
    assert floor(between, OURS, FAR) == {"answer log-prob": 0.5}


def test_every_score_has_its_own_farthest_pair() -> None:
    mixed = rows([-1.0, -2.0, -3.0, -4.0], truth=[60.0, 61.0, 62.0, 63.0])  # answers like OURS, ratios like FAR
    assert floor(OURS, THEIRS, mixed) == {"truth ratio": 1, "answer log-prob": 0.5}
    assert floor(OURS, mixed, THEIRS) == {"truth ratio": 1, "answer log-prob": 0.5}


def test_floor_keeps_what_only_some_references_can_be_compared_by() -> None:
    tokens = rows([-1.0] * 4, truth=[0.0, 1.0, 2.0, 3.0], answer_tokens=[2, 1, 1, 1])
    assert floor(OURS, tokens) == {"truth ratio": 0}
    assert floor(OURS, tokens, THEIRS) == {"truth ratio": 0.25, "answer log-prob": 0.5}


# Relearning


def test_relearned_models_by_hand() -> None:
    models = {"unlearned": model("unlearned", OURS), "reference": model("reference", THEIRS)}
    found = relearning.measure(against(FAR, FAR, altered={"relearned": models}), BOUNDS)
    assert found is not None
    assert (found.shift.difference, found.distance.D, found.distance.n) == (2.0, 0.5, 4)


@pytest.mark.parametrize("roles", [[], ["unlearned"], ["reference"], ["start", "unlearned"]])
def test_relearning_needs_both_models(roles: list[Any]) -> None:
    assert (
        relearning.measure(
            against(OURS, OURS, altered={"relearned": {role: model(role, OURS) for role in roles}}), BOUNDS
        )
        is None
    )


def test_relearned_models_of_other_tokens_are_not_compared() -> None:
    other = rows([-1.0] * 4, answer_tokens=[2, 1, 1, 1])
    models = {"unlearned": model("unlearned", OURS), "reference": model("reference", other)}
    assert relearning.measure(against(OURS, OURS, altered={"relearned": models}), BOUNDS) is None
