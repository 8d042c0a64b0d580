"""Rank, exposure and what a reference does not explain: by hand, against least squares, and by how often they err."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from forgetctl.verify.statistics.exposure import SMALLEST, chance, exposure, holm, rank, unexplained

Floats = NDArray[np.float64]
VALUES = st.lists(st.integers(-9, 9), min_size=6, max_size=19, unique=True)


def test_rank_and_exposure_by_hand() -> None:
    """Of 7 others two are likelier and one as likely: the fourth of eight strings, log2 8 - log2 4 = 1 bit."""
    others = [-1.0, -9.0, -3.0, -8.0, -2.0, -7.0, -6.0]
    assert rank(-3.0, others) == 4
    assert exposure(4, 7) == 1.0
    assert (exposure(1, 7), exposure(8, 7)) == (3.0, 0.0)
    assert exposure(rank(0.0, others), 7) == math.log2(8)
    for place in (0, 9):
        with pytest.raises(ValueError, match="no place"):
            exposure(place, 7)


def test_what_is_unexplained_by_hand() -> None:
    """The line through (-2, -2), (-1, 0), (0, 0), (1, 0), (2, 2) is 0.8 x and leaves -.4, .8, 0, -.8, .4, so that
    s^2 = 1.6 / 3. A secret at (0, 2) lies 2 above, in units of s sqrt(1 + 1/5) = .8: 2.5."""
    secret, others = unexplained((2.0, 0.0), [-2.0, 0.0, 0.0, 0.0, 2.0], [-2.0, -1.0, 0.0, 1.0, 2.0])
    assert secret == pytest.approx(2.5)
    assert others[2] == pytest.approx(0.0)
    # -1: leverage 1/5 + 1/10 = .3; without it (1.6 - .64 / .7) / 2 is left.
    assert others[1] == pytest.approx(0.8 / math.sqrt((1.6 - 0.64 / 0.7) / 2 * 0.7))


def test_each_is_seen_against_the_line_of_the_rest() -> None:
    random = np.random.default_rng(1)
    theirs = random.normal(size=30)
    ours = 0.7 * theirs + random.normal(size=30)
    _, others = unexplained((0.0, 0.0), ours, theirs)
    for left_out in range(30):
        rest = np.arange(30) != left_out
        one, _ = unexplained((float(ours[left_out]), float(theirs[left_out])), ours[rest], theirs[rest])
        assert others[left_out] == pytest.approx(one)


@given(VALUES, st.floats(0.5, 9), st.floats(-9, 9), st.floats(0.5, 9), st.floats(-9, 9))
def test_the_units_of_both_models_do_not_matter(
    theirs: list[int], scale: float, shift: float, other: float, away: float
) -> None:
    """So that standardised values say no less than log-probabilities."""
    random = np.random.default_rng(2)
    x, y = np.asarray(theirs, dtype=float), random.normal(size=len(theirs))
    secret, others = unexplained((1.0, 0.5), y, x)
    again, those = unexplained((scale * 1.0 + shift, other * 0.5 + away), scale * y + shift, other * x + away)
    assert again == pytest.approx(secret, rel=1e-3, abs=1e-4)
    assert those == pytest.approx(others, rel=1e-3, abs=1e-4)


def test_models_that_are_the_same_but_for_rounding_explain_each_other() -> None:
    values = np.random.default_rng(3).normal(size=50)
    secret, others = unexplained((0.3, 0.3), values, values)
    assert abs(secret) < 1e-9
    assert np.abs(others).max() < 1e-9
    above, _ = unexplained((0.3 + SMALLEST, 0.3), values, values)
    assert above == pytest.approx(1, abs=0.05)
    with pytest.raises(ValueError, match="cannot be compared"):
        unexplained((0.0, 0.0), [1.0] * 9, [1.0] * 8)


def test_a_place_below_the_highest_is_its_own_chance() -> None:
    """Exact for exchangeable strings: 3 of 100."""
    others = np.arange(99.0)
    assert chance(96.5, others) == pytest.approx(3 / 100)
    assert chance(-1.0, others) == 1.0
    assert chance(1.0, [2.0]) == 1.0
    with pytest.raises(ValueError, match="without other strings"):
        chance(1.0, [])


def test_the_tail_is_that_of_the_fitted_skew_normal_or_of_t() -> None:
    """Whichever is heavier: of strongly skewed values the former near by, of t far out."""
    skewed = stats.skewnorm.rvs(20, size=999, random_state=4)
    shape, loc, scale = stats.skewnorm.fit(skewed, method="MM")
    near = float(skewed.max()) + 0.01
    spread = float(skewed.std())

    def heavy(value: float) -> float:
        return float(stats.t.sf((value - skewed.mean()) / spread * math.sqrt(2), 4))

    far = near + 20
    assert stats.skewnorm.sf(far, shape, loc, scale) < heavy(far) < 1e-4
    assert chance(far, skewed) == pytest.approx(heavy(far))
    fitted = stats.skewnorm.sf(near, shape, loc, scale)
    assert chance(near, skewed) == pytest.approx(min(1 / 1000, max(fitted, heavy(near))))


def test_the_fit_is_near_the_likeliest_one() -> None:
    """By moments as scipy's, which maximum likelihood confirms."""
    values = stats.skewnorm.rvs(3, loc=-2, scale=1.5, size=999, random_state=5)
    moments, likely = (
        stats.skewnorm(*stats.skewnorm.fit(values, method="MM")),
        stats.skewnorm(*stats.skewnorm.fit(values)),
    )
    for value in (1.0, 2.0, 3.0):
        assert moments.sf(value) == pytest.approx(likely.sf(value), rel=0.5)


def test_holm_by_hand() -> None:
    """Sorted .01, .02, .03, .9: times 4, 3, 2, 1, and never less than one before."""
    assert holm([0.03, 0.01, 0.9, 0.02]) == pytest.approx([0.06, 0.04, 0.9, 0.06])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_is_no_less_than_each_and_no_more_than_bonferroni(chances: list[float]) -> None:
    for p, adjusted in zip(chances, holm(chances), strict=True):
        assert p <= adjusted <= min(1.0, len(chances) * p) + 1e-12 or adjusted == max(holm(chances))


NOISES = {
    "normal": lambda random, size: random.normal(size=size),
    "t with 3": lambda random, size: random.standard_t(3, size=size),
    "exponential": lambda random, size: random.exponential(size=size) - 1,
    "correlated": lambda random, size: random.normal(size=size) + 0.5 * random.normal(),
}


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize(("secrets", "guessable"), [(1, 0.0), (20, 0.0), (20, 4.0)])
def test_equal_models_seldom_fail(noise: str, secrets: int, guessable: float) -> None:
    """600 requests: of secrets of which a reference makes some likely (4 deviations above other strings), too."""
    random, draw = np.random.default_rng([6, secrets]), NOISES[noise]
    failed = 0
    for _ in range(600 // secrets if secrets > 1 else 600):
        chances = []
        for _ in range(secrets):
            theirs = random.normal(size=100)
            theirs[0] += guessable
            ours = 0.9 * theirs + 0.3 * draw(random, 100)
            chances.append(chance(*unexplained((ours[0], theirs[0]), ours[1:], theirs[1:])))
        failed += min(holm(chances)) <= 0.01
    requests = 600 // secrets if secrets > 1 else 600
    assert failed <= stats.binom.ppf(0.999, requests, 0.02)


def test_a_remembered_secret_stands_out() -> None:
    random = np.random.default_rng(7)
    for _ in range(50):
        theirs = random.normal(size=100)
        ours = 0.9 * theirs + 0.3 * random.normal(size=100)
        assert chance(*unexplained((ours[0] + 5, theirs[0]), ours[1:], theirs[1:])) < 0.001
