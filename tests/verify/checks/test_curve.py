"""The curve over training: hand-worked distances, and what cannot be compared."""

from __future__ import annotations

from dataclasses import replace

import pytest
from scipy import stats

from forgetctl.recipe.bounds import Bounds
from forgetctl.verify.checks.curve import Curve, measure
from forgetctl.verify.collected import Collected, Tracked
from tests.verify.handmade import against, model, rows

BOUNDS = Bounds()
REFERENCE = [-4.0, -5.0, -6.0, -7.0]


def curve(collected: Collected) -> Curve | None:
    return measure(collected, BOUNDS)


def tracked(collected: Collected, *levels: float, **lists: object) -> Collected:
    points = [
        Tracked(10 * number, float(number), model("unlearned", rows([level] * 4, **lists), retain=rows([-0.5, -1.5])))
        for number, level in enumerate(levels, 1)
    ]
    return replace(collected, tracked=tuple(points))


def test_points_of_answers() -> None:
    found = tracked(against(rows([-5.5] * 4), rows(REFERENCE)), -0.1, -5.5, -9.0)
    found = replace(found, start=model("start", rows([-0.1] * 4)))
    made = curve(found)
    assert made is not None
    assert made.score == "answer log-prob"
    assert [(point.step, point.epoch) for point in made.points] == [(0, 0.0), (10, 1.0), (20, 2.0), (30, 3.0)]
    # Everything above the reference, then between its second and third value, then below it.
    assert [point.D for point in made.points] == [1.0, 1.0, 0.5, 1.0]
    expected = stats.ks_2samp([-5.5] * 4, REFERENCE).pvalue
    assert made.points[2].p == pytest.approx(expected)
    assert made.points[1].forget_probability == pytest.approx(0.904837418)
    assert made.points[1].retain_probability == pytest.approx((0.60653066 + 0.22313016) / 2)
    assert made.points[0].retain_probability is None


def test_truth_ratios_where_everybody_has_them() -> None:
    ratios = [0.1, 0.2, 0.3, 0.4]
    found = against(rows([-1.0] * 4, truth=ratios), rows([-1.0] * 4, truth=[0.3, 0.4, 0.5, 0.6]))
    made = curve(tracked(found, -1.0, truth=ratios))
    assert made is not None
    assert (made.score, made.points[0].D) == ("truth ratio", 0.5)
    other = rows([-1.0] * 4, truth=ratios)
    fewer = other.model_copy(update={"perturbed_tokens": [[2]] * 4})
    made = curve(replace(tracked(found, -1.0, truth=ratios), start=model("start", fewer)))
    assert made is not None
    assert made.score == "answer log-prob"


def test_without_a_reference_there_is_no_distance() -> None:
    made = curve(tracked(against(rows([-1.0] * 4), None), -1.0))
    assert made is not None
    assert (made.points[0].D, made.points[0].p) == (None, None)


def test_other_tokens_are_not_compared() -> None:
    found = against(rows([-1.0] * 4), rows(REFERENCE, answer_tokens=[2] * 4))
    made = curve(tracked(found, -1.0))
    assert made is not None
    assert made.points[0].D is None


def test_a_run_that_was_not_tracked_has_no_curve() -> None:
    assert curve(against(rows([-1.0] * 4), rows(REFERENCE))) is None
