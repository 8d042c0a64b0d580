"""Which rows meet in which optimizer step, and how a step is cut into what is computed at once."""

import itertools
from collections import Counter
from dataclasses import replace
from math import ceil
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgetctl.losses.methods import Role
from forgetctl.model.encoding import Encoded
from forgetctl.model.processes import deal
from forgetctl.train.schedule import MicroBatchLimits, PairedBatches, RowsByRole, Size, cuts


def rows(count: int) -> list[Encoded]:
    """Rows of uneven lengths and answers."""
    return [Encoded((1,) * (5 + 7 * i % 11), 2 + i % 3) for i in range(count)]


def batches(
    forget: int,
    retain: int,
    *,
    unseen: int = 0,
    batch_size: int = 8,
    micro: int = 4,
    seed: int = 1,
    epoch: int = 0,
    tokens: int = 1000,
    **place: int,
) -> PairedBatches:
    limits = MicroBatchLimits(rows=micro, tokens=tokens)
    given: RowsByRole = {"forget": rows(forget), "retain": rows(retain), "unseen": rows(unseen)}
    made = PairedBatches(given, batch_size=batch_size, limits=limits, seed=seed, **place)
    made.set_epoch(epoch)
    return made


@st.composite
def shapes(draw: Any) -> dict[str, int]:
    sizes = {"forget": st.integers(1, 70), "retain": st.integers(0, 50), "batch_size": st.integers(1, 40)}
    sizes["unseen"] = st.integers(0, 50)
    rest = {"micro": st.integers(1, 40), "seed": st.integers(0, 2**32 - 1), "epoch": st.integers(0, 20)}
    return {name: draw(values) for name, values in (sizes | rest | {"tokens": st.integers(1, 400)}).items()}


@given(shapes())
def test_a_pure_function_of_seed_and_epoch(shape: dict[str, int]) -> None:
    one, other = batches(**shape), batches(**shape | {"epoch": 0})
    list(other)
    other.set_epoch(shape["epoch"])
    assert list(one) == list(one) == list(other)


@given(shapes(), st.integers(0, 2**20))
def test_what_is_left_of_a_row_comes_with_it_and_changes_nothing_else(shape: dict[str, int], marks: int) -> None:
    """Every other draw is what it would be without; a rest comes once a step, also with two rows of one text."""
    one = batches(**shape)
    whole = dict(one.rows)
    texts = [replace(row, ids=(2, place // 2, *row.ids[2:])) for place, row in enumerate(whole["forget"])]
    forget = [in_part(row) if marks >> place & 1 else row for place, row in enumerate(texts)]
    rests = list(dict.fromkeys(in_part(row, first=False) for row in forget if row.scored))
    retain = [*whole.get("retain", ()), *rests]
    given: RowsByRole = {**whole, "forget": forget, "retain": retain}
    other = PairedBatches(given, batch_size=shape["batch_size"], limits=one.limits, seed=shape["seed"])
    other.set_epoch(shape["epoch"])
    count = len(retain) - len(rests)
    for before, after in zip(one.steps(), other.steps(), strict=True):
        assert after.rows["forget"] == before.rows["forget"]
        drawn = [place for place in after.rows.get("retain", ()) if place < count]
        assert tuple(drawn) == before.rows.get("retain", ())
        with_it = [retain[place].ids for place in after.rows.get("retain", ()) if place >= count]
        assert sorted(with_it) == sorted({forget[place].ids for place in after.rows["forget"] if forget[place].scored})
        if retain:
            assert after.sizes["retain"].tokens == sum(retain[place].tokens for place in after.rows["retain"])


def in_part(row: Encoded, *, first: bool = True) -> Encoded:
    """The first token of the answer is marked, or is not."""
    return replace(row, scored=(first, *[not first] * (len(row.ids) - row.start - 1)))


def test_epochs_and_seeds_differ() -> None:
    orders = [
        [row for step in batches(24, 24, seed=seed, epoch=epoch).steps() for row in step.rows["forget"]]
        for seed, epoch in ((1, 0), (1, 1), (1, 2), (2, 0), (2, 1))
    ]
    assert len({tuple(order) for order in orders}) == len(orders)


def test_epochs_pair_with_different_retain_rows() -> None:
    used = [
        frozenset(row for step in batches(4, 40, epoch=epoch).steps() for row in step.rows["retain"])
        for epoch in range(5)
    ]
    assert len(set(used)) == 5


@given(shapes())
def test_every_forget_row_comes_exactly_once(shape: dict[str, int]) -> None:
    found = [row for step in batches(**shape).steps() for row in step.rows["forget"]]
    assert sorted(found) == list(range(shape["forget"]))


@given(shapes())
def test_no_partner_comes_twice_before_all_came_once(shape: dict[str, int]) -> None:
    others: tuple[Role, ...] = ("retain", "unseen")
    for role in others:
        seen: Counter[int] = Counter()
        for step in batches(**shape).steps():
            drawn = step.rows.get(role, ())
            assert len(drawn) == (len(step.rows["forget"]) if shape[role] else 0)
            seen.update(drawn)
            times = [seen[index] for index in range(shape[role])] or [0]
            assert max(times) - min(times) <= 1


@given(shapes())
def test_unseen_rows_change_nothing_else(shape: dict[str, int]) -> None:
    with_them, without = batches(**shape), batches(**shape | {"unseen": 0})
    pairs = [[(step.rows["forget"], step.rows.get("retain")) for step in made.steps()] for made in (with_them, without)]
    assert pairs[0] == pairs[1]


@given(shapes())
def test_length_is_what_iteration_yields(shape: dict[str, int]) -> None:
    made = batches(**shape)
    assert len(made) == len(list(made)) == ceil(shape["forget"] / shape["batch_size"])
    assert {len(step.rows["forget"]) for step in list(made.steps())[:-1]} <= {shape["batch_size"]}


@given(shapes())
def test_a_step_knows_its_size(shape: dict[str, int]) -> None:
    made = batches(**shape)
    for step in made.steps():
        assert step.rows.keys() == step.sizes.keys()
        for role, positions in step.rows.items():
            assert step.sizes[role] == Size(len(positions), sum(made.rows[role][i].tokens for i in positions))


@given(shapes())
def test_micro_batches_cut_each_step(shape: dict[str, int]) -> None:
    """Every row comes once, in its role, within the limits; a row that is longer than they allow comes alone."""
    made = batches(**shape)
    for step in made.steps():
        parts = made.micro_batches(step)
        for role in step.rows:
            assert Counter(i for part in parts for i in part.rows[role]) == Counter(step.rows[role])
        for part in parts:
            assert part.step is step
            lengths = [len(row.ids) for row in made.rows_of(part)]
            assert len(lengths) == len(part)
            assert len(lengths) == 1 or (
                len(lengths) <= shape["micro"] and len(lengths) * max(lengths) <= shape["tokens"]
            )


@given(shapes())
def test_which_rows_meet_does_not_depend_on_the_limits(shape: dict[str, int]) -> None:
    assert list(batches(**shape).steps()) == list(batches(**shape | {"micro": 1, "tokens": 1}).steps())


@given(st.lists(st.integers(1, 200), min_size=1, max_size=9), st.integers(1, 9), st.integers(1, 600), st.booleans())
def test_no_other_cut_costs_less(lengths: list[int], most: int, tokens: int, padded: bool) -> None:
    """Against all cuts there are."""
    lengths = sorted(lengths, reverse=True)
    limits = MicroBatchLimits(rows=most, tokens=tokens, padded=padded)

    def cost(ends: tuple[int, ...]) -> float:
        total = 0.0
        for start, end in itertools.pairwise((0, *ends, len(lengths))):
            taken = lengths[start] * (end - start) if padded else sum(lengths[start:end])
            if end - start > 1 and (end - start > most or taken > tokens):
                return float("inf")
            total += taken + limits.overhead
        return total

    inner = range(1, len(lengths))
    best = min(cost(ends) for count in range(len(lengths)) for ends in itertools.combinations(inner, count))
    found = cuts(lengths, limits)
    assert [part.start for part in found] == [0, *(part.stop for part in found[:-1])]
    assert found[-1].stop == len(lengths)
    assert cost(tuple(part.stop for part in found[:-1])) == best


def test_short_and_long_rows_are_not_computed_together() -> None:
    assert cuts([400, 400, 20, 20, 20], MicroBatchLimits(rows=99, tokens=4000)) == [slice(0, 2), slice(2, 5)]


def test_rows_that_are_not_padded_are_computed_together_whatever_their_length() -> None:
    assert cuts([400, 400, 20, 20, 20], MicroBatchLimits(rows=99, tokens=4000, padded=False)) == [slice(0, 5)]


def test_micro_batches_of_equal_cost_are_even() -> None:
    assert cuts([10] * 12, MicroBatchLimits(rows=99, tokens=100, padded=False)) == [slice(0, 6), slice(6, 12)]


def test_forget_and_retain_rows_of_a_length_are_computed_together() -> None:
    short, long = Encoded((1,) * 5, 2), Encoded((1,) * 300, 2)
    given: RowsByRole = {"forget": [short, long], "retain": [long, short]}
    made = PairedBatches(given, batch_size=2, limits=MicroBatchLimits(rows=99, tokens=4000), seed=1)
    (step,) = made.steps()
    assert [tuple(part.rows.values()) for part in made.micro_batches(step)] == [((1,), (0,)), ((0,), (1,))]


def test_fewer_rows_than_a_step() -> None:
    made = batches(3, 5, batch_size=32, micro=16)
    assert [len(step.rows["forget"]) for step in made.steps()] == [3]


def test_without_retain_rows() -> None:
    assert {tuple(step.rows) for step in batches(5, 0).steps()} == {("forget",)}


def test_retain_rows_alone_lead() -> None:
    """As in plain fine-tuning: each comes once an epoch, in another order every time."""
    orders = []
    for epoch in range(2):
        made = batches(0, 21, epoch=epoch)
        assert len(made) == 3
        assert {tuple(step.rows) for step in made.steps()} == {("retain",)}
        orders.append([row for step in made.steps() for row in step.rows["retain"]])
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(21))
    assert orders[0] != orders[1]


@pytest.mark.parametrize("role", ["forget", "retain", "unseen"])
def test_positions_are_plain_integers(role: Role) -> None:
    assert {type(value) for step in batches(9, 4, unseen=5).steps() for value in step.rows[role]} == {int}


# Several processes


def shared(shape: dict[str, int], processes: int) -> list[PairedBatches]:
    return [batches(**shape, process=process, processes=processes) for process in range(processes)]


@given(shapes(), st.integers(1, 6))
def test_the_steps_are_the_same_for_every_process(shape: dict[str, int], processes: int) -> None:
    assert all(list(made.steps()) == list(batches(**shape).steps()) for made in shared(shape, processes))


@given(shapes(), st.integers(1, 6))
def test_processes_share_each_step(shape: dict[str, int], processes: int) -> None:
    """Every row is counted by one process, in its role; all have as many micro-batches; none goes beyond the limits."""
    made = shared(shape, processes)
    for step in made[0].steps():
        cut = [process.micro_batches(step) for process in made]
        assert len({len(parts) for parts in cut}) == 1
        counted = [part for parts in cut for part in parts if part.counts]
        for role in step.rows:
            assert Counter(i for part in counted for i in part.rows[role]) == Counter(step.rows[role])
        for part in (part for parts in cut for part in parts):
            lengths = [len(row.ids) for row in made[0].rows_of(part)]
            assert len(lengths) == 1 or len(lengths) <= shape["micro"]
            assert part.counts or len(lengths) == 1


@given(st.lists(st.integers(1, 200), max_size=40), st.integers(1, 7))
def test_shares_are_about_even(lengths: list[int], processes: int) -> None:
    """No two are further apart than the longest row, and no process is left without a row while another has two."""
    shares = deal(lengths, processes)
    assert sorted(position for share in shares for position in share) == list(range(len(lengths)))
    loads = [sum(lengths[position] for position in share) for share in shares]
    assert max(loads) - min(loads) <= max(lengths, default=0)
    assert sum(map(bool, shares)) == min(processes, len(lengths))


def test_a_process_without_a_row_keeps_pace_with_the_shortest() -> None:
    forget = [Encoded((1,) * 9, 2)]
    limits = MicroBatchLimits(rows=9, tokens=999)
    (step,) = PairedBatches({"forget": forget}, batch_size=4, limits=limits, seed=1).steps()
    idle = PairedBatches({"forget": forget}, batch_size=4, limits=limits, seed=1, process=1, processes=2)
    (part,) = idle.micro_batches(step)
    assert (part.rows, part.counts) == ({"forget": (0,)}, False)
