"""Which rows meet in which batch."""

from collections import Counter
from math import ceil
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgetctl.engine.encoding import Encoded
from forgetctl.engine.schedule import Member, PairedBatches, Size


def rows(count: int) -> list[Encoded]:
    """Rows of uneven lengths and answers."""
    return [Encoded((1,) * (5 + 7 * i % 11), 2 + i % 3) for i in range(count)]


def batches(
    forget: int, retain: int, *, batch_size: int = 8, micro: int = 4, seed: int = 1, epoch: int = 0
) -> PairedBatches:
    made = PairedBatches(rows(forget), rows(retain), batch_size=batch_size, micro_batch_size=micro, seed=seed)
    made.set_epoch(epoch)
    return made


@st.composite
def shapes(draw: Any) -> dict[str, int]:
    sizes = {"forget": st.integers(1, 70), "retain": st.integers(0, 50), "batch_size": st.integers(1, 40)}
    rest = {"micro": st.integers(1, 40), "seed": st.integers(0, 2**32 - 1), "epoch": st.integers(0, 20)}
    return {name: draw(values) for name, values in (sizes | rest).items()}


def forget_of(optimizer_batches: list[list[Member]]) -> list[int]:
    return [member.forget for batch in optimizer_batches for member in batch]


@given(shapes())
def test_a_pure_function_of_seed_and_epoch(shape: dict[str, int]) -> None:
    one, other = batches(**shape), batches(**shape | {"epoch": 0})
    list(other)
    other.set_epoch(shape["epoch"])
    assert list(one) == list(one) == list(other)


def test_epochs_and_seeds_differ() -> None:
    orders = [
        [member.forget for batch in batches(24, 24, seed=seed, epoch=epoch).optimizer_batches() for member in batch]
        for seed, epoch in ((1, 0), (1, 1), (1, 2), (2, 0), (2, 1))
    ]
    assert len({tuple(order) for order in orders}) == len(orders)


def test_epochs_pair_with_different_retain_rows() -> None:
    used = [frozenset(m.retain for batch in batches(4, 40, epoch=epoch) for m in batch) for epoch in range(5)]
    assert len(set(used)) == 5


@given(shapes())
def test_every_forget_row_comes_exactly_once(shape: dict[str, int]) -> None:
    assert sorted(forget_of(list(batches(**shape)))) == list(range(shape["forget"]))


@given(shapes())
def test_no_retain_row_comes_twice_before_all_came_once(shape: dict[str, int]) -> None:
    """In the order of optimizer batches; within one, order is by length."""
    seen: Counter[int | None] = Counter()
    for batch in batches(**shape).optimizer_batches():
        seen.update(member.retain for member in batch)
        if shape["retain"] == 0:
            assert set(seen) == {None}
        else:
            times = [seen[index] for index in range(shape["retain"])]
            assert None not in seen
            assert max(times) - min(times) <= 1


@given(shapes())
def test_length_is_what_iteration_yields(shape: dict[str, int]) -> None:
    made = batches(**shape)
    assert len(made) == len(list(made))
    assert made.updates == len(list(made.optimizer_batches())) == ceil(shape["forget"] / shape["batch_size"])


@given(shapes())
def test_micro_batches_cut_each_optimizer_batch(shape: dict[str, int]) -> None:
    """All but the last give the number of micro-batches that the optimizer waits for; the last may give fewer."""
    made = batches(**shape)
    micro = list(made)
    taken = 0
    for number, batch in enumerate(made.optimizer_batches(), start=1):
        parts: list[list[Member]] = []
        while sum(map(len, parts)) < len(batch):
            parts.append(micro[taken + len(parts)])
        taken += len(parts)
        assert [member for part in parts for member in part] == batch
        assert len(batch) == shape["batch_size"] or number == made.updates
        assert len(parts) == made.micro_batches if number < made.updates else len(parts) <= made.micro_batches
        assert max(map(len, parts)) <= min(shape["micro"], shape["batch_size"])
    assert taken == len(micro)


@given(shapes())
def test_members_know_the_size_of_their_optimizer_batch(shape: dict[str, int]) -> None:
    made = batches(**shape)
    for batch in made.optimizer_batches():
        forget = [made.forget[member.forget] for member in batch]
        size = Size(len(forget), sum(row.tokens for row in forget))
        retain = [made.retain[member.retain] for member in batch if member.retain is not None]
        retain_size = Size(len(retain), sum(row.tokens for row in retain)) if retain else None
        assert {(member.forget_size, member.retain_size) for member in batch} == {(size, retain_size)}


@given(shapes())
def test_an_optimizer_batch_is_sorted_by_length(shape: dict[str, int]) -> None:
    made = batches(**shape)
    for batch in made.optimizer_batches():
        forget = [len(made.forget[member.forget].ids) for member in batch]
        retain = [len(made.retain[member.retain].ids) for member in batch if member.retain is not None]
        assert forget == sorted(forget, reverse=True)
        assert retain == sorted(retain, reverse=True)


def test_which_rows_meet_does_not_depend_on_the_micro_batch_size() -> None:
    chosen = [list(batches(20, 9, micro=micro).optimizer_batches()) for micro in (1, 3, 8, 99)]
    assert all(other == chosen[0] for other in chosen)


@pytest.mark.parametrize(
    ("batch_size", "micro", "sizes"),
    [(8, 4, [4, 4]), (8, 8, [8]), (8, 99, [8]), (8, 3, [3, 3, 2]), (10, 6, [5, 5]), (9, 8, [5, 4]), (1, 1, [1])],
)
def test_a_rest_is_spread(batch_size: int, micro: int, sizes: list[int]) -> None:
    assert [len(part) for part in batches(batch_size, 5, batch_size=batch_size, micro=micro)] == sizes


def test_fewer_rows_than_a_batch() -> None:
    made = batches(3, 5, batch_size=32, micro=16)
    assert (len(made), made.updates, made.micro_batches) == (1, 1, 2)
    assert [len(part) for part in made] == [3]


def test_without_retain_rows() -> None:
    members = [member for batch in batches(5, 0) for member in batch]
    assert {(member.retain, member.retain_size) for member in members} == {(None, None)}


def test_positions_are_plain_integers() -> None:
    assert {type(value) for batch in batches(9, 4) for m in batch for value in (m.forget, m.retain)} == {int}
