"""Units of resampling: which rows count as one, and in which order random draws meet them."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forgetctl.verify.statistics.resampling import FEWEST_SUBJECTS, Units, paired_samples, sample_of, single_sample

TEN = list(range(10))
different = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30, unique=True)
labels = st.lists(st.integers(0, 14), min_size=1, max_size=40)


# Which rows are one unit


def test_without_labels_every_row_is_a_unit() -> None:
    units = Units.of(4)
    assert (units.index.tolist(), units.kind, units.count) == ([0, 1, 2, 3], "rows", 4)


def test_ten_subjects_are_units_nine_are_not() -> None:
    assert FEWEST_SUBJECTS == 10
    ten, nine = Units.of(11, [7, *TEN[::-1]]), Units.of(11, [8, 8, *TEN[:9]])
    # By first appearance 7 is 0, 9 is 1, 8 is 2, then 7 again, then 6 ..
    assert ten.index.tolist() == [0, 1, 2, 0, 3, 4, 5, 6, 7, 8, 9]
    assert (ten.kind, ten.count) == ("subjects", 10)
    assert (nine.kind, nine.count) == ("rows", 11)


def test_copies_of_a_row_are_one_unit() -> None:
    units = Units.of(5, copies=[4, 9, 4, 4, 2])
    assert (units.index.tolist(), units.kind, units.count) == ([0, 1, 0, 0, 2], "rows", 3)


def test_turns_of_a_conversation_are_drawn_together_where_subjects_are_not_known() -> None:
    turns = [0, 0, *range(1, 10)]
    units = Units.of(11, copies=list(range(11)), conversations=turns)
    assert (units.kind, units.index.tolist()) == ("conversations", turns)
    assert Units.of(11, conversations=[0, 0, 0, *range(1, 9)]).kind == "rows"  # nine of them
    assert Units.of(11, subjects=list(range(11)), conversations=turns).kind == "subjects"


def test_copies_are_one_unit_where_subjects_are_too_few() -> None:
    units = Units.of(4, subjects=[0, 0, 1, 1], copies=[3, 3, 5, 6])
    assert (units.index.tolist(), units.kind) == ([0, 0, 1, 2], "rows")


def test_enough_subjects_go_before_copies() -> None:
    units = Units.of(11, subjects=[*TEN, 0], copies=list(range(11)))
    assert (units.kind, units.count) == ("subjects", 10)


@pytest.mark.parametrize(("subjects", "copies"), [([1, 2], None), (None, [1, 2]), ([1, 2, 3], [1]), ([], None)])
def test_labels_of_another_length(subjects: list[int] | None, copies: list[int] | None) -> None:
    with pytest.raises(ValueError, match="3 rows, but"):
        Units.of(3, subjects, copies)


@pytest.mark.parametrize("labels", [{}, {"subjects": []}, {"copies": []}, {"subjects": [1]}])
def test_no_rows_have_no_units(labels: dict[str, list[int]]) -> None:
    with pytest.raises(ValueError, match="no rows to resample"):
        Units.of(0, **labels)


# Sums, sizes and draws


def test_totals_and_sizes_by_hand() -> None:
    units = Units.of(5, copies=[1, 2, 1, 3, 1])
    values = np.array([[1.0, 10.0], [2.0, 20.0], [4.0, 40.0], [8.0, 80.0], [16.0, 160.0]])
    assert units.totals(values).tolist() == [[21.0, 210.0], [2.0, 20.0], [8.0, 80.0]]  # 1 + 4 + 16, 2, 8
    assert units.sizes().tolist() == [3.0, 1.0, 1.0]


def test_totals_of_single_rows_land_on_their_unit() -> None:
    units = Units(np.array([2, 0, 1]), "rows")
    assert units.totals(np.array([[5.0], [6.0], [7.0]])).tolist() == [[6.0], [7.0], [5.0]]


@settings(max_examples=50, deadline=None)
@given(labels)
def test_totals_keep_the_sum_and_sizes_the_rows(given_labels: list[int]) -> None:
    units = Units.of(len(given_labels), copies=given_labels)
    values = np.arange(2.0 * len(given_labels)).reshape(-1, 2) ** 2
    assert units.count == len(set(given_labels))
    assert units.totals(values).sum(0) == pytest.approx(values.sum(0))
    assert sorted(units.sizes()) == sorted(Counter(given_labels).values())


def test_another_order_renumbers_but_keeps_rows_together() -> None:
    units = Units.of(4, copies=[7, 8, 7, 9]).ordered(np.array([3, 2, 1, 0]))
    assert units.index.tolist() == [0, 1, 2, 1]
    assert Units.of(11, [*TEN, 0]).ordered(np.arange(11)[::-1]).kind == "subjects"


def test_draws_are_samples_of_as_many_units() -> None:
    units = Units.of(8, copies=[0, 0, 1, 2, 3, 4, 5, 5])
    drawn = units.draws(2000, 3)
    assert drawn.shape == (2000, 6)
    assert (drawn.sum(1) == 6).all()
    # Each of 6 units is drawn 6 / 6 times on average, with variance 5/6 and a standard error of 0.02.
    assert drawn.mean(0) == pytest.approx(np.ones(6), abs=0.09)
    assert drawn.var(0) == pytest.approx(np.full(6, 5 / 6), abs=0.15)


def test_draws_depend_on_the_seed_alone_and_cannot_be_spoilt() -> None:
    first, again, other = Units.of(5).draws(20, 1), Units.of(5, copies=[5, 4, 3, 2, 1]).draws(20, 1), Units.of(5)
    assert (first == again).all()
    assert (first != other.draws(20, 2)).any()
    with pytest.raises(ValueError, match="read-only"):
        first[0, 0] = 3


# Samples


def test_a_sample_becomes_floats() -> None:
    assert sample_of([1, 2], "x").tolist() == [1.0, 2.0]
    assert sample_of(np.array([0.5], dtype=np.float32), "x").dtype == np.float64


@pytest.mark.parametrize("bad", [[], [[1.0]], 3.0, [[1.0, 2.0], [3.0, 4.0]]])
def test_what_is_no_list_of_numbers(bad: object) -> None:
    with pytest.raises(ValueError, match="left: expected a non-empty list of numbers"):
        sample_of(bad, "left")  # type: ignore[arg-type]


@pytest.mark.parametrize("bad", [[float("nan")], [1.0, float("nan")], [None, 1.0]])
def test_a_sample_with_nan(bad: list[float]) -> None:
    with pytest.raises(ValueError, match="left: holds NaN"):
        sample_of(bad, "left")


def test_samples_and_units_of_different_length() -> None:
    with pytest.raises(ValueError, match="paired samples differ in length: 2, 3 and 2"):
        paired_samples([1, 2], [1, 2, 3], None)
    with pytest.raises(ValueError, match="paired samples differ in length: 2, 2 and 3"):
        paired_samples([1, 2], [1, 2], Units.of(3))
    with pytest.raises(ValueError, match="left: 2 values, but 3 labels of subjects"):
        single_sample([1, 2], Units.of(3), "left")


@settings(max_examples=50, deadline=None)
@given(different, st.integers(0, 99))
def test_pairs_and_their_units_stay_together(values: list[float], seed: int) -> None:
    random = np.random.default_rng(seed)
    other = random.permutation(values)
    owners = random.integers(0, 12, len(values)).tolist()
    units = Units.of(len(values), copies=owners)
    first, second, ordered = paired_samples(values, other, units)
    before = Counter(zip(values, other.tolist(), strict=True))
    assert Counter(zip(first.tolist(), second.tolist(), strict=True)) == before
    groups = [
        Counter(pair for pair, owner in zip(zip(values, other, strict=True), owners, strict=True) if owner == one)
        for one in set(owners)
    ]
    found = [
        Counter(pair for pair, unit in zip(zip(first, second, strict=True), ordered.index, strict=True) if unit == one)
        for one in range(ordered.count)
    ]
    assert sorted(map(sorted, groups)) == sorted(map(sorted, found))


@settings(max_examples=50, deadline=None)
@given(different, st.integers(0, 99))
def test_the_order_of_pairs_is_the_same_for_any_file_and_either_way_round(values: list[float], seed: int) -> None:
    random = np.random.default_rng(seed)
    other, order = np.array(values) + random.normal(size=len(values)), random.permutation(len(values))
    first, second, units = paired_samples(values, other, None)
    assert [pair.tolist() for pair in paired_samples(other, values, None)[:2]] == [second.tolist(), first.tolist()]
    mixed = paired_samples(np.array(values)[order], other[order], None)
    assert (mixed[0].tolist(), mixed[1].tolist()) == (first.tolist(), second.tolist())
    assert units.index.tolist() == list(range(len(values)))


def test_a_single_sample_is_sorted_with_its_units() -> None:
    values, units = single_sample([3.0, 1.0, 2.0], Units.of(3, copies=[5, 6, 5]), "left")
    assert values.tolist() == [1.0, 2.0, 3.0]
    assert units.index.tolist() == [0, 1, 1]
