"""The swap test of D, against all swaps and by its level."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from forgetctl.verify.statistics.distances import swap_p
from forgetctl.verify.statistics.resampling import Units

Floats = NDArray[np.float64]


def every_swap(a: Floats, b: Floats, owners: list[int]) -> float:
    """Share of all ways to swap the pairs of a unit whose D is at least the observed one."""
    grid = np.union1d(a, b)[:, None]

    def distance(first: Floats, second: Floats) -> float:
        return float(np.abs((first <= grid).mean(1) - (second <= grid).mean(1)).max())

    observed = distance(a, b)
    counts = []
    for swapped in itertools.product([False, True], repeat=max(owners) + 1):
        mask = np.array(swapped)[owners]
        counts.append(distance(np.where(mask, b, a), np.where(mask, a, b)) >= observed - 1e-9)
    return float(np.mean(counts))


@pytest.mark.parametrize("n", [1, 2, 5, 8])
@pytest.mark.parametrize("seed", range(4))
def test_swap_p_is_the_share_of_all_swaps(n: int, seed: int) -> None:
    random = np.random.default_rng([n, seed])
    a, b = random.integers(0, 6, n).astype(float), random.integers(1, 8, n).astype(float)
    # 1999 draws: a standard error of at most 0.011.
    assert swap_p(a, b) == pytest.approx(every_swap(a, b, list(range(n))), abs=0.045)


def test_swap_p_swaps_subjects_as_a_whole() -> None:
    random = np.random.default_rng(5)
    owners = [row % 10 for row in range(20)]
    a = random.normal(size=20)
    b = a + random.normal(size=10)[owners] + 1.0
    expected = every_swap(a, b, owners)
    assert swap_p(a, b, Units.of(20, owners)) == pytest.approx(expected, abs=0.045)
    assert abs(swap_p(a, b) - expected) > 0.06


def test_swap_p_ends() -> None:
    assert swap_p([1, 2, 3], [1, 2, 3]) == 1.0
    assert swap_p(np.zeros(60), np.ones(60)) == pytest.approx(1 / 2000)  # only the observed one of 2000 reaches it
    first, second = np.random.default_rng(4).normal(size=(2, 30))
    assert swap_p(first, second) == swap_p(second, first)


@pytest.mark.parametrize("correlation", [0.0, 0.8, 0.99])
def test_swap_p_rejects_equal_distributions_at_its_level(correlation: float) -> None:
    """300 repetitions: at 5 % the share below .05 has a standard error of 1.3 %."""
    random = np.random.default_rng([1, int(100 * correlation)])
    common, own = np.sqrt(correlation), np.sqrt(1 - correlation)
    found = []
    for _ in range(300):
        base, one, other = random.normal(size=(3, 50))
        found.append(swap_p(common * base + own * one, common * base + own * other))
    assert 0.01 <= np.mean(np.array(found) <= 0.05) <= 0.09
    assert np.mean(np.array(found) <= 0.5) <= 0.59  # D is discrete, so rather fewer


def test_swap_p_keeps_its_level_where_only_quantiles_are_compared() -> None:
    """With more values than the grid holds, the observed D must not be looked for harder than the swapped ones."""
    random = np.random.default_rng(9)
    found = []
    for _ in range(60):
        base, one, other = random.normal(size=(3, 600))
        found.append(swap_p(base + 0.03 * one, base + 0.03 * other))
    assert np.mean(np.array(found) <= 0.05) <= 0.15
    assert np.median(found) > 0.3
