"""Bounds on changes and shares of bounded scores: by hand, and how often they err where little is seen."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from forgetctl.verify.statistics.bounded import bounded_change, excess_share, share_bounds
from forgetctl.verify.statistics.distances import Levels
from forgetctl.verify.statistics.resampling import Floats, Units

LOSS = 0.02
scores = st.lists(st.tuples(st.floats(0, 1), st.floats(0.01, 1)), min_size=1, max_size=40)


# Changes of a mean


def test_an_unchanged_score_of_one_by_hand() -> None:
    """Each row pays 1 - (1 + c) = -c: (1 - c)^n = 1 / level at c = 1 - 100^(1 / 400) = -.01158, at a stake of 1.

    At the other level the stake is 2 log(20) / (.02 n) = .749.
    """
    found = bounded_change([1.0] * 400, [1.0] * 400, LOSS)
    assert found.lower == pytest.approx(1 - 100 ** (1 / 400))
    assert found.upper == pytest.approx((20 ** (1 / 400) - 1) / (2 * math.log(20) / 8))
    assert (found.before, found.now, found.relative, found.n) == (1, 1, 0, 400)
    assert found.rows_needed == math.ceil(math.log(100) / math.log(1.02))


def test_the_stake_falls_with_the_rows() -> None:
    """2 log(100) / (.02 n) at n = 1000 is .4605: (1 - .4605 c)^n = 100."""
    stake = 2 * math.log(100) / (0.02 * 1000)
    found = bounded_change([1.0] * 1000, [1.0] * 1000, LOSS)
    assert found.lower == pytest.approx((1 - 100 ** (1 / 1000)) / stake)


def test_rows_that_lost_everything_by_hand() -> None:
    """Of 400, 20 lose all: (1 - c)^380 (-c)^20 = 100 where 1 + c is what is kept."""
    found = bounded_change([1.0] * 380 + [0.0] * 20, [1.0] * 400, LOSS)
    assert found.relative == pytest.approx(-0.05)
    c = found.lower
    assert 380 * math.log(1 - c) + 20 * math.log(-c) == pytest.approx(math.log(100))


@settings(max_examples=50, deadline=None)
@given(scores)
def test_bounds_contain_the_change(rows: list[tuple[float, float]]) -> None:
    now, before = zip(*rows, strict=True)
    found = bounded_change(now, before, LOSS)
    assert -1 <= found.lower <= max(found.relative, 0) + 1e-9
    assert found.lower <= found.relative + 1e-9
    assert found.relative - 1e-9 <= found.upper


@settings(max_examples=25, deadline=None)
@given(scores, st.randoms())
def test_order_does_not_matter(rows: list[tuple[float, float]], random: object) -> None:
    shuffled = list(rows)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = (bounded_change(*zip(*some, strict=True), LOSS) for some in (rows, shuffled))
    assert (one.lower, one.upper) == pytest.approx((other.lower, other.upper), abs=1e-9)


def losing_all(share: float) -> Callable[[np.random.Generator, int], tuple[Floats, Floats]]:
    def draw(random: np.random.Generator, rows: int) -> tuple[Floats, Floats]:
        before = random.beta(30, 2, rows)
        return before * (random.random(rows) >= share), before

    return draw


def lognormal(spread: float) -> Callable[[np.random.Generator, int], tuple[Floats, Floats]]:
    """A relative loss of 2 % on average."""
    many = np.minimum(np.random.default_rng(0).lognormal(0, spread, 10**6), 1 / LOSS * np.exp(spread**2 / 2))
    scale = LOSS / many.mean()

    def draw(random: np.random.Generator, rows: int) -> tuple[Floats, Floats]:
        before = random.beta(30, 2, rows)
        lost = np.minimum(random.lognormal(0, spread, rows), 1 / LOSS * np.exp(spread**2 / 2)) * scale
        return before * (1 - lost.clip(max=1)), before

    return draw


@pytest.mark.parametrize("rows", [60, 300, 1000])
@pytest.mark.parametrize("draw", [losing_all(LOSS), lognormal(1.0), lognormal(2.0)], ids=["all", "1", "2"])
def test_a_loss_at_the_limit_is_hardly_ever_called_none(
    draw: Callable[[np.random.Generator, int], tuple[Floats, Floats]], rows: int
) -> None:
    """Student's bound calls 2 % of rows that lose everything no loss in 29 % of samples of 60."""
    random, wrong = np.random.default_rng(1), 0
    for _ in range(400):
        wrong += bounded_change(*draw(random, rows), LOSS).lower > -LOSS
    assert wrong <= 4  # 1 %


def test_losses_at_the_limit_hardly_ever_fail() -> None:
    random, wrong = np.random.default_rng(2), 0
    for _ in range(400):
        wrong += bounded_change(*losing_all(LOSS)(random, 300), LOSS).upper < -LOSS
    assert wrong <= 20  # 5 %


def test_noise_that_loses_nothing_is_kept_at_four_hundred_rows() -> None:
    """That of two retrained 7B models, .014 a row."""
    random, right = np.random.default_rng(3), 0
    for _ in range(100):
        before = random.beta(60, 2, 400)
        now = (before + random.normal(0, 0.014, 400)).clip(0, 1)
        right += bounded_change(now, before, LOSS, None, Levels(0.005, 0.05)).lower > -LOSS
    assert right >= 95


def test_rows_needed_are_enough_nine_times_of_ten() -> None:
    random = np.random.default_rng(4)

    def unchanged(rows: int) -> tuple[Floats, Floats]:
        before = random.uniform(0.4, 0.9, rows)
        return (before + 0.05 * random.normal(size=rows)).clip(0, 1), before

    rows = bounded_change(*unchanged(2000), LOSS).rows_needed
    assert rows is not None
    assert 300 < rows < 1500
    assert np.mean([bounded_change(*unchanged(rows), LOSS).lower > -LOSS for _ in range(200)]) > 0.75


def test_a_subject_is_one_bet() -> None:
    """Ten subjects of 40 equal rows each are ten rows."""
    grouped = bounded_change([1.0] * 400, [1.0] * 400, LOSS, Units.of(400, np.arange(10).repeat(40).tolist()))
    assert grouped.lower == pytest.approx(bounded_change([1.0] * 10, [1.0] * 10, LOSS).lower)
    assert grouped.n == 400


def test_one_row_proves_nothing() -> None:
    found = bounded_change([0.9], [0.9], LOSS)
    assert (found.lower, found.upper) == (-1, math.inf)


@pytest.mark.parametrize(("ratio", "loss"), [(1.0, 0.0), (0.0, 0.02)])
def test_no_number_of_rows_shows_that_nothing_at_all_was_lost(ratio: float, loss: float) -> None:
    assert bounded_change([ratio, ratio], [1.0, 1.0], loss).rows_needed is None


@pytest.mark.parametrize("bad", [([1.1], [0.5]), ([0.5], [-0.1])])
def test_scores_outside_their_range(bad: tuple[list[float], list[float]]) -> None:
    with pytest.raises(ValueError, match="outside 0 to 1"):
        bounded_change(*bad, LOSS)


def test_change_from_nothing() -> None:
    with pytest.raises(ValueError, match="not positive before"):
        bounded_change([1.0, 1.0], [0.0, 0.0], LOSS)


# Shares


def test_share_bounds_by_hand() -> None:
    """Of 100 none: 1 - .01^(1/100). Of 2 one: 1 - u^2 = .01 above, l^2 - 2 l + .05 = 0 below."""
    assert share_bounds(0, 100, 0.01) == (0, pytest.approx(1 - 0.01**0.01))
    assert share_bounds(1, 2, 0.01)[1] == pytest.approx(math.sqrt(0.99))
    assert share_bounds(1, 2, 0.05)[0] == pytest.approx(1 - math.sqrt(0.95))
    assert share_bounds(3, 3, 0.05) == (pytest.approx(0.05 ** (1 / 3)), 1)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 200), st.integers(1, 200), st.sampled_from([0.005, 0.01, 0.05]))
def test_share_bounds_are_clopper_and_pearsons(count: int, total: int, level: float) -> None:
    count = min(count, total)
    expected = stats.binomtest(count, total).proportion_ci(1 - 2 * level, "exact")
    assert share_bounds(count, total, level) == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize(("count", "total"), [(1, 0), (3, 2), (-1, 2)])
def test_no_share(count: int, total: int) -> None:
    with pytest.raises(ValueError, match="is no share"):
        share_bounds(count, total, 0.05)


def test_an_excess_by_hand() -> None:
    """Rows: here alone twice, both once, there alone once, none 96 times."""
    here = [True] * 3 + [False] * 97
    there = [False] * 2 + [True] * 2 + [False] * 96
    found = excess_share(here, there, 0.05)
    assert (found.more, found.fewer, found.total) == (2, 1, 100)
    assert found.upper == pytest.approx(share_bounds(2, 100, 0.01)[1])
    assert found.lower == max(share_bounds(2, 100, 0.025)[0] - share_bounds(1, 100, 0.025)[1], 0) == 0
    many = excess_share([True] * 40 + [False] * 60, [False] * 99 + [True], 0.05)
    assert many.lower == pytest.approx(share_bounds(40, 100, 0.025)[0] - share_bounds(1, 100, 0.025)[1])
    assert excess_share([True] * 40 + [False] * 60, [False] * 100, 0.05).lower == share_bounds(40, 100, 0.05)[0]


def test_ninety_rows_without_a_loss_are_enough() -> None:
    """.95^90 = .00989: of 90 rows one at least is lost with 99 % where one in twenty is."""
    assert excess_share([False] * 89, [False] * 89, 0.05).upper > 0.05
    assert excess_share([False] * 90, [False] * 90, 0.05).upper < 0.05
    assert excess_share([False], [False], 0.05).rows_needed == 90
    assert excess_share([True] * 6 + [False] * 94, [False] * 100, 0.05).rows_needed is None  # 6 % is above the limit


@pytest.mark.parametrize("limit", [0.05])
@pytest.mark.parametrize("rows", [100, 200, 400])
def test_a_share_at_the_limit_passes_and_fails_no_more_often_than_it_may(limit: float, rows: int) -> None:
    random = np.random.default_rng(5)
    passed = failed = 0
    for _ in range(1000):
        lost = random.random(rows) < limit
        found = excess_share(lost, np.zeros(rows), limit)
        passed, failed = passed + (found.upper < limit), failed + (found.lower > limit)
    assert passed <= 18  # 1 %, and 2.6 deviations
    assert failed <= 68
