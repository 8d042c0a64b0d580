"""How often the bounds of D miss the truth, by simulation with a fixed seed."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from forgetctl.verify.statistics.distances import Interval, paired_distance, unpaired_distance
from forgetctl.verify.statistics.resampling import Units

DELTA = 0.15
# Two normals of unit variance, this far apart, have D = 2 Phi(shift / 2) - 1 = DELTA.
SHIFT = 2 * float(stats.norm.ppf((1 + DELTA) / 2))
REPETITIONS = 200
# One of a hundred, and three standard errors of the share in 200 repetitions.
PASSING = 0.01 + 3 * math.sqrt(0.01 * 0.99 / REPETITIONS)
FAILING = 0.05 + 3 * math.sqrt(0.05 * 0.95 / REPETITIONS)

Floats = NDArray[np.float64]
Scores = tuple[Floats, Floats, Units | None]


def misses(make: Callable[[np.random.Generator], Scores], truth: float, seed: int) -> tuple[float, float]:
    """Shares of upper bounds below the truth and of lower bounds above it."""
    random = np.random.default_rng(seed)
    found = [paired_distance(*make(random)) for _ in range(REPETITIONS)]
    return missed(found, truth)


def missed(intervals: list[Interval], truth: float) -> tuple[float, float]:
    below, above = [one.upper < truth for one in intervals], [one.lower > truth for one in intervals]
    return float(np.mean(below)), float(np.mean(above))


def normals(correlation: float, shift: float, n: int = 60) -> Callable[[np.random.Generator], Scores]:
    def make(random: np.random.Generator) -> Scores:
        base, one, other = random.normal(size=(3, n))
        common, own = math.sqrt(correlation), math.sqrt(1 - correlation)
        return common * base + own * one + shift, common * base + own * other, None

    return make


def clustered(subjects: int, rows: int, *, known: bool) -> Callable[[np.random.Generator], Scores]:
    """Normals whose rows of a subject agree to nine tenths; known: whether it is known whose rows they are."""
    owners = np.repeat(np.arange(subjects), rows)

    def alike(random: np.random.Generator) -> Floats:
        own: Floats = math.sqrt(0.9) * random.normal(size=subjects)[owners]
        own += math.sqrt(0.1) * random.normal(size=owners.size)
        return own

    def make(random: np.random.Generator) -> Scores:
        units = Units.of(owners.size, owners.tolist()) if known else None
        return alike(random) + SHIFT, alike(random), units

    return make


def moved(more: float, fewer: float, n: int = 60) -> Callable[[np.random.Generator], Scores]:
    """Binary scores: a share `more` of rows goes from 1 to 0, `fewer` the other way, the rest stays."""

    def make(random: np.random.Generator) -> Scores:
        lot, same = random.random(n), (random.random(n) < 0.5).astype(float)
        first = np.where(lot < more, 1.0, np.where(lot < more + fewer, 0.0, same))
        second = np.where(lot < more, 0.0, np.where(lot < more + fewer, 1.0, same))
        return first, second, None

    return make


def test_the_shift_is_delta() -> None:
    assert round(SHIFT, 4) == 0.3782
    first, second, _ = normals(0.5, SHIFT, 200_000)(np.random.default_rng(1))
    assert stats.ks_2samp(first, second).statistic == pytest.approx(DELTA, abs=0.01)


@pytest.mark.parametrize("correlation", [0.0, 0.8, 0.99])
def test_pairs_of_normals(correlation: float) -> None:
    below, above = misses(normals(correlation, SHIFT), DELTA, 3)
    assert below <= PASSING
    assert above <= FAILING


def test_rows_of_subjects_that_are_alike() -> None:
    below, above = misses(clustered(20, 10, known=True), DELTA, 4)
    assert below <= PASSING
    assert above <= FAILING
    # Taken for independent rows, the same scores mislead.
    below, above = misses(clustered(20, 10, known=False), DELTA, 4)
    assert above > 2 * FAILING


@pytest.mark.parametrize(("more", "fewer"), [(0.15, 0.0), (0.25, 0.1), (0.02, 0.0)])
@pytest.mark.parametrize("n", [60, 200])
def test_binary_scores(more: float, fewer: float, n: int) -> None:
    """One x only, so the upper bound has nothing to spare."""
    below, above = misses(moved(more, fewer, n), more - fewer, 5)
    assert below <= PASSING
    assert above <= FAILING


def test_nearly_all_rows_moved() -> None:
    """At D = 0.9 all of ten rows move in 35 % of samples; that does not prove D = 1."""
    _, above = misses(moved(0.9, 0.0, 10), 0.9, 6)
    assert above <= FAILING


@pytest.mark.parametrize(("subjects", "most"), [(10, 0.12), (20, PASSING)])
def test_subjects_that_are_still_known_as_a_whole(subjects: int, most: float) -> None:
    """Each subject is forgotten or not, all its rows alike: D is the share of those that are not."""
    # With few subjects the claim is about these rows: of ten, none is known in 0.8^10 = 11 % of samples, and then
    # nothing shows that other subjects would be. Of twenty that happens in 1.2 %.
    owners = np.repeat(np.arange(subjects), 20)

    def make(random: np.random.Generator) -> Scores:
        base = random.normal(size=owners.size)
        known = random.random(subjects)[owners] < 0.2
        return base + 10 * known, base, Units.of(owners.size, owners.tolist())

    below, _ = misses(make, 0.2, 7)
    assert below <= most


@pytest.mark.parametrize(("n", "m"), [(60, 60), (40, 150)])
def test_different_rows(n: int, m: int) -> None:
    random = np.random.default_rng(8)
    found = [unpaired_distance(random.normal(size=n) + SHIFT, random.normal(size=m)) for _ in range(REPETITIONS)]
    below, above = missed(found, DELTA)
    assert below <= PASSING
    assert above <= FAILING


def test_different_rows_with_binary_scores() -> None:
    """Shares of 0.35 and 0.5 are 0.15 apart at a single x."""
    random = np.random.default_rng(9)
    found = [unpaired_distance(random.random(60) < 0.35, random.random(90) < 0.5) for _ in range(REPETITIONS)]
    below, above = missed(found, DELTA)
    assert below <= PASSING
    assert above <= FAILING


def test_different_rows_of_subjects() -> None:
    random = np.random.default_rng(10)
    found = []
    for _ in range(REPETITIONS):
        first, second, units = clustered(20, 6, known=True)(random)
        found.append(unpaired_distance(first, second, units, units))
    below, above = missed(found, DELTA)
    assert below <= PASSING
    assert above <= FAILING


def test_equal_distributions_are_never_called_different_and_mostly_called_equal() -> None:
    random = np.random.default_rng(11)
    found = [paired_distance(*normals(0.9, 0.0, 400)(random)) for _ in range(40)]
    assert not any(one.lower > DELTA for one in found)
    assert np.mean([one.upper < DELTA for one in found]) > 0.8
    large = [paired_distance(*normals(0.5, 1.0, 150)(random)) for _ in range(40)]  # D = 0.383
    assert np.mean([one.lower > DELTA for one in large]) > 0.9
