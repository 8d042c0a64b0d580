"""Which membership attacks the scores allow, and by what scores they are made."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from forgetctl.model.scores import ScoreSet
from forgetctl.recipe.bounds import Bounds
from forgetctl.verify.checks import attacks
from forgetctl.verify.checks.attacks import _privacy_leak as privacy_leak
from forgetctl.verify.findings import Check
from forgetctl.verify.statistics.membership import ATTACKS
from tests.verify.handmade import against, collected, model, rows
from tests.verify.measured import HIDDEN, Attack, attacked, judged, replace

BOUNDS = Bounds()
# Scores that each attack sees: loss is logp / tokens; the other two as they are.
FORGET = rows(
    [-2.0, -4.0, -9.0],
    answer_tokens=[2, 2, 3],  # loss: -1, -2, -3
    min_k=[-5.0, -6.0, -7.0],
    min_k_plus_plus=[0.5, 0.0, -0.5],
)
HOLDOUT = rows(
    [-2.0, -10.0],
    answer_tokens=[1, 4],  # loss: -2, -2.5
    min_k=[-8.0, -9.0],
    min_k_plus_plus=[1.0, 2.0],
)


def made(forget: ScoreSet, holdout: ScoreSet | None, **more: Any) -> tuple[Attack, ...]:
    sets = {} if holdout is None else {"holdout": holdout}
    found = attacks.measure(collected(model("unlearned", forget, **sets), "holdout", **more), BOUNDS)
    return found.by if found else ()


def test_every_attack_by_hand() -> None:
    """Won pairs of six, ties a half. loss: 2 + 1 1/2 + 0; min-k: all; min-k++: none."""
    found = made(FORGET, HOLDOUT)
    assert [attack.name for attack in found] == [name for name in ATTACKS if name != "calibrated"]
    assert [attack.auc for attack in found] == pytest.approx([3.5 / 6, 1, 0])
    for attack in found:
        assert 0 <= attack.lower <= attack.auc <= attack.upper <= 1
        assert (attack.reference, attack.difference, attack.difference_lower) == (None, None, None)


def test_no_attack_without_unseen_rows() -> None:
    assert made(FORGET, None) == ()
    assert attacks.measure(against(FORGET, FORGET), BOUNDS) is None


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize(("name", "lost"), [("min_k_plus_plus", "min_k_plus_plus"), ("min_k", "min_k")])
def test_attacks_that_either_set_does_not_allow_are_left_out(side: int, name: str, lost: str) -> None:
    sets = [FORGET, HOLDOUT]
    sets[side] = sets[side].model_copy(update={name: None})
    assert [attack.name for attack in made(*sets)] == [other for other in ATTACKS[:3] if other != lost]


def test_an_evaluation_log_allows_the_loss_attack_only() -> None:
    assert [attack.name for attack in made(rows([-1.0]), rows([-2.0]))] == ["loss"]


def test_difference_from_the_reference() -> None:
    reference = model("reference", HOLDOUT.model_copy(update={"names": ["1", "2"]}), holdout=FORGET)
    (found, *_) = made(HOLDOUT, FORGET, references=(reference,))
    assert (found.reference, found.difference) == (found.auc, 0)
    assert found.difference_lower is not None
    assert found.difference_upper is not None
    assert found.difference_lower < 0 < found.difference_upper  # a few equal rows prove no equality
    turned = rows([-3.0, -2.0, -1.0])
    seen, unseen = rows([-1.0, -2.0, -3.0]), rows([-2.5, -2.5])
    found, _ = made(seen, unseen, references=(model("reference", turned, holdout=rows([-1.5, -1.5])),))
    assert (found.auc, found.reference, found.difference) == pytest.approx((2 / 3, 1 / 3, 1 / 3))
    assert found.difference_lower is not None
    assert found.difference_upper is not None
    assert found.difference_lower < 1 / 3 < found.difference_upper


@pytest.mark.parametrize(
    "reference",
    [
        model("reference", FORGET),
        model("reference", FORGET, retain=HOLDOUT),
        model(
            "reference", rows([-1.0] * 3), holdout=HOLDOUT.model_copy(update={"min_k": None, "min_k_plus_plus": None})
        ),
    ],
    ids=["no-unseen", "retain-only", "no-lists"],
)
def test_a_reference_without_the_same_scores_gives_no_differences(reference: Any) -> None:
    """The attacks on the verified model are still reported."""
    found = {attack.name: attack for attack in made(FORGET, HOLDOUT, references=(reference,))}
    assert list(found)[:3] == list(ATTACKS[:3])
    assert found["min_k"].auc == 1
    assert found["min_k"].reference is None
    assert found["min_k"].difference_upper is None
    assert privacy_leak(tuple(found.values())) is None


def test_only_the_first_reference_is_compared_and_is_the_shadow() -> None:
    """A second one that knows the rows, or is of another kind, would excuse or accuse any model."""
    references = (model("reference", FORGET, holdout=HOLDOUT), model("reference", HOLDOUT, holdout=FORGET))
    found = made(FORGET, HOLDOUT, references=references)
    assert [attack.name for attack in found] == list(ATTACKS)
    assert [attack.difference for attack in found] == [0] * 4
    assert (found[3].auc, found[3].reference) == (0.5, 0.5)  # all less itself


def test_how_exposed_the_retain_rows_are_by_model() -> None:
    """-1 and -3 against -2: one of two; the start model's -1 and -1: both."""
    sets = {"holdout": rows([-2.0])}
    unlearned = model("unlearned", FORGET, **sets, retain=rows([-1.0, -3.0]))
    start = model("start", FORGET, **sets, retain=rows([-1.0, -1.0]))
    found = attacks.measure(collected(unlearned, "holdout", start), BOUNDS)
    assert found is not None
    assert found.retained == {"start": 1.0, "unlearned": 0.5}


def test_identical_rows_count_once() -> None:
    twice = rows([-1.0, -1.0, -3.0], copies=[0, 0, 1])
    assert made(twice, rows([-2.0]))[0].auc == 0.5


# What is concluded

SHORT = {"most": 0.2, "noise": 0.05}


def judgement(*found: Attack) -> Check:
    (check,) = judged(attacks.MEASURE, attacked(*found))
    return check


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({}, "pass", "MEMBERS_HIDDEN"),
        ({"difference_lower": 0.11}, "fail", "MEMBERS_RECOGNISED"),
        ({"difference_lower": 0.105}, "pass", "MEMBERS_HIDDEN"),  # surely above .10542
        ({"difference_upper": -0.11}, "trace", "REMOVAL_VISIBLE"),
        ({"difference_upper": -0.105}, "pass", "MEMBERS_HIDDEN"),
        (SHORT, "unknown", "MEMBERS_UNSURE"),
        ({"most": 0.2, "noise": 0.11}, "reported", "ATTACKS_REPORTED"),
    ],
)
def test_either_side_counts(change: dict[str, float], status: str, code: str) -> None:
    check = judgement(replace(HIDDEN, **change))
    assert (check.status, check.code) == (status, code)
    assert "loss AUC 0.520, there 0.510; limit 0.105 from the reference's" in check.text


def test_an_attack_that_few_rows_cannot_show_does_not_hold_back_the_others() -> None:
    few = replace(HIDDEN, name="calibrated", most=0.4, noise=0.3)
    check = judgement(HIDDEN, few)
    assert check.status == "pass"
    assert "too few rows to show it of calibrated" in check.text
    assert judgement(HIDDEN, replace(few, difference_lower=0.2)).status == "fail"


@pytest.mark.parametrize(("most", "status"), [(0.1, "pass"), (0.11, "unknown")])
def test_without_a_reference_only_guessing_passes(most: float, status: str) -> None:
    alone = replace(HIDDEN, reference=None, difference=None, difference_lower=None, difference_upper=None, most=most)
    check = judgement(alone)
    assert check.status == status
    assert "limit 0.105 from guessing" in check.text


# PrivLeak


def leak(ours: list[float], theirs: list[float]) -> float | None:
    """With four unseen rows at 0."""
    unseen = rows([0.0] * 4, min_k=[0.0] * 4)
    seen, reference = (rows([0.0] * len(values), min_k=values) for values in (ours, theirs))
    return privacy_leak(made(seen, unseen, references=(model("reference", reference, holdout=unseen),)))


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        ([1, 1, 1, 1], [1, 1, -1, -1], -1.0),  # AUC 1 against 1/2: still known. (1/2 - 1) / (1 - 1/2)
        ([1, 1, 1, -1], [1, 1, -1, -1], -0.5),
        ([1, 1, -1, -1], [1, 1, -1, -1], 0.0),
        ([-1, -1, -1, -1], [1, 1, -1, -1], 1.0),  # over-forgotten
        ([-1, -1, -1, -1], [1, 1, 1, -1], 3.0),  # (3/4 - 0) / (1 - 3/4)
        ([1, 1, -1, -1], [1, 1, 1, 1], None),  # nothing to relate to
    ],
)
def test_priv_leak_is_negative_where_rows_are_still_known(
    ours: list[float], theirs: list[float], expected: float | None
) -> None:
    found = leak(ours, theirs)
    assert found == (None if expected is None else pytest.approx(expected))


def test_priv_leak_is_of_min_k_alone() -> None:
    assert privacy_leak(()) is None
    assert privacy_leak((Attack("loss", 0.9, 0.8, 1.0, 0.5),)) is None
    assert privacy_leak((Attack("loss", 0.9, 0.8, 1.0, 0.5), Attack("min_k", 0.5, 0.4, 0.6, 0.5))) == 0
    assert privacy_leak((Attack("min_k", 0.9, 0.8, 1.0),)) is None


SCORES = st.lists(st.integers(-6, 0).map(float), min_size=1, max_size=10)


@settings(max_examples=50, deadline=None)
@given(SCORES, SCORES, st.randoms())
def test_auc_is_mann_whitneys_in_any_order_of_rows(forget: list[float], holdout: list[float], random: Any) -> None:
    (found,) = made(rows(forget), rows(holdout))
    assert found.auc == pytest.approx(stats.mannwhitneyu(forget, holdout).statistic / (len(forget) * len(holdout)))
    random.shuffle(forget)
    random.shuffle(holdout)
    assert made(rows(forget), rows(holdout))[0].auc == found.auc


def test_bounds_do_not_depend_on_the_order_of_rows() -> None:
    random = np.random.default_rng(5)
    forget, holdout, theirs, unseen = (random.normal(-2, 1, size) for size in (40, 30, 40, 30))
    order, other = random.permutation(40), random.permutation(30)
    found = []
    for first, second in ((np.arange(40), np.arange(30)), (order, other)):
        reference = model("reference", rows(theirs[first]), holdout=rows(unseen[second]))
        for one in made(rows(forget[first]), rows(holdout[second]), references=(reference,)):
            found += [one.auc, one.lower, one.difference_lower, one.difference_upper, one.most, one.noise]
    assert found[: len(found) // 2] == pytest.approx(found[len(found) // 2 :])
