"""Means: equivalence of paired and unpaired scores, and relative changes."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from forgetctl.verify.statistics.distances import Levels
from forgetctl.verify.statistics.means import (
    Shift,
    cross_entropy_rise,
    equivalence_margin,
    mean_below,
    paired_shift,
    unpaired_shift,
)
from forgetctl.verify.statistics.resampling import Units

# Exact in binary, so that equal values have no spread at all.
eighths = st.lists(st.integers(-800, 800).map(lambda value: value / 8), min_size=2, max_size=20)
Floats = NDArray[np.float64]
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
    # Differences 1, 2, 3, 6: mean 3. The second sample's variance is 5/3, so its z^2 are 1.35, .15, .15, 1.35 and a row
    # adds (z^2 - 1) / 2 = .175, -.425, -.425, .175 to the sd, relative to it. Differences less 3 times that: .475,
    # 3.275, 4.275, 5.475, mean 3.375; squares 8.41 + .01 + .81 + 4.41 = 13.64, error sqrt(13.64/3/4); t .99 with 3
    # is 4.5407.
    found = paired_shift([2, 4, 6, 10], [1, 2, 3, 4])
    slack = 4.540703 * math.sqrt(13.64 / 12)
    assert (found.difference, found.n) == (3.0, 4)
    assert (found.lower, found.upper) == pytest.approx((3 - slack, 3 + slack), abs=1e-5)
    assert found.spread == pytest.approx(math.sqrt(5 / 3))  # of 1, 2, 3, 4


@pytest.mark.parametrize("n", [2, 7, 60])
def test_paired_bounds_of_equal_means_are_those_of_scipy(n: int) -> None:
    """Where there is no difference, it does not matter how well its unit is known."""
    a, b = np.random.default_rng(n).normal(size=(2, n))
    a -= (a - b).mean()
    found = paired_shift(a, b, levels=Levels(passing=0.025))
    expected = stats.ttest_rel(a, b).confidence_interval(0.95)
    assert (found.lower, found.upper) == pytest.approx((expected.low, expected.high))


def jackknife(a: Floats, b: Floats) -> float:
    """Standard error of mean(a - b) / sd(b), leaving out one row at a time."""
    n = a.size
    left = [np.delete(a - b, row).mean() / np.delete(b, row).std(ddof=1) for row in range(n)]
    return float(np.std(left) * math.sqrt(n - 1))


@pytest.mark.parametrize("shift", [-3.0, 0.4, 1.5])
def test_width_allows_for_the_spread_as_the_jackknife_does(shift: float) -> None:
    n = 500
    base, one, other = np.random.default_rng(8).normal(size=(3, n))
    a, b = base + 0.2 * one + shift, base + 0.2 * other
    found = paired_shift(a, b)
    slack = float(stats.t.ppf(0.99, n - 1)) * jackknife(a, b) * b.std(ddof=1)
    assert (found.upper - found.difference, found.difference - found.lower) == pytest.approx((slack, slack), rel=0.02)
    plain = stats.ttest_rel(a, b).confidence_interval(0.98)
    assert found.upper - found.lower > 1.2 * (plain.high - plain.low)


def test_unpaired_shift_by_hand() -> None:
    # Means 2 and 5; variances 1 and 20/3, the second's z^2 again 1.35, .15, .15, 1.35. The second sample less 3 times
    # .175, -.425, -.425, .175: 1.475, 5.275, 7.275, 7.475, mean 5.375; squares 15.21 + .01 + 3.61 + 4.41 = 23.24, so
    # its error is 23.24/3/4, the first's 1/3. Smaller sample: t .99 with 2 is 6.9646.
    found = unpaired_shift([1, 2, 3], [2, 4, 6, 8])
    slack = 6.964557 * math.sqrt(1 / 3 + 23.24 / 12)
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
    # Mean 0, variance 10/10: (z^2 - 1) / 2 is 0 but for the last row, where it is -1/2.
    second = np.array([1.0, -1.0] * 5 + [0.0])
    units = Units.of(11, [0, 0, *range(1, 10)])
    mean = 48 / 11  # (12 + 36) / 11

    def error(values: list[float]) -> float:
        """Of the mean of eleven rows, the first two of one subject."""
        centre = sum(values) / 11
        totals = [values[0] + values[1] - 2 * centre, *(value - centre for value in values[2:])]
        return math.sqrt(sum(total**2 for total in totals) * 10 / 9) / 11

    quantile = float(stats.t.ppf(0.99, 9))
    found = paired_shift(second + differences, second, units)
    slack = quantile * error([5.0, 7.0, *range(8), 8 + mean / 2])
    assert found.spread == pytest.approx(1.0)
    assert (found.lower, found.upper) == pytest.approx((mean - slack, mean + slack))
    other = unpaired_shift(differences, second, units, units)
    slack = quantile * math.hypot(error([5.0, 7.0, *range(9)]), error([1.0, -1.0] * 5 + [-mean / 2]))
    assert (other.lower, other.upper) == pytest.approx((mean - slack, mean + slack))


def test_copies_of_a_row_are_no_evidence() -> None:
    a, b = np.random.default_rng(4).normal(size=(2, 12))
    copies = Units.of(60, copies=list(range(12)) * 5)
    once, again = paired_shift(a, b), paired_shift(np.tile(a, 5), np.tile(b, 5), copies)
    # 12 x 5 squares over 59 are a little less than 12 over 11.
    assert again.spread == pytest.approx(once.spread * math.sqrt(55 / 59))
    assert (again.lower, again.upper) == pytest.approx((once.lower, once.upper), rel=0.005)
    a -= (a - b).mean()
    once, again = paired_shift(a, b), paired_shift(np.tile(a, 5), np.tile(b, 5), copies)
    assert (again.lower, again.upper) == pytest.approx((once.lower, once.upper))


@settings(max_examples=50, deadline=None)
@given(eighths, st.integers(0, 99))
def test_shift_changes_sign_with_its_samples_and_ignores_order_and_unit(first: list[float], seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(first))
    a, b = np.array(first), np.array(first)[order] * 0.5 + 1
    for measure in (paired_shift, unpaired_shift):
        one, negative, mixed = measure(a, b), measure(-a, -b), measure(a[order], b[order])
        assert (negative.difference, negative.lower, negative.upper) == pytest.approx(
            (-one.difference, -one.upper, -one.lower), abs=1e-9
        )
        assert (mixed.difference, mixed.upper) == pytest.approx((one.difference, one.upper), abs=1e-9)
        assert measure(b, a).difference == pytest.approx(-one.difference, abs=1e-9)
        other = measure(4 * a + 2, 4 * b + 2)
        assert (other.difference, other.lower, other.upper, other.spread) == pytest.approx(
            (4 * one.difference, 4 * one.lower, 4 * one.upper, 4 * one.spread), abs=1e-6
        )


@pytest.mark.parametrize("measure", [paired_shift, unpaired_shift])
@pytest.mark.parametrize("constant", [0.0, 2.0, 0.1])
def test_a_difference_without_a_unit_is_not_bounded(measure: Callable[..., Shift], constant: float) -> None:
    """All of the second sample is alike, also where its standard deviation is not quite 0 in floating point."""
    for first in ([constant] * 12, [*range(12)]):
        found = measure(first, [constant] * 12)
        assert found.difference == pytest.approx(np.mean(first) - constant)
        assert (found.lower, found.upper, found.spread) == (-math.inf, math.inf, 0.0)


@pytest.mark.parametrize("measure", [paired_shift, unpaired_shift])
def test_one_row_bounds_nothing(measure: Callable[..., object]) -> None:
    found = paired_shift([2.0], [1.0]) if measure is paired_shift else unpaired_shift([2.0], [1.0])
    assert (found.difference, found.lower, found.upper) == (1.0, -math.inf, math.inf)
    assert found.spread == 0.0


@pytest.mark.parametrize("correlation", [0.5, 0.8, 0.99])
@pytest.mark.parametrize(("n", "side"), [(60, 1), (60, -1), (200, 1)])
def test_means_at_the_margin_are_called_equivalent_at_the_level_only(correlation: float, n: int, side: int) -> None:
    """1000 repetitions: one of a hundred, and five standard errors of 0.3 %."""
    random, margin = np.random.default_rng([2, n]), equivalence_margin(0.15)
    common, own = math.sqrt(correlation), math.sqrt(1 - correlation)
    wrong = {paired_shift: 0, unpaired_shift: 0}
    for _ in range(1000):
        base, one, other = random.normal(size=(3, n))
        for measure in wrong:
            found = measure(common * base + own * one + side * margin, common * base + own * other)
            wrong[measure] += -margin * found.spread < found.lower and found.upper < margin * found.spread
    assert wrong[paired_shift] / 1000 <= 0.026
    assert wrong[unpaired_shift] <= wrong[paired_shift]  # pairs that have much in common are wasted on it


def test_means_well_within_the_margin_are_called_equivalent() -> None:
    random, margin, right = np.random.default_rng(9), equivalence_margin(0.15), 0
    for _ in range(200):
        base, one, other = random.normal(size=(3, 60))
        found = paired_shift(0.9 * base + 0.436 * one, 0.9 * base + 0.436 * other)
        right += -margin * found.spread < found.lower and found.upper < margin * found.spread
    # Error of a difference sqrt(2 x .19 / 60) = .0796; the margin is 4.75 of them, t .99 with 59 is 2.39: power .98.
    assert right / 200 > 0.93


# Skewed means


def test_the_bound_of_a_symmetrical_sample_is_students() -> None:
    """Mean 0, deviation sqrt(2 / 3), skewness 0: t .99 with 2 is 6.9646, over sqrt(3)."""
    values = [-1.0, 0.0, 1.0]
    assert mean_below(values, 0.01) == pytest.approx(float(stats.t.ppf(0.99, 2)) / math.sqrt(3))
    assert mean_below([0.3, 0.3], 0.01) == 0.3


def test_halls_transformation_by_hand() -> None:
    """Values 0, 0, 0, 4: mean 1, deviation 2 (of 3) or sqrt(3) (of 4), skewness (27 - 3) / 4 / 3^1.5 = 2 / sqrt(3).

    g(w) = w + s w^2 / 3 + s^2 w^3 / 27 + s / 24 is the .01 quantile over 2: the mean lies 2 w below the sample's.
    """
    bound = mean_below([0.0, 0.0, 0.0, 4.0], 0.01)
    skew, w = 2 / math.sqrt(3), (1 - bound) / 2
    assert w + skew * w**2 / 3 + skew**2 * w**3 / 27 + skew / 24 == pytest.approx(float(stats.t.ppf(0.01, 3)) / 2)


@pytest.mark.parametrize(("size", "most"), [(100, 0.03), (400, 0.02)])
def test_a_skewed_mean_lies_above_its_bound_hardly_more_often_than_it_may(size: int, most: float) -> None:
    """Lognormal losses: Student's bound errs in 4.5 % of samples of 100 and 2.5 % of 400."""
    random = np.random.default_rng(12)
    samples = random.lognormal(0, 1, (2000, size))
    wrong = np.mean([mean_below(sample, 0.01) < math.exp(0.5) for sample in samples])
    student = samples.mean(1) + stats.t.ppf(0.99, size - 1) * samples.std(1, ddof=1) / math.sqrt(size)
    assert wrong < most
    assert wrong < np.mean(student < math.exp(0.5)) / 1.3


def test_one_value_has_no_bound() -> None:
    with pytest.raises(ValueError, match="no spread"):
        mean_below([1.0], 0.01)


# Cross-entropy


def test_a_rise_by_hand() -> None:
    """Sums -6 and -4 over 2 + 3 tokens: 2 nats a token; now -7 and -5: 2.4."""
    found = cross_entropy_rise([-7.0, -5.0], [-6.0, -4.0], [2, 3])
    assert (found.before, found.now, found.rise, found.n) == (2.0, 2.4, pytest.approx(0.4), 2)
    assert found.lower < 0.4 < found.upper


def test_a_rise_of_every_token_alike_has_no_uncertainty() -> None:
    tokens, before = [2, 3, 9], [-5.0, -4.0, -30.0]
    found = cross_entropy_rise([logp - 0.1 * count for logp, count in zip(before, tokens, strict=True)], before, tokens)
    assert (found.lower, found.rise, found.upper) == pytest.approx((0.1, 0.1, 0.1))


def test_one_unseen_row_proves_no_rise() -> None:
    found = cross_entropy_rise([-1.0], [-1.0], [1])
    assert (found.lower, found.upper) == (-math.inf, math.inf)


def test_rows_of_a_subject_are_one() -> None:
    random = np.random.default_rng(13)
    before = random.normal(-9, 1, 40)
    now = before + random.normal(0, 0.1, 10).repeat(4)
    plain = cross_entropy_rise(now, before, [3] * 40)
    grouped = cross_entropy_rise(now, before, [3] * 40, Units.of(40, np.arange(10).repeat(4).tolist()))
    assert (grouped.rise, grouped.n) == (plain.rise, 10)
    assert grouped.upper > plain.upper


# What is refused


@pytest.mark.parametrize("measure", [paired_shift, unpaired_shift])
@pytest.mark.parametrize("bad", [[], [float("nan"), 1.0], [[1.0, 2.0]]])
def test_samples_without_a_mean(measure: Callable[..., object], bad: list[float]) -> None:
    with pytest.raises(ValueError, match=r"expected a non-empty list of numbers|holds NaN"):
        measure(bad, [1.0, 2.0])


@pytest.mark.parametrize("measure", [paired_shift])
def test_pairs_of_different_length(measure: Callable[..., object]) -> None:
    with pytest.raises(ValueError, match="paired samples differ in length"):
        measure([1.0, 2.0], [1.0, 2.0, 3.0])
