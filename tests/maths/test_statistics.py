import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from forgetctl.maths.statistics import Interval, distance_interval, ks

DELTA = 0.15
# Two normals of unit variance, this far apart, have D = 2 Phi(shift / 2) - 1 = DELTA.
SHIFT_AT_DELTA = 2 * stats.norm.ppf((1 + DELTA) / 2)

# Few different values, so that ties are common, and exact reciprocals of each other.
scores = st.sampled_from([0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0])
samples = st.lists(scores, min_size=1, max_size=25)
pairs = st.lists(st.tuples(scores, scores), min_size=1, max_size=25)


def shuffled(values: list[float], seed: int) -> list[float]:
    return [values[i] for i in np.random.default_rng(seed).permutation(len(values))]


def numbers(interval: Interval) -> tuple[float, float, float]:
    return interval.D, interval.lower, interval.upper


# KS


def test_ks_by_hand() -> None:
    # At x = 2: F = 2/3 of {1, 2, 5}, G = 0 of {3, 4, 6}.
    found = ks([1, 2, 5], [3, 4, 6])
    assert (found.D, found.n) == pytest.approx((2 / 3, 3))
    # Exact: D >= 2/3 in 12 of the 20 orders of three and three.
    assert found.p == pytest.approx(12 / 20)


def test_ks_of_equal_and_of_disjoint_samples() -> None:
    same, apart = ks([1, 2, 3], [3, 1, 2]), ks([1, 2, 3], [7, 8, 9])
    assert (same.D, same.p) == (0.0, 1.0)
    # Only 2 of the 20 orders keep three and three apart.
    assert (apart.D, apart.p) == pytest.approx((1.0, 2 / 20))


def test_ks_counts_the_smaller_sample() -> None:
    assert ks([1.0] * 7, [1.0] * 3).n == ks([1.0] * 3, [1.0] * 7).n == 3


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("n", "moved"), [(5, 1), (7, 1), (60, 2)])
def test_ks_of_nearly_equal_samples_does_not_warn(n: int, moved: int) -> None:
    """scipy's exact p can round to just above 1 here; it then says so and takes the asymptotic one."""
    first = np.arange(n, dtype=float)
    second = first.copy()
    second[:moved] += moved - 0.5
    found = ks(first, second)
    assert (found.D, found.p) == pytest.approx((moved / n, 1.0), abs=1e-3)


@settings(deadline=None)
@given(samples, samples)
def test_ks_is_symmetric_and_in_range(a: list[float], b: list[float]) -> None:
    found = ks(a, b)
    assert 0 <= found.D <= 1
    assert 0 <= found.p <= 1
    assert (ks(b, a).D, ks(b, a).p) == pytest.approx((found.D, found.p))


@settings(deadline=None)
@given(samples, samples, st.integers(0, 99))
def test_ks_does_not_depend_on_the_order_of_rows(a: list[float], b: list[float], seed: int) -> None:
    assert ks(shuffled(a, seed), shuffled(b, seed + 1)) == ks(a, b)


@settings(deadline=None)
@given(samples, samples)
def test_ks_is_the_same_for_ratios_and_their_inverses(a: list[float], b: list[float]) -> None:
    inverse = ks([1 / value for value in a], [1 / value for value in b])
    assert (inverse.D, inverse.p) == pytest.approx((ks(a, b).D, ks(a, b).p))


# Interval


def test_unpaired_interval_by_hand() -> None:
    """{1, 2, 3, 4} against {3, 4, 5, 6}: F - G is 1/4, 1/2, 1/2, 1/2, 1/4, 0 at 1 .. 6."""
    found = distance_interval([1, 2, 3, 4], [3, 4, 5, 6], paired=False)
    # Largest variance of a difference at 1/2 is at x = 3: (3/4)(1/4)/4 + (1/4)(3/4)/4 = 3/32; at x = 2: 1/16.
    # Lower bound: 1/2 less sqrt(ln(40) / 2 (1/4 + 1/4)) = 0.96, cut at 0.
    assert found.n == 4
    assert found.D == 0.5
    assert found.upper == 1.0  # 1/2 + 1.645 sqrt(3/32) = 1.004, cut at 1
    assert found.lower == 0.0
    many = distance_interval([1, 2, 3, 4] * 50, [3, 4, 5, 6] * 50, paired=False)
    assert many.lower == pytest.approx(0.5 - 0.1358102, abs=1e-6)


def test_paired_interval_by_hand() -> None:
    """Sixteen pairs, one of which moved from 0 to 1: F - G = 1/16 at x = 0 and nowhere else."""
    first = [0.0] * 8 + [1.0] * 8
    second = [0.0] * 7 + [1.0] * 9
    found = distance_interval(first, second, paired=True)
    # The variance of the difference is (1/16)(15/16) < 1/16, so the floor of one discordant row applies.
    error = math.sqrt(1 / 16 / 16)
    assert found.D == 1 / 16
    assert found.upper == pytest.approx(1 / 16 + 1.644854 * error, abs=1e-6)  # 0.165
    assert found.lower == 0.0


def test_identical_rows_still_leave_uncertainty() -> None:
    found = distance_interval([1, 2, 3], [1, 2, 3], paired=True)
    assert (found.D, found.lower) == (0.0, 0.0)
    assert found.upper == pytest.approx(1.644854 / 3, abs=1e-6)


def test_disjoint_samples() -> None:
    found = distance_interval(range(100), range(200, 300), paired=True)
    assert (found.D, found.upper) == (1.0, 1.0)
    assert found.lower > 0.7


@pytest.mark.parametrize("paired", [True, False])
def test_more_rows_tighten_the_bounds(paired: bool) -> None:
    values = np.linspace(0, 1, 50)
    few = distance_interval(values, values + 0.1, paired=paired)
    many = distance_interval(np.tile(values, 8), np.tile(values + 0.1, 8), paired=paired)
    assert math.isclose(many.D, few.D)
    assert few.lower < many.lower < many.D < many.upper < few.upper


def test_pairing_uses_what_the_pairs_have_in_common() -> None:
    rng = np.random.default_rng(3)
    base = rng.normal(size=300)
    first, second = base + 0.1 * rng.normal(size=300), base + 0.1 * rng.normal(size=300)
    paired, unpaired = (distance_interval(first, second, paired=way) for way in (True, False))
    assert paired.D == unpaired.D
    assert paired.upper < unpaired.upper


def test_smaller_alpha_widens() -> None:
    first, second = np.arange(60.0), np.arange(60.0) + 20
    wide, narrow = (distance_interval(first, second, paired=False, alpha=alpha) for alpha in (0.01, 0.1))
    assert wide.lower < narrow.lower <= narrow.upper < wide.upper


@settings(deadline=None)
@given(samples, samples)
def test_unpaired_interval_contains_d_and_ks_agrees(a: list[float], b: list[float]) -> None:
    found = distance_interval(a, b, paired=False)
    assert 0 <= found.lower <= found.D <= found.upper <= 1
    assert math.isclose(found.D, ks(a, b).D)
    assert found.n == min(len(a), len(b))


@settings(deadline=None)
@given(pairs)
def test_paired_interval_contains_d_and_ks_agrees(rows: list[tuple[float, float]]) -> None:
    first, second = [a for a, _ in rows], [b for _, b in rows]
    found = distance_interval(first, second, paired=True)
    assert 0 <= found.lower <= found.D <= found.upper <= 1
    assert math.isclose(found.D, ks(first, second).D)


@settings(deadline=None)
@given(pairs, st.integers(0, 99))
def test_paired_interval_survives_a_joint_permutation(rows: list[tuple[float, float]], seed: int) -> None:
    order = np.random.default_rng(seed).permutation(len(rows))
    mixed = [rows[i] for i in order]
    found = distance_interval([a for a, _ in rows], [b for _, b in rows], paired=True)
    again = distance_interval([a for a, _ in mixed], [b for _, b in mixed], paired=True)
    assert numbers(again) == pytest.approx(numbers(found))


@settings(deadline=None)
@given(samples, samples, st.integers(0, 99))
def test_unpaired_interval_survives_any_permutation(a: list[float], b: list[float], seed: int) -> None:
    again = distance_interval(shuffled(a, seed), shuffled(b, seed + 1), paired=False)
    assert numbers(again) == pytest.approx(numbers(distance_interval(a, b, paired=False)))


@settings(deadline=None)
@given(pairs, st.booleans())
def test_interval_is_symmetric(rows: list[tuple[float, float]], paired: bool) -> None:
    first, second = [a for a, _ in rows], [b for _, b in rows]
    found = distance_interval(first, second, paired=paired)
    assert numbers(distance_interval(second, first, paired=paired)) == pytest.approx(numbers(found))


@settings(deadline=None)
@given(pairs, st.booleans())
def test_interval_is_the_same_for_ratios_and_their_inverses(rows: list[tuple[float, float]], paired: bool) -> None:
    first, second = [a for a, _ in rows], [b for _, b in rows]
    found = distance_interval(first, second, paired=paired)
    inverse = distance_interval([1 / a for a in first], [1 / b for b in second], paired=paired)
    assert numbers(inverse) == pytest.approx(numbers(found))


# What is refused


@pytest.mark.parametrize("bad", [[], [float("nan")], [1.0, float("nan")], [[1.0, 2.0]], 3.0, [None]])
def test_samples_without_a_distribution(bad: object) -> None:
    good = [1.0, 2.0]
    for first, second in ((bad, good), (good, bad)):
        with pytest.raises(ValueError):
            ks(first, second)  # type: ignore[arg-type]
        for paired in (True, False):
            with pytest.raises(ValueError):
                distance_interval(first, second, paired=paired)  # type: ignore[arg-type]


def test_pairs_of_different_length() -> None:
    with pytest.raises(ValueError, match="paired samples differ in length: 2 and 3"):
        distance_interval([1, 2], [1, 2, 3], paired=True)


# Level and power, by simulation with a fixed seed


def correlated_normals(
    rng: np.random.Generator, n: int, correlation: float, shift: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    common, a, b = rng.normal(size=(3, n))
    own = math.sqrt(1 - correlation)
    return math.sqrt(correlation) * common + own * a, math.sqrt(correlation) * common + own * b + shift


def simulate(repetitions: int, n: int, correlation: float, shift: float, *, paired: bool = True) -> list[Interval]:
    rng = np.random.default_rng([7, n, int(100 * correlation)])
    return [
        distance_interval(*correlated_normals(rng, n, correlation, shift), paired=paired) for _ in range(repetitions)
    ]


def test_shift_gives_the_distance_the_simulations_assume() -> None:
    assert round(SHIFT_AT_DELTA, 4) == 0.3782
    rng = np.random.default_rng(1)
    first, second = correlated_normals(rng, 200_000, 0.5, SHIFT_AT_DELTA)
    assert abs(ks(first, second).D - DELTA) < 0.01
    assert np.corrcoef(first, second)[0, 1] == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(("paired", "correlation"), [(True, 0.5), (False, 0.0)])
def test_equivalence_is_claimed_wrongly_at_most_at_its_level(paired: bool, correlation: float) -> None:
    """At D = delta, "upper < delta" is an error; its frequency may pass 5 % by three standard errors only."""
    found = simulate(300, 200, correlation, SHIFT_AT_DELTA, paired=paired)
    wrong = np.mean([interval.upper < DELTA for interval in found])
    assert wrong <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 300)


@pytest.mark.parametrize(("paired", "correlation"), [(True, 0.5), (False, 0.0)])
def test_difference_is_claimed_wrongly_at_most_at_its_level(paired: bool, correlation: float) -> None:
    """At D = delta, "lower > delta" is an error as well."""
    found = simulate(300, 200, correlation, SHIFT_AT_DELTA, paired=paired)
    wrong = np.mean([interval.lower > DELTA for interval in found])
    assert wrong <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 300)


@pytest.mark.parametrize(("paired", "correlation"), [(True, 0.5), (False, 0.0)])
def test_identical_distributions_are_never_called_different(paired: bool, correlation: float) -> None:
    assert not any(interval.lower > DELTA for interval in simulate(300, 200, correlation, 0.0, paired=paired))


def test_identical_distributions_are_mostly_called_equivalent() -> None:
    found = simulate(100, 400, 0.8, 0.0)
    assert np.mean([interval.upper < DELTA for interval in found]) > 0.8


def test_a_large_difference_is_mostly_seen() -> None:
    found = simulate(100, 200, 0.5, 1.0)  # D = 0.383
    assert np.mean([interval.lower > DELTA for interval in found]) > 0.9
