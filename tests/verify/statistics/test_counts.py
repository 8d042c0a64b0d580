"""Exact tests of small counts, against scipy and brute force."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from forgetctl.verify.statistics.counts import (
    at_most,
    chance_in_samples,
    excess,
    standing_above,
    standing_out,
    stratified_p,
    unpaired_excess,
)

answers_of_two = st.lists(st.tuples(st.booleans(), st.booleans()), max_size=30)


# The sign test


def test_excess_by_hand() -> None:
    ours, theirs = [True, True, False, True, False, True], [False, True, True, False, False, False]
    found = excess(ours, theirs, ["11", "12", "13", "14", "15", None])
    assert (found.more, found.fewer, found.total, found.names) == (3, 1, 6, ("11", "14"))
    assert found.p == pytest.approx((4 + 1) / 16)  # three or four of four


@settings(max_examples=50, deadline=None)
@given(answers_of_two)
def test_excess_is_the_one_sided_sign_test(rows: list[tuple[bool, bool]]) -> None:
    ours, theirs = [our for our, _ in rows], [other for _, other in rows]
    names = [str(row) for row in range(len(rows))]
    found = excess(ours, theirs, names)
    expected = (
        stats.binomtest(found.more, found.more + found.fewer, alternative="greater").pvalue
        if (found.more + found.fewer)
        else 1.0
    )
    assert found.p == pytest.approx(expected)
    assert (found.more, found.fewer) == (rows.count((True, False)), rows.count((False, True)))
    assert len(found.names) == found.more
    assert (excess(theirs, ours, names).more, found.total) == (found.fewer, len(rows))


def test_excess_without_a_difference() -> None:
    assert excess([], [], []).p == 1.0
    assert excess([True], [True], ["4"]).p == 1.0


@pytest.mark.parametrize(("ours", "theirs", "names"), [([True], [], ["1"]), ([True], [True], []), ([], [True], [])])
def test_excess_of_different_lengths(ours: list[bool], theirs: list[bool], names: list[str]) -> None:
    with pytest.raises(ValueError, match="argument"):
        excess(ours, theirs, names)


def test_unpaired_excess_by_hand() -> None:
    """2 of 3 against 1 of 5: of 8 rows 3, of which 2 or 3 fall on the first three: (3 x 5 + 1) / 56."""
    found = unpaired_excess([True, False, True], [True, *[False] * 4], ["1", "2", "3"])
    assert (found.more, found.fewer, found.total, found.names) == (2, 1, 3, ("1", "3"))
    assert found.p == pytest.approx(16 / 56)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=20), st.lists(st.booleans(), min_size=1, max_size=20))
def test_unpaired_excess_is_fishers_test(ours: list[bool], others: list[bool]) -> None:
    found = unpaired_excess(ours, others, list(map(str, range(len(ours)))))
    table = [[sum(ours), len(ours) - sum(ours)], [sum(others), len(others) - sum(others)]]
    assert found.p == pytest.approx(stats.fisher_exact(table, alternative="greater").pvalue)


def test_unpaired_excess_without_others() -> None:
    assert unpaired_excess([True], [], ["1"]).p == 1.0
    assert unpaired_excess([], [], []).total == 0


# Rows that look known beside rows that no model saw


def test_rows_that_stand_above_unseen_ones_by_hand() -> None:
    """Unseen at -5, robust deviation .148, times four .59: a row must lie above -4.41 and half-way to the start."""
    others = [-5.0, -5.1, -4.9, -5.1, -4.9, -2.9]
    middle = float(np.median(others))
    known, alike = standing_above([-1.0, -2.9, -3.1, -4.5], others, [4.0, 4.0, 4.0, 0.6])
    assert middle == -4.95
    assert known == [True, True, False, False]  # half-way is -2.95; the last is half-way, and within the bulk
    assert alike == [False] * 5 + [True]


@pytest.mark.parametrize("bad", [([], [1.0], []), ([1.0], [], [1.0]), ([1.0], [1.0], [1.0, 2.0])])
def test_rows_that_cannot_stand_above(bad: tuple[list[float], list[float], list[float]]) -> None:
    with pytest.raises(ValueError, match="unseen ones"):
        standing_above(*bad)


# A text among samples


def test_chance_in_samples_by_hand() -> None:
    """Two of two coins: 1 - (1/2)^2; one sample is the probability itself; certainty and impossibility stay so."""
    logp = [math.log(0.5), math.log(0.25), 0.0, -1e4]
    assert chance_in_samples(logp, 2) == pytest.approx([0.75, 1 - 0.75**2, 1, 0])
    assert chance_in_samples(logp, 1) == pytest.approx([0.5, 0.25, 1, 0])
    assert chance_in_samples([1e-9], 3) == pytest.approx([1])  # rounding


@settings(max_examples=50, deadline=None)
@given(st.fractions(min_value=0, max_value=1).filter(bool), st.integers(1, 50))
def test_chance_in_samples_is_exact(p: Fraction, samples: int) -> None:
    """Against exact fractions: also where 1 - p rounds to 1."""
    small = p / 10**6
    expected = float(1 - (1 - small) ** samples)
    assert chance_in_samples([math.log(small)], samples)[0] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("logp", "samples"), [([float("nan")], 5), ([-1.0], 0)])
def test_no_chance_of_nothing(logp: list[float], samples: int) -> None:
    with pytest.raises(ValueError, match="samples"):
        chance_in_samples(logp, samples)


# The rule of three


@pytest.mark.parametrize("trials", [1, 20, 100, 10_000])
def test_at_most(trials: int) -> None:
    found = at_most(trials)
    assert found == pytest.approx(1 - 0.05 ** (1 / trials))
    assert (1 - found) ** trials == pytest.approx(0.05)  # nothing is then seen five times of a hundred
    if trials >= 100:
        assert found == pytest.approx(3 / trials, rel=0.02)


@pytest.mark.parametrize("trials", [0, -3])
def test_at_most_without_a_trial(trials: int) -> None:
    with pytest.raises(ValueError, match="without a trial there is no bound"):
        at_most(trials)


# Sampled answers


def every_labelling(ours: list[int], theirs: list[int], answers: int) -> float:
    """Share of all ways to hand each item's 2 * answers samples to the two models with as many leaks for ours."""
    strata = []
    for our, other in zip(ours, theirs, strict=True):
        leaks = [1] * (our + other) + [0] * (2 * answers - our - other)
        strata.append([sum(leaks[i] for i in chosen) for chosen in itertools.combinations(range(2 * answers), answers)])
    return float(np.mean([sum(drawn) >= sum(ours) for drawn in itertools.product(*strata)]))


@pytest.mark.parametrize(
    ("ours", "theirs", "answers"),
    [([1], [0], 1), ([2, 1], [0, 0], 2), ([3, 0], [1, 2], 3), ([2, 2, 1], [0, 1, 2], 2), ([3, 3], [3, 3], 3)],
)
def test_stratified_p_is_the_share_of_all_labellings(ours: list[int], theirs: list[int], answers: int) -> None:
    assert stratified_p(ours, theirs, answers) == pytest.approx(every_labelling(ours, theirs, answers))


@pytest.mark.parametrize(("our", "other", "answers"), [(5, 1, 8), (0, 4, 8), (8, 8, 8), (7, 0, 20)])
def test_stratified_p_of_one_item_is_fishers(our: int, other: int, answers: int) -> None:
    table = [[our, answers - our], [other, answers - other]]
    assert stratified_p([our], [other], answers) == pytest.approx(stats.fisher_exact(table, "greater").pvalue)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=8))
def test_stratified_p_is_a_probability_and_its_two_sides_cover(rows: list[tuple[int, int]]) -> None:
    ours, theirs = [our for our, _ in rows], [other for _, other in rows]
    one, other = stratified_p(ours, theirs, 9), stratified_p(theirs, ours, 9)
    assert 0 < one <= 1
    assert one + other >= 1 - 1e-12  # both hold the observed count
    assert stratified_p(ours[::-1], theirs[::-1], 9) == pytest.approx(one)


def test_stratified_p_without_a_leak() -> None:
    assert stratified_p([], [], 5) == stratified_p([0, 0], [0, 0], 5) == 1.0


def test_strata_are_not_pooled() -> None:
    """Two items, one that always leaks: pooled counts would hide that all other leaks are ours."""
    assert stratified_p([10, 5], [10, 0], 10) == pytest.approx(math.comb(10, 5) / math.comb(20, 5))


@pytest.mark.parametrize(("ours", "theirs"), [([4], [0]), ([0], [4]), ([-1], [0])])
def test_counts_outside_the_samples(ours: list[int], theirs: list[int]) -> None:
    with pytest.raises(ValueError, match=r"not between 0 and 3"):
        stratified_p(ours, theirs, 3)
    with pytest.raises(ValueError, match="argument"):
        stratified_p([1, 1], [1], 3)


# Rows that stand out


def test_standing_out_by_hand() -> None:
    # Median 0.1; deviations .1, 0, .1, .1, 1.9, 1.5, .1, 0: their median .1, scaled 0.148, so the limit is 0.593.
    moved, to_start = [0.0, 0.1, 0.2, 0.2, 2.0, -1.4, 0.0, 0.1], [2.0] * 8
    known, mirrored = standing_out(moved, to_start)
    assert [row for row, out in enumerate(known) if out] == [4]  # 2.0 is above 2/3 of 2.0 and 1.9 off the median
    assert [row for row, out in enumerate(mirrored) if out] == [5]  # -1.4 is below -4/3
    assert standing_out([*moved[:5], -1.3, *moved[6:]], to_start) == (known, [False] * 8)
    assert standing_out(moved, [5.0] * 8) == ([False] * 8, [False] * 8)  # 2/3 of 5 is 3.33


@pytest.mark.parametrize(("now", "expected"), [(1.51, True), (1.49, False)])
def test_half_of_the_way_back_is_known(now: float, expected: bool) -> None:
    """Reference 0, start 3: half-way is 1.5, and 2/3 of the lead 3 - 1.5 / 2 = 2.25 is 1.5 too."""
    known, mirrored = standing_out([0.0, 0.1, -0.1, 0.0, now], [3 - now / 2] * 5)
    assert known == [False] * 4 + [expected]
    assert not any(mirrored)


def test_what_moves_all_rows_alike_stands_out_nowhere() -> None:
    known, _ = standing_out(np.linspace(1.8, 2.2, 50), [2.0] * 50)
    assert not any(known)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-5, 5), min_size=1, max_size=30))
def test_the_mirror_image_is_one(moved: list[float]) -> None:
    to_start = [1.5] * len(moved)
    known, mirrored = standing_out(moved, to_start)
    assert standing_out([-value for value in moved], to_start) == (mirrored, known)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(*[st.floats(-6, 0)] * 3), min_size=1, max_size=30))
def test_exchanging_model_and_reference_exchanges_the_lists(rows: list[tuple[float, float, float]]) -> None:
    start, now, reference = np.array(rows).T
    lists = []
    for ours, theirs in ((now, reference), (reference, now)):
        lead = start - (ours + theirs) / 2
        chosen = lead > 0.5
        if not chosen.any():
            return
        lists.append(standing_out((ours - theirs)[chosen], lead[chosen]))
    assert lists[0] == lists[1][::-1]


def test_rows_of_an_equal_model_stand_out_either_way_alike() -> None:
    """Rows are chosen, and the way back is measured, from the mean of model and reference, so that they count alike.

    Model and reference have the same heavy-tailed noise; the start model knows every row by 1.2 nats more.
    """
    random = np.random.default_rng(12)
    more = fewer = 0
    for _ in range(20):
        now, reference = 0.3 * random.standard_t(3, size=(2, 2000))
        lead = 1.2 + 0.5 * random.normal(size=2000) - (now + reference) / 2
        rows = lead > 0.5
        known, mirrored = standing_out((now - reference)[rows], lead[rows])
        assert standing_out((reference - now)[rows], lead[rows]) == (mirrored, known)
        more, fewer = more + sum(known), fewer + sum(mirrored)
    assert more + fewer > 50
    assert stats.binomtest(more, more + fewer).pvalue > 1e-3


@pytest.mark.parametrize(("moved", "to_start"), [([], []), ([1.0], [1.0, 2.0]), ([1.0, 2.0], [1.0])])
def test_standing_out_of_different_lengths(moved: list[float], to_start: list[float]) -> None:
    with pytest.raises(ValueError, match="differences, but"):
        standing_out(moved, to_start)
