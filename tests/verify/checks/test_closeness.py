"""Checks of closeness one by one: limits, the noise floor, attacks, and what the texts say."""

from __future__ import annotations

import pytest

from forgetctl.recipe.bounds import Bounds
from forgetctl.verify.checks import comparison, control, noise_floor, relearning
from forgetctl.verify.checks._closeness import check_distance, check_mean
from forgetctl.verify.checks.distances import ANSWERS, TRUTH_RATIO
from forgetctl.verify.findings import Check
from forgetctl.verify.registry import Findings
from forgetctl.verify.statistics.distances import paired_distance
from forgetctl.verify.verdict import judge
from tests.verify.measured import (
    BORDERLINE,
    CLEAN,
    DIFFERENT,
    EQUAL,
    FEW_ROWS,
    HELD_OUT,
    HOLDOUT,
    NOTHING,
    OTHER_MEAN,
    REFERENCE,
    SAME_MEAN,
    Closeness,
    Interval,
    Relearned,
    Shift,
    answers,
    judged,
    ratios,
    replace,
)

BOUNDS = Bounds()


def spread(lower: float, estimate: float, upper: float) -> Interval:
    return Interval(estimate, lower, upper, 400, "rows", 0.1)


def distance(interval: Interval, gap: float | None = None) -> Check:
    return check_distance(replace(answers, distance=interval, gap=gap), BOUNDS)


def floored(finding: tuple[Closeness, ...], among: Findings = CLEAN) -> Check:
    (check,) = judged(noise_floor.MEASURE, finding, among=among)
    return check


# Distances


@pytest.mark.parametrize(
    ("interval", "code"),
    [
        (spread(0.0, 0.1, 0.15), "UNDERPOWERED"),  # upper = delta is not below it
        (spread(0.0, 0.1, 0.1499), "EQUIVALENT"),
        (spread(0.15, 0.2, 0.3), "NOT_EQUIVALENT"),  # lower = delta is not above it
        (spread(0.1501, 0.2, 0.3), "DIFFERENT"),
        (spread(0.1, 0.15, 0.3), "NOT_EQUIVALENT"),
        (spread(0.1, 0.1499, 0.3), "UNDERPOWERED"),
    ],
)
def test_limits_of_the_distance(interval: Interval, code: str) -> None:
    assert distance(interval).code == code


@pytest.mark.parametrize(
    ("gap", "code", "words"),
    [
        (None, "DIFFERENT", "differs from the comparison"),
        (-0.1, "OVER_FORGOTTEN", "lies below where a model that never saw the rows would be"),
        (0.1, "STILL_KNOWN", "is higher than a model that never saw the rows would give"),
    ],
)
def test_the_direction_of_a_difference(gap: float | None, code: str, words: str) -> None:
    check = distance(DIFFERENT, gap)
    assert (check.status, check.code) == ("fail", code)
    assert words in check.text


def test_texts_hold_the_figures() -> None:
    figure = "(D = 0.050, 0.000 to 0.120, n = 400; limit 0.15)"
    assert distance(EQUAL).text == f"The answer log-prob is that of the comparison {figure}."
    assert "D = 0.400, 0.300 to 0.500, n = 400; limit 0.15" in distance(DIFFERENT, 1.0).text
    assert "D = 0.200, 0.080 to 0.300, n = 100; limit 0.15" in distance(BORDERLINE).text
    # 10 rows, noise 0.6: 10 (0.6 / 0.15)^2
    assert "about 160 rows like these would settle it" in distance(FEW_ROWS).text


def test_more_identical_rows_are_asked_for_than_there_are() -> None:
    found = paired_distance(range(20), range(20))
    check = distance(found)
    assert check.code == "UNDERPOWERED"
    assert "about 0 rows" not in check.text


# The noise floor


def test_a_reference_that_is_none_disarms_no_failure() -> None:
    """It differs surely from the other one, which is said beside the failure."""
    far = (replace(ratios, distance=DIFFERENT), replace(answers, distance=DIFFERENT))
    found = judge(
        replace(CLEAN, distances=(ratios, replace(answers, distance=DIFFERENT, gap=0.4)), noise_floor=far), BOUNDS
    )
    assert found.outcome == "FAIL"
    assert {"STILL_KNOWN", "REFERENCES_DIFFER"} <= {check.code for check in found.checks}


@pytest.mark.parametrize(
    ("interval", "shift", "code"),
    [
        (EQUAL, SAME_MEAN, "REFERENCES_AGREE"),
        (EQUAL, None, "REFERENCES_AGREE"),
        (EQUAL, OTHER_MEAN, "REFERENCES_OPEN"),
        (FEW_ROWS, SAME_MEAN, "REFERENCES_OPEN"),
        (DIFFERENT, SAME_MEAN, "REFERENCES_DIFFER"),
    ],
)
def test_references_must_not_surely_differ(interval: Interval, shift: Shift | None, code: str) -> None:
    check = floored((ratios, replace(answers, distance=interval, shift=shift)))
    assert check.code == code
    statuses = {"REFERENCES_AGREE": "pass", "REFERENCES_OPEN": "reported", "REFERENCES_DIFFER": "unknown"}
    assert check.status == statuses[code]
    assert f"answer log-prob D = {interval.D:.3f}, to {interval.upper:.3f}" in check.text


@pytest.mark.parametrize(
    ("floor", "missing"),
    [
        ((), f"{ANSWERS}, {TRUTH_RATIO}"),
        ((ratios,), ANSWERS),
        ((answers,), TRUTH_RATIO),
        ((answers, answers), TRUTH_RATIO),
    ],
)
def test_references_that_were_not_compared_on_all_scores_do_not_agree(
    floor: tuple[Closeness, ...], missing: str
) -> None:
    check = floored(floor)
    assert (check.status, check.code) == ("reported", "NOT_MEASURED")
    assert check.text == f"The references could not be compared with each other: no {missing}."


def test_unseen_rows_need_no_truth_ratio_in_the_floor() -> None:
    assert floored((answers,), among=HOLDOUT).code == "REFERENCES_AGREE"
    # What is there must not differ, required or not.
    far = replace(ratios, distance=DIFFERENT)
    assert floored((answers, far), among=HOLDOUT).code == "REFERENCES_DIFFER"


# Means


@pytest.mark.parametrize(
    ("lower", "upper", "code"),
    [
        (-0.1, 0.3782, "MEAN_EQUIVALENT"),  # the margin is 0.378207
        (-0.1, 0.3783, "MEAN_NOT_EQUIVALENT"),
        (-0.3782, 0.1, "MEAN_EQUIVALENT"),
        (-0.3783, 0.1, "MEAN_NOT_EQUIVALENT"),
        (-float("inf"), float("inf"), "MEAN_NOT_EQUIVALENT"),
        (float("nan"), float("nan"), "MEAN_NOT_EQUIVALENT"),
    ],
)
def test_limits_of_the_mean(lower: float, upper: float, code: str) -> None:
    assert check_mean(answers, Shift(0.0, lower, upper, 1.0, 400), BOUNDS).code == code


def test_the_margin_is_in_the_scores_own_spread() -> None:
    wide = Shift(0.1, -0.2, 0.5, 2.0, 400)
    check = check_mean(answers, wide, BOUNDS)
    assert check.code == "MEAN_EQUIVALENT"
    assert "+0.100 nats, -0.200 to +0.500; limit 0.756 either way" in check.text
    assert check_mean(answers, replace(wide, spread=1.0), BOUNDS).code == "MEAN_NOT_EQUIVALENT"


# Comparison and positive control


def test_comparison() -> None:
    codes = [judged(comparison.MEASURE, kind)[0].code for kind in (REFERENCE, HELD_OUT, NOTHING)]
    assert codes == ["REFERENCE", "HOLDOUT", "NO_REFERENCE"]
    assert "weaker evidence" in judged(comparison.MEASURE, HELD_OUT)[0].text
    (none,) = judged(comparison.MEASURE, NOTHING)
    assert none.status == "unknown"
    assert "--reference" in none.text


@pytest.mark.parametrize(("lower", "code"), [(0.15, "NO_SENSITIVITY"), (0.1501, "SENSITIVE")])
def test_limit_of_the_positive_control(lower: float, code: str) -> None:
    (check,) = judged(control.MEASURE, (ratios, replace(answers, distance=spread(lower, 0.3, 0.5))))
    assert check.code == code
    assert "truth ratio D = 0.050, n = 400; answer log-prob D = 0.300, n = 400" in check.text


# Relearning


@pytest.mark.parametrize(
    ("shift", "interval", "code"),
    [
        (SAME_MEAN, EQUAL, "NOT_RELEARNED"),
        (OTHER_MEAN, EQUAL, "RELEARNING_UNSURE"),
        (OTHER_MEAN, DIFFERENT, "RELEARNED"),
        (OTHER_MEAN, spread(0.15, 0.2, 0.3), "RELEARNING_UNSURE"),  # lower = delta is not above it
        (replace(OTHER_MEAN, lower=0.0001), DIFFERENT, "RELEARNED"),
        (replace(OTHER_MEAN, lower=0.0), DIFFERENT, "RELEARNING_UNSURE"),  # it may differ without knowing more
        (replace(OTHER_MEAN, lower=-0.1), DIFFERENT, "RELEARNING_UNSURE"),
        (Shift(-1.0, -1.2, -0.8, 1.0, 400), DIFFERENT, "NOT_RELEARNED"),  # it knows less than the reference
        (replace(OTHER_MEAN, upper=float("nan")), EQUAL, "RELEARNING_UNSURE"),
    ],
)
def test_relearning(shift: Shift, interval: Interval, code: str) -> None:
    (check,) = judged(relearning.MEASURE, Relearned(shift, interval))
    assert check.code == code
    assert f"{shift.difference:+.3f} nats" in check.text
    assert "n = 400; limit 0.378" in check.text
