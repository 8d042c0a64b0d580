"""Distances between score distributions: KS, paired and unpaired bounds, and the swap test."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats

from forgetctl.verify.statistics.distances import GRID, Interval, Levels, ks, paired_distance, swap_p, unpaired_distance
from forgetctl.verify.statistics.resampling import Units

# Few different values, so that ties are common, and exact reciprocals of each other.
scores = st.sampled_from([0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0])
samples = st.lists(scores, min_size=1, max_size=25)
pairs = st.lists(st.tuples(scores, scores), min_size=1, max_size=25)
Floats = NDArray[np.float64]
Pair = tuple[Floats, Floats]
Make = Callable[[int, int], Pair]
Measure = Callable[..., Interval]
FAIR = Levels(0.05, 0.05)


def shuffled(values: list[float], seed: int) -> list[float]:
    return [values[i] for i in np.random.default_rng(seed).permutation(len(values))]


def d_of_scipy(a: ArrayLike, b: ArrayLike) -> float:
    with np.errstate(divide="ignore"):
        return float(stats.ks_2samp(a, b, method="asymp").statistic)


def columns(rows: list[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [a for a, _ in rows], [b for _, b in rows]


def numbers(interval: Interval) -> tuple[float, float, float, float]:
    return interval.D, interval.lower, interval.upper, interval.noise


def binary(more: int, fewer: int, same: int) -> tuple[list[float], list[float]]:
    """Pairs whose first score is 0 and second 1 (`more`), the other way round (`fewer`), or both 0."""
    return [0.0] * more + [1.0] * fewer + [0.0] * same, [1.0] * more + [0.0] * fewer + [0.0] * same


# KS


def test_ks_by_hand() -> None:
    # At x = 2: F = 2/3 of {1, 2, 5}, G = 0 of {3, 4, 6}. D >= 2/3 in 12 of the 20 orders of three and three.
    found = ks([1, 2, 5], [3, 4, 6])
    assert (found.D, found.p, found.n) == pytest.approx((2 / 3, 12 / 20, 3))


def test_ks_of_equal_and_of_disjoint_samples() -> None:
    same, apart = ks([1, 2, 3], [3, 1, 2]), ks([1, 2, 3], [7, 8, 9])
    assert (same.D, same.p) == (0.0, 1.0)
    assert (apart.D, apart.p) == pytest.approx((1.0, 2 / 20))  # only 2 of the 20 orders keep them apart
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


@settings(max_examples=50, deadline=None)
@given(samples, samples, st.integers(0, 99))
def test_ks_depends_neither_on_order_nor_on_sides_nor_on_inversion(a: list[float], b: list[float], seed: int) -> None:
    found = ks(a, b)
    assert 0 <= found.D <= 1
    assert 0 <= found.p <= 1
    assert ks(shuffled(a, seed), shuffled(b, seed + 1)) == found
    for other in (ks(b, a), ks([1 / value for value in a], [1 / value for value in b])):
        assert (other.D, other.p) == pytest.approx((found.D, found.p))


# Bounds: what they are by hand


@settings(max_examples=50, deadline=None)
@given(pairs)
def test_paired_bounds_contain_the_d_of_scipy(rows: list[tuple[float, float]]) -> None:
    first, second = columns(rows)
    found = paired_distance(first, second)
    assert 0 <= found.lower <= found.D <= found.upper <= 1
    assert pytest.approx(d_of_scipy(first, second)) == found.D
    assert (found.n, found.unit) == (len(rows), "rows")


@settings(max_examples=50, deadline=None)
@given(samples, samples)
def test_unpaired_bounds_contain_the_d_of_scipy(a: list[float], b: list[float]) -> None:
    found = unpaired_distance(a, b)
    assert 0 <= found.lower <= found.D <= found.upper <= 1
    assert pytest.approx(d_of_scipy(a, b)) == found.D
    assert found.n == min(len(a), len(b))


@pytest.mark.parametrize("n", [GRID // 2 - 1, GRID // 2 + 1, 3 * GRID])
def test_d_is_exact_for_any_number_of_values(n: int) -> None:
    first, second = np.random.default_rng(n).normal(size=(2, n))
    expected = d_of_scipy(first, second)
    assert pytest.approx(expected) == paired_distance(first, second).D
    assert pytest.approx(expected) == unpaired_distance(first, second).D


@pytest.mark.parametrize("n", [10, 60, 400])
def test_without_a_differing_row_the_bound_is_tangos_closed_form(n: int) -> None:
    """With no discordant row Tango's score is n d / sqrt(n d (1 - d)) = z, so d = z^2 / (n + z^2); z is Student's."""
    values = np.arange(float(n))
    quantile = float(stats.t.ppf(0.99, n - 1))
    found = paired_distance(values, values)
    assert (found.D, found.lower) == (0.0, 0.0)
    assert found.upper == pytest.approx(quantile**2 / (n + quantile**2), abs=1e-6)


def tango(more: int, fewer: int, n: int, quantile: float) -> float:
    """Upper bound of the difference by solving Tango's score equation; the constrained likelihood is maximised."""

    def score(delta: float) -> float:
        def unlikely(share: float) -> float:
            return -(
                more * math.log(share + delta)
                + fewer * math.log(share)
                + (n - more - fewer) * math.log1p(-2 * share - delta)
            )

        end = (1 - delta) / 2
        share = optimize.minimize_scalar(unlikely, bounds=(1e-12, end - 1e-12), options={"xatol": 1e-10}).x
        return float((more - fewer - n * delta) / math.sqrt(n * (2 * share + delta * (1 - delta))) + quantile)

    return float(optimize.brentq(score, max((more - fewer) / n, 0) + 1e-9, 1 - 1e-6))


@pytest.mark.parametrize(("more", "fewer", "same"), [(6, 2, 32), (3, 3, 54), (20, 1, 9), (1, 0, 19)])
def test_upper_bound_solves_tangos_score_equation(more: int, fewer: int, same: int) -> None:
    n = more + fewer + same
    quantile = float(stats.t.ppf(0.95, n - 1))
    found = paired_distance(*binary(more, fewer, same), levels=FAIR)
    assert pytest.approx((more - fewer) / n) == found.D
    assert found.upper == pytest.approx(tango(more, fewer, n, quantile), abs=1e-4)


def test_unpaired_upper_bound_by_hand() -> None:
    """{0 x 15, 1 x 5} against {0 x 5, 1 x 15}: shares at 0 are 3/4 and 1/4."""
    first, second = [0.0] * 15 + [1.0] * 5, [0.0] * 5 + [1.0] * 15
    found = unpaired_distance(first, second, levels=FAIR)
    # Agresti and Caffo: (15 + 1) / 22 = 8/11 and 3/11, variance 2 (8/11)(3/11) / 22; t with 19 degrees at .95.
    error = math.sqrt(2 * (8 / 11) * (3 / 11) / 22)
    assert (found.D, found.n) == (0.5, 20)
    assert found.upper == pytest.approx(5 / 11 + 1.729133 * error, abs=1e-6)  # 0.687


def test_disjoint_samples() -> None:
    for found in (
        paired_distance(range(100), range(200, 300)),
        unpaired_distance(range(100), range(200, 280)),
    ):
        assert (found.D, found.upper) == (1.0, 1.0)
        assert found.lower > 0.7


@pytest.mark.parametrize("n", [1, 10])
@pytest.mark.parametrize("measure", [paired_distance, unpaired_distance])
def test_few_rows_that_all_moved_do_not_prove_that_all_rows_do(n: int, measure: Measure) -> None:
    """If a share s of rows moves, all n do with probability s^n; at 5 % that excludes only s < .05^(1/n)."""
    found = measure([0.0] * n, [1.0] * n)
    assert (found.D, found.upper) == (1.0, 1.0)
    assert found.lower <= 0.05 ** (1 / n) + 1e-9


@pytest.mark.parametrize("n", [10, 100])
def test_lower_bound_where_every_row_moved_by_hand(n: int) -> None:
    """Tango's score for n of n is n (1 - d) / sqrt(n (1 - d^2)) = z, so d = (n - z^2) / (n + z^2)."""
    square = float(stats.t.ppf(0.95, n - 1)) ** 2
    assert paired_distance([0.0] * n, [1.0] * n).lower == pytest.approx((n - square) / (n + square), abs=1e-6)
    # Agresti and Caffo: shares (n + 1) / (n + 2) and 1 / (n + 2), for ten 11/12 and 1/12.
    error = math.sqrt(2 * (n + 1) / (n + 2) ** 3)
    lower = n / (n + 2) - math.sqrt(square) * error
    assert unpaired_distance([0.0] * n, [1.0] * n).lower == pytest.approx(lower)


@pytest.mark.parametrize("n", [10, 60])
def test_noise_is_no_less_than_the_bound_of_no_difference(n: int) -> None:
    square = float(stats.t.ppf(0.99, n - 1)) ** 2
    same = paired_distance(range(n), range(n))
    assert same.noise == pytest.approx(square / (n + square))
    assert same.rows_needed(0.15) == math.ceil(n * (square / (n + square) / 0.15) ** 2)
    # Copies are no more units: the same noise, of five times the rows.
    copies = paired_distance([*range(n)] * 5, [*range(n)] * 5, Units.of(5 * n, copies=[*range(n)] * 5))
    assert (copies.noise, copies.upper) == pytest.approx((same.noise, same.upper), abs=1e-6)


# Bounds: what they must not depend on, and what they must


@settings(max_examples=50, deadline=None)
@given(pairs)
def test_paired_bounds_are_the_same_either_way_round(rows: list[tuple[float, float]]) -> None:
    first, second = columns(rows)
    assert numbers(paired_distance(second, first)) == pytest.approx(numbers(paired_distance(first, second)), abs=1e-6)


@pytest.mark.parametrize(("n", "m"), [(40, 40), (30, 60), (50, 80)])
def test_unpaired_bounds_are_the_same_either_way_round(n: int, m: int) -> None:
    random = np.random.default_rng(n)
    first, second = random.normal(size=n) + 1, random.normal(size=m)
    one, other = unpaired_distance(first, second), unpaired_distance(second, first)
    assert (one.D, one.upper, one.n) == pytest.approx((other.D, other.upper, other.n), abs=1e-9)
    assert one.lower == pytest.approx(other.lower, abs=1e-6)


def tied(seed: int, n: int) -> Pair:
    random = np.random.default_rng(seed)
    return random.integers(0, 3, n).astype(float), random.integers(1, 4, n).astype(float)


def smooth(seed: int, n: int) -> Pair:
    first, noise = np.random.default_rng(seed).normal(size=(2, n))
    return first, first + noise + 1


@pytest.mark.parametrize("make", [smooth, tied])
@pytest.mark.parametrize("subjects", [None, 15])
@pytest.mark.parametrize("seed", [0, 1])
def test_bounds_do_not_depend_on_the_order_of_rows(make: Make, subjects: int | None, seed: int) -> None:
    first, second = make(seed, 90)
    random = np.random.default_rng(seed)
    owners, order = random.integers(0, subjects or 1, 90), random.permutation(90)
    units = [Units.of(90, column.tolist()) if subjects else None for column in (owners, owners[order])]
    # Rows of the same pair of scores are in the file's order, so the draws may fall on other subjects.
    drawn = 0.02 if subjects and make is tied else 1e-6
    for measure, count in ((paired_distance, 1), (unpaired_distance, 2)):
        found, again = (
            measure(first, second, *units[:1] * count),
            measure(first[order], second[order], *units[1:] * count),
        )
        assert (again.D, again.upper) == pytest.approx((found.D, found.upper), abs=1e-6)
        assert (again.lower, again.noise) == pytest.approx((found.lower, found.noise), abs=drawn)


@pytest.mark.parametrize("change", [np.exp, lambda x: 3 * x - 7, np.cbrt])
@pytest.mark.parametrize("subjects", [None, 15])
def test_monotone_changes_leave_paired_bounds_alone(change: Callable[[Floats], Floats], subjects: int | None) -> None:
    first, second = smooth(8, 120)
    units = Units.of(120, np.random.default_rng(1).integers(0, subjects, 120).tolist()) if subjects else None
    found = paired_distance(first, second, units)
    again = paired_distance(change(first), change(second), units)
    assert (again.D, again.upper) == pytest.approx((found.D, found.upper), abs=1e-9)
    assert again.lower == pytest.approx(found.lower, abs=1e-6)


@settings(max_examples=50, deadline=None)
@given(pairs)
def test_ratios_and_their_inverses_are_as_far_apart(rows: list[tuple[float, float]]) -> None:
    first, second = columns(rows)
    found = paired_distance(first, second)
    inverse = paired_distance([1 / value for value in first], [1 / value for value in second])
    assert (inverse.D, inverse.upper) == pytest.approx((found.D, found.upper))


def test_more_rows_and_looser_levels_tighten_the_bounds() -> None:
    first, second = smooth(1, 50)
    more_first, more_second = smooth(1, 800)
    for measure in (paired_distance, unpaired_distance):
        few, many = measure(first, second), measure(more_first, more_second)
        assert many.upper - many.lower < (few.upper - few.lower) / 2
        assert many.noise < few.noise
        loose = measure(first, second, levels=Levels(0.1, 0.2))
        assert few.lower < loose.lower <= loose.D <= loose.upper < few.upper


def test_pairing_uses_what_the_pairs_have_in_common() -> None:
    base, one, two = np.random.default_rng(3).normal(size=(3, 300))
    first, second = base + 0.1 * one, base + 0.1 * two
    paired, unpaired = paired_distance(first, second), unpaired_distance(first, second)
    assert pytest.approx(unpaired.D) == paired.D
    assert paired.upper < unpaired.upper


def test_rows_needed_by_hand() -> None:
    found = Interval(D=0.1, lower=0.0, upper=0.3, n=100, unit="rows", noise=0.3)
    assert found.rows_needed(0.15) == 400  # 100 (0.3 / 0.15)^2


@pytest.mark.parametrize("n", [2, 20])
def test_rows_needed_are_more_than_the_identical_ones_that_did_not_do(n: int) -> None:
    found = paired_distance(np.arange(n), np.arange(n))
    assert found.upper > 0.15
    assert found.rows_needed(0.15) > n


# Subjects and copies


@pytest.mark.parametrize("differing", [0, 3])
def test_asking_the_same_rows_again_is_no_evidence(differing: int) -> None:
    first, second = binary(differing, 0, 30 - differing)
    once = paired_distance(first, second)
    copies = Units.of(300, copies=list(range(30)) * 10)
    again = paired_distance(first * 10, second * 10, copies)
    assert (again.D, again.n) == (pytest.approx(once.D), 300)
    assert again.upper == pytest.approx(once.upper, rel=0.05)
    assert again.lower == pytest.approx(once.lower, abs=0.02)


def test_rows_of_subjects_that_move_together_count_less() -> None:
    owners = np.repeat(np.arange(20), 10)
    moved = np.isin(owners, [3, 7]).astype(float)
    alike = paired_distance(np.zeros(200), moved, Units.of(200, owners.tolist()))
    alone = paired_distance(np.zeros(200), moved)
    assert (alike.unit, alone.unit) == ("subjects", "rows")
    assert alike.D == alone.D == pytest.approx(0.1)
    # Subjects of equal size that agree fully are as many rows: Tango's bound with 2 of 20.
    assert alike.upper == pytest.approx(tango(2, 0, 20, float(stats.t.ppf(0.99, 19))), abs=0.02)
    assert alike.upper > alone.upper + 0.1


def test_nine_subjects_are_treated_as_rows() -> None:
    first, second = smooth(2, 90)
    units = Units.of(90, [row % 9 for row in range(90)])
    assert paired_distance(first, second, units) == paired_distance(first, second)


# What is refused


@pytest.mark.parametrize("bad", [[], [float("nan")], [1.0, float("nan")], [[1.0, 2.0]], 3.0, [None]])
@pytest.mark.parametrize("measure", [ks, paired_distance, unpaired_distance, swap_p])
def test_samples_without_a_distribution(bad: ArrayLike, measure: Callable[..., object]) -> None:
    good = [1.0, 2.0]
    for first, second in ((bad, good), (good, bad)):
        with pytest.raises(ValueError, match=r"expected a non-empty list of numbers|holds NaN"):
            measure(first, second)


def test_samples_and_units_of_different_length() -> None:
    for measure in (paired_distance, swap_p):
        with pytest.raises(ValueError, match="paired samples differ in length: 2, 3 and 2"):
            measure([1, 2], [1, 2, 3])
    with pytest.raises(ValueError, match="second sample: 3 values, but 2 labels"):
        unpaired_distance([1, 2], [1, 2, 3], None, Units.of(2))
