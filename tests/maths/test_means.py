"""Means: equivalence of paired and unpaired scores, and relative changes."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from forgetctl.maths.means import (
    Change,
    equivalence_margin,
    paired_shift,
    relative_change,
    unpaired_shift,
)
from forgetctl.maths.resampling import Units
from forgetctl.maths.statistics import Levels

values = st.lists(st.floats(-100, 100), min_size=2, max_size=20)
LEVELS = Levels(0.01, 0.05)


# The margin


def test_margin_by_hand() -> None:
    assert equivalence_margin(0.15) == pytest.approx(2 * stats.norm.ppf(0.575))
    assert round(equivalence_margin(0.15), 4) == 0.3782
    assert round(equivalence_margin(0.2), 4) == 0.5067  # 2 Phi^-1(.6) = 2 x 0.25335


@pytest.mark.parametrize("delta", [0.01, 0.1, 0.2])
def test_margin_shifts_normals_until_they_are_delta_apart(delta: float) -> None:
    grid = np.linspace(-6, 6, 5001)
    apart = stats.norm.cdf(grid) - stats.norm.cdf(grid - equivalence_margin(delta))
    assert apart.max() == pytest.approx(delta, abs=1e-6)


# Shifts


def test_paired_shift_by_hand() -> None:
    # Differences 1, 2, 3, 6: mean 3, variance (4 + 1 + 0 + 9) / 3 = 14/3, error sqrt(14/3/4); t .99 with 3: 4.5407.
    found = paired_shift([2, 4, 6, 10], [1, 2, 3, 4])
    slack = 4.540703 * math.sqrt(14 / 12)
    assert (found.difference, found.n) == (3.0, 4)
    assert (found.lower, found.upper) == pytest.approx((3 - slack, 3 + slack), abs=1e-5)
    assert found.spread == pytest.approx(math.sqrt(5 / 3))  # of 1, 2, 3, 4


@pytest.mark.parametrize("n", [2, 7, 60])
def test_paired_bounds_are_those_of_scipy(n: int) -> None:
    a, b = np.random.default_rng(n).normal(size=(2, n))
    found = paired_shift(a, b, levels=Levels(passing=0.025))
    expected = stats.ttest_rel(a, b).confidence_interval(0.95)
    assert (found.lower, found.upper) == pytest.approx((expected.low, expected.high))


def test_unpaired_shift_by_hand() -> None:
    # Means 2 and 5; variances 1/1 and 20/3: errors 1/3 and (20/3)/4 = 5/3; smaller sample: t .99 with 2 is 6.9646.
    found = unpaired_shift([1, 2, 3], [2, 4, 6, 8])
    slack = 6.964557 * math.sqrt(1 / 3 + 5 / 3)
    assert (found.difference, found.n) == (-3.0, 3)
    assert (found.lower, found.upper) == pytest.approx((-3 - slack, -3 + slack), abs=1e-5)
    assert found.spread == pytest.approx(math.sqrt(20 / 3))


def test_unpaired_bounds_are_no_narrower_than_welchs() -> None:
    a, b = np.random.default_rng(1).normal(size=30), 3 * np.random.default_rng(2).normal(size=12)
    found = unpaired_shift(a, b, levels=Levels(passing=0.025))
    expected = stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.95)
    assert found.lower <= expected.low
    assert found.upper >= expected.high
    assert found.upper - found.lower < 1.1 * (expected.high - expected.low)


def test_errors_of_subjects_by_hand() -> None:
    """Eleven rows of ten subjects: the first subject's two differences count together."""
    differences = np.array([5.0, 7.0, *range(9)])
    units = Units.of(11, [0, 0, *range(1, 10)])
    mean = 48 / 11  # (12 + 36) / 11
    totals = [12 - 2 * mean, *(value - mean for value in range(9))]
    error = math.sqrt(sum(total**2 for total in totals) * 10 / 9) / 11
    found = paired_shift(differences, np.zeros(11), units)
    slack = float(stats.t.ppf(0.99, 9)) * error
    assert (found.lower, found.upper) == pytest.approx((mean - slack, mean + slack))
    other = unpaired_shift(differences, [0.0] * 11, units, units)
    assert (other.lower, other.upper) == pytest.approx((found.lower, found.upper))


def test_copies_of_a_row_are_no_evidence() -> None:
    a, b = np.random.default_rng(4).normal(size=(2, 12))
    copies = Units.of(60, copies=list(range(12)) * 5)
    once, again = paired_shift(a, b), paired_shift(np.tile(a, 5), np.tile(b, 5), copies)
    assert (again.lower, again.upper) == pytest.approx((once.lower, once.upper))


@settings(max_examples=50, deadline=None)
@given(values, st.integers(0, 99))
def test_shift_changes_sign_with_its_sides_and_ignores_the_order(first: list[float], seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(first))
    a, b = np.array(first), np.array(first)[order] * 0.5 + 1
    for measure in (paired_shift, unpaired_shift):
        one, other, mixed = measure(a, b), measure(b, a), measure(a[order], b[order])
        assert (other.difference, other.lower, other.upper) == pytest.approx(
            (-one.difference, -one.upper, -one.lower), abs=1e-9
        )
        assert (mixed.difference, mixed.upper) == pytest.approx((one.difference, one.upper), abs=1e-9)


@pytest.mark.parametrize("measure", [paired_shift, unpaired_shift])
def test_one_row_bounds_nothing(measure: Callable[..., object]) -> None:
    found = paired_shift([2.0], [1.0]) if measure is paired_shift else unpaired_shift([2.0], [1.0])
    assert (found.difference, found.lower, found.upper) == (1.0, -math.inf, math.inf)
    assert found.spread == 0.0


@pytest.mark.parametrize("correlation", [0.5, 0.99])
@pytest.mark.parametrize("n", [60, 200])
def test_means_at_the_margin_are_called_equivalent_at_the_level_only(correlation: float, n: int) -> None:
    """1000 repetitions: one of a hundred, and five standard errors of 0.3 %."""
    random, margin = np.random.default_rng([2, n]), equivalence_margin(0.15)
    common, own = math.sqrt(correlation), math.sqrt(1 - correlation)
    wrong = 0
    for _ in range(1000):
        base, one, other = random.normal(size=(3, n))
        found = paired_shift(common * base + own * one + margin, common * base + own * other)
        wrong += -margin * found.spread < found.lower and found.upper < margin * found.spread
    assert wrong / 1000 <= 0.026


# Relative changes


def test_relative_change_by_hand() -> None:
    # Before 0.5, 1, 1.5 (mean 1), now 0.5, 0.8, 1.4 (mean 0.9): ratio 0.9. Residuals now - 0.9 before: .05, -.1, .05;
    # error sqrt((.0025 + .01 + .0025) 3/2) / 3 = 0.05. t with 2: 6.9646 at .99, 2.9200 at .95.
    found = relative_change([0.5, 0.8, 1.4], [0.5, 1.0, 1.5])
    assert (found.before, found.now, found.relative) == pytest.approx((1.0, 0.9, -0.1))
    assert found.lower == pytest.approx(-0.1 - 6.964557 * 0.05, abs=1e-5)
    assert found.upper == pytest.approx(-0.1 + 2.919986 * 0.05, abs=1e-5)
    assert (found.noise, found.n) == (pytest.approx(6.964557 * 0.05, abs=1e-5), 3)


def test_relative_change_of_subjects_agrees_with_the_delta_method() -> None:
    """Var(now / before) = (V_now - 2 r C + r^2 V_before) / before^2, with the covariances of subjects' totals."""
    random = np.random.default_rng(6)
    before = random.uniform(0.4, 1, 48)
    now = before * random.uniform(0.8, 1.0, 12).repeat(4)
    found = relative_change(now, before, Units.of(48, np.arange(12).repeat(4).tolist()))
    totals = np.array([now.reshape(12, 4).sum(1), before.reshape(12, 4).sum(1)])
    covariance = np.cov(totals) * 12 / 48**2
    ratio = now.mean() / before.mean()
    variance = covariance[0, 0] - 2 * ratio * covariance[0, 1] + ratio**2 * covariance[1, 1]
    slack = float(stats.t.ppf(0.95, 11)) * math.sqrt(variance) / before.mean()
    assert found.upper == pytest.approx(ratio - 1 + slack)
    assert found.upper > relative_change(now, before).upper


def test_relative_change_does_not_depend_on_the_unit_of_measurement() -> None:
    now, before = np.random.default_rng(7).uniform(0.5, 1, (2, 30))
    one, other = relative_change(now, before), relative_change(40 * now, 40 * before)
    assert (other.lower, other.relative, other.upper) == pytest.approx((one.lower, one.relative, one.upper))


def test_nothing_changed() -> None:
    found = relative_change([0.2, 0.9], [0.2, 0.9])
    assert (found.relative, found.lower, found.upper, found.noise) == (0.0, 0.0, 0.0, 0.0)


@pytest.mark.parametrize("before", [[0.0, 0.0], [-1.0, 0.5]])
def test_change_from_nothing(before: list[float]) -> None:
    with pytest.raises(ValueError, match="not positive before"):
        relative_change([1.0, 1.0], before)


def test_rows_needed_by_hand() -> None:
    # z .99 + z .90 = 3.608 is 1.55 times z .99: 100 (1.55 x 0.02 / 0.02)^2 = 240.25.
    assert Change(0.9, 0.9, 0.0, -0.02, 0.01, 100, 0.02).rows_needed(0.02) == 241
    assert float(stats.norm.ppf(0.99) + stats.norm.ppf(0.9)) / stats.norm.ppf(0.99) == pytest.approx(1.55, abs=0.002)


def test_rows_needed_after_one_row_is_some_number() -> None:
    assert relative_change([0.9], [0.9]).rows_needed(0.02) > 1


# What is refused


@pytest.mark.parametrize("measure", [paired_shift, unpaired_shift, relative_change])
@pytest.mark.parametrize("bad", [[], [float("nan"), 1.0], [[1.0, 2.0]]])
def test_samples_without_a_mean(measure: Callable[..., object], bad: list[float]) -> None:
    with pytest.raises(ValueError, match=r"expected a non-empty list of numbers|holds NaN"):
        measure(bad, [1.0, 2.0])


@pytest.mark.parametrize("measure", [paired_shift, relative_change])
def test_pairs_of_different_length(measure: Callable[..., object]) -> None:
    with pytest.raises(ValueError, match="paired samples differ in length"):
        measure([1.0, 2.0], [1.0, 2.0, 3.0])
