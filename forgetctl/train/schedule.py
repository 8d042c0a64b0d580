"""Which rows meet in which optimizer step: a pure function of (seed, epoch), so that runs resume exactly.

A step pairs each of its leading rows, the forget rows where there are any, with a row of every other role; a forget row
of which parts are marked also brings, as a retain row, what is left of it. It is computed in micro-batches of rows of
similar length, rows of all roles mixed, so that padding, where there is any, is nearly nil; the cut changes no loss and
no gradient, since objectives divide by the size of the whole step. Nor does the number of processes: each computes its
share of every step.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil
from typing import NamedTuple

import numpy as np

from ..errors import MemoryExceeded
from ..losses.methods import ROLES, Role
from ..model.encoding import Encoded
from ..model.processes import deal

RowsByRole = Mapping[Role, Sequence[Encoded]]
"""What is trained on: the rows of each role."""


@dataclass(frozen=True)
class Size:
    """Rows and answer tokens of one role in an optimizer step."""

    rows: int
    tokens: int


@dataclass(frozen=True, kw_only=True)
class MicroBatchLimits:
    """The most that is computed at once: rows of all roles, and tokens, with padding if rows are padded to the longest
    that they are computed with. A longer row comes alone.

    overhead: what a micro-batch costs beside its tokens, in tokens: launching it, and adding its gradients to the
    others'. apart: rows of more input tokens are not computed together with shorter ones (`scoring.short_input`).
    """

    rows: int
    tokens: int
    padded: bool = True
    overhead: int = 64
    apart: int | None = None


@dataclass(frozen=True)
class Step:
    """An optimizer step: positions of the rows of each role, in the order drawn, and what they come to.

    Only roles that the loss reads are there.
    """

    epoch: int
    rows: Mapping[Role, tuple[int, ...]]
    sizes: Mapping[Role, Size]


@dataclass(frozen=True)
class MicroBatch:
    """What is computed at once of a step: positions of the rows of each of the step's roles.

    counts: False for a row that another process counts, computed only to keep pace with it.
    """

    step: Step
    rows: Mapping[Role, tuple[int, ...]]
    counts: bool = True

    def __len__(self) -> int:
        return sum(map(len, self.rows.values()))


class _Place(NamedTuple):
    """A row of a step: its role, its position among the rows of that role, and its length in tokens."""

    role: Role
    row: int
    length: int


class PairedBatches:
    """A batch sampler that yields one Step at a time, each as a list of one; `set_epoch` chooses the epoch.

    process, processes: which of how many computes what `micro_batches` gives it; the steps are the same for all.
    """

    def __init__(
        self,
        rows: RowsByRole,
        *,
        batch_size: int,
        limits: MicroBatchLimits,
        seed: int,
        process: int = 0,
        processes: int = 1,
    ) -> None:
        """batch_size: leading rows of a step."""
        self.rows: RowsByRole = {role: rows[role] for role in ROLES if rows.get(role)}
        self.batch_size, self.limits, self.seed, self.epoch = batch_size, limits, seed, 0
        self.process, self.processes = process, processes

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration yields."""
        self.epoch = epoch

    def __len__(self) -> int:
        return ceil(self._leading / self.batch_size)

    def __iter__(self) -> Iterator[list[Step]]:
        for step in self.steps():
            yield [step]

    def steps(self) -> Iterator[Step]:
        """The epoch's optimizer steps."""
        random = np.random.default_rng([self.seed, self.epoch])
        drawn = {role: self._drawn(self._free(role), random) for role in self.rows}
        for start in range(0, self._leading, self.batch_size):
            chosen = {role: tuple(order[start : start + self.batch_size]) for role, order in drawn.items()}
            if self._rests:
                rests = (self._rests[row] for row in chosen["forget"] if row in self._rests)
                chosen["retain"] = (*chosen["retain"], *dict.fromkeys(rests))
            yield Step(self.epoch, chosen, {role: self._size(role, places) for role, places in chosen.items()})

    @cached_property
    def _leading(self) -> int:
        """How many leading rows there are, each of which comes once an epoch."""
        return len(next(iter(self.rows.values()), ()))

    @cached_property
    def _rests(self) -> dict[int, int]:
        """For forget rows of which parts are marked, the position of what is left of each among the retain rows."""
        marked = {row.ids: place for place, row in enumerate(self.rows.get("retain", ())) if row.scored is not None}
        forget = enumerate(self.rows.get("forget", ()))
        return {place: marked[row.ids] for place, row in forget if row.scored is not None and row.ids in marked}

    def _free(self, role: Role) -> list[int]:
        """Positions of the rows of a role that are drawn, and come with no other."""
        taken = set(self._rests.values()) if role == "retain" else set()
        return [place for place in range(len(self.rows[role])) if place not in taken]

    def _drawn(self, places: Sequence[int], random: np.random.Generator) -> list[int]:
        """One of these rows for each place in the epoch; none comes twice before all came once."""
        drawn: list[int] = []
        while places and len(drawn) < self._leading:
            drawn.extend(places[i] for i in random.permutation(len(places)))
        return drawn[: self._leading]

    def _size(self, role: Role, positions: Sequence[int]) -> Size:
        return Size(len(positions), sum(self.rows[role][i].tokens for i in positions))

    def micro_batches(self, step: Step) -> list[MicroBatch]:
        """This process's share of the step cut for computing, longest rows first.

        As many micro-batches as every other process has: where the model is spread over the processes, each computation
        needs all of them.
        """
        places = [_Place(role, i, self._lengths[role][i]) for role, rows in step.rows.items() for i in rows]
        places.sort(key=lambda place: (-place.length, place.role, place.row))
        shares = deal([place.length for place in places], self.processes)
        cut = [self._cut(step, [places[position] for position in share]) for share in shares]
        own = cut[self.process]
        idle = replace(_micro_batch(step, places[-1:]), counts=False)
        return own + [idle] * (max(map(len, cut)) - len(own))

    def _cut(self, step: Step, places: Sequence[_Place]) -> list[MicroBatch]:
        return [_micro_batch(step, places[part]) for part in cuts([place.length for place in places], self.limits)]

    def halve(self, refused: Sequence[MicroBatch]) -> None:
        """Compute at most half as much at once as in the largest of these.

        Raises MemoryExceeded if each holds a single row.
        """
        if all(len(micro_batch) == 1 for micro_batch in refused):
            longest = max(self._tokens(micro_batch) for micro_batch in refused)
            raise MemoryExceeded(
                f"a row of {longest} tokens does not fit into the memory even alone; shorten rows with "
                "--max-length, or train adapters (--lora)"
            )
        most = max(self._tokens(micro_batch) for micro_batch in refused if len(micro_batch) > 1)
        rows = max(map(len, refused))
        self.limits = replace(self.limits, rows=max(1, rows // 2), tokens=max(1, most // 2))

    def rows_of(self, chosen: Step | MicroBatch) -> list[Encoded]:
        """The rows of a step or of a micro-batch, role by role, in the order that they are computed in."""
        return [self.rows[role][i] for role, places in chosen.rows.items() for i in places]

    def _tokens(self, micro_batch: MicroBatch) -> int:
        lengths = [len(row.ids) for row in self.rows_of(micro_batch)]
        return max(lengths) * len(lengths) if self.limits.padded else sum(lengths)

    @cached_property
    def _lengths(self) -> dict[Role, list[int]]:
        return {role: [len(row.ids) for row in rows] for role, rows in self.rows.items()}


def _micro_batch(step: Step, places: Sequence[_Place]) -> MicroBatch:
    return MicroBatch(step, {role: tuple(place.row for place in places if place.role == role) for role in step.rows})


def _differ(longest: int, length: int, apart: int | None) -> bool:
    return apart is not None and length - 1 <= apart < longest - 1  # a row's last token is no input


def cuts(lengths: Sequence[int], limits: MicroBatchLimits) -> list[slice]:
    """The cut of falling `lengths` into consecutive micro-batches that costs least: their tokens, and what each costs
    beside.

    Of several such cuts the one with the most even parts, which need the least memory.
    """
    best: list[tuple[int, int] | None] = [(0, 0), *[None] * len(lengths)]
    back = [0] * (len(lengths) + 1)
    for start, longest in enumerate(lengths):
        cost, unevenness = best[start] or (0, 0)
        tokens = 0
        for count, length in enumerate(lengths[start : start + limits.rows], start=1):
            tokens = longest * count if limits.padded else tokens + length
            if count > 1 and (tokens > limits.tokens or _differ(longest, length, limits.apart)):
                break
            reached, end = (cost + tokens + limits.overhead, unevenness + tokens**2), start + count
            known = best[end]
            if known is None or reached < known:
                best[end], back[end] = reached, start
    parts, end = [], len(lengths)
    while end:
        parts.append(slice(back[end], end))
        end = back[end]
    return parts[::-1]
