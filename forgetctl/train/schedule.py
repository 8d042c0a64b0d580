"""Which rows meet in which optimizer step: a pure function of (seed, epoch), so that runs resume exactly.

A step pairs each of its forget rows with a retain row. It is computed in parts of rows of similar length, forget and
retain rows mixed, so that padding, where there is any, is nearly nil; the cut changes no loss and no gradient, since
objectives divide by the size of the whole step. Nor does the number of processes: each computes its share of every
step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil
from typing import NamedTuple

import numpy as np

from ..errors import MemoryExceeded
from ..losses.methods import Role
from ..model.encoding import Encoded
from ..model.processes import deal


@dataclass(frozen=True)
class Size:
    """Rows and answer tokens of one role in an optimizer step."""

    rows: int
    tokens: int


@dataclass(frozen=True)
class Limits:
    """The most that is computed at once: rows of both roles, and tokens, with padding if rows are padded to the longest
    that they are computed with. A longer row comes alone.

    part: what a part costs beside its tokens, in tokens: launching it, and adding its gradients to the others'. apart:
    rows of more input tokens are not computed together with shorter ones (`scoring.short_input`).
    """

    rows: int
    tokens: int
    padded: bool = True
    part: int = 64
    apart: int | None = None


@dataclass(frozen=True)
class Step:
    """An optimizer step: positions of its forget rows and of their partners of other roles, in the order drawn.

    retain and unseen are empty where the loss reads no such row.
    """

    epoch: int
    forget: tuple[int, ...]
    retain: tuple[int, ...]
    forget_size: Size
    retain_size: Size
    unseen: tuple[int, ...] = ()
    unseen_size: Size = Size(0, 0)


@dataclass(frozen=True)
class Part:
    """What is computed at once of a step: positions of the rows of each role.

    counts: False for a row that another process counts, computed only to keep pace with it.
    """

    step: Step
    forget: tuple[int, ...]
    retain: tuple[int, ...]
    unseen: tuple[int, ...] = ()
    counts: bool = True

    def __len__(self) -> int:
        return len(self.forget) + len(self.retain) + len(self.unseen)


def by_role(chosen: Step | Part) -> dict[Role, tuple[int, ...]]:
    """The positions of its rows, role by role, in the order that they are computed in."""
    return {"forget": chosen.forget, "retain": chosen.retain, "unseen": chosen.unseen}


class Place(NamedTuple):
    """A row of a step: its role, its position among the rows of that role, and its length in tokens."""

    role: Role
    row: int
    length: int


class PairedBatches:
    """A batch sampler that yields one Step at a time, each as a list of one; `set_epoch` chooses the epoch.

    process, processes: which of how many computes what `parts` gives it; the steps are the same for all.
    """

    def __init__(
        self,
        forget: Sequence[Encoded],
        retain: Sequence[Encoded],
        *,
        unseen: Sequence[Encoded] = (),
        batch_size: int,
        limits: Limits,
        seed: int,
        process: int = 0,
        processes: int = 1,
    ) -> None:
        self.rows: dict[Role, Sequence[Encoded]] = {"forget": forget, "retain": retain, "unseen": unseen}
        self.batch_size, self.limits, self.seed, self.epoch = batch_size, limits, seed, 0
        self.process, self.processes = process, processes

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration yields."""
        self.epoch = epoch

    def __len__(self) -> int:
        return ceil(len(self.rows["forget"]) / self.batch_size)

    def __iter__(self) -> Iterator[list[Step]]:
        for step in self.steps():
            yield [step]

    def steps(self) -> Iterator[Step]:
        """The epoch's optimizer steps."""
        random = np.random.default_rng([self.seed, self.epoch])
        order = [int(i) for i in random.permutation(len(self.rows["forget"]))]
        partners = self._partners("retain", random), self._partners("unseen", random)
        for start in range(0, len(order), self.batch_size):
            chosen = slice(start, start + self.batch_size)
            forget, retain, unseen = (tuple(places[chosen]) for places in (order, *partners))
            sizes = (self._size("forget", forget), self._size("retain", retain))
            yield Step(self.epoch, forget, retain, *sizes, unseen, self._size("unseen", unseen))

    def _size(self, role: Role, positions: Sequence[int]) -> Size:
        return Size(len(positions), sum(self.rows[role][i].tokens for i in positions))

    def _partners(self, role: Role, random: np.random.Generator) -> list[int]:
        """A row of the role for each place in the epoch; none comes twice before all came once."""
        partners: list[int] = []
        while self.rows[role] and len(partners) < len(self.rows["forget"]):
            partners.extend(int(i) for i in random.permutation(len(self.rows[role])))
        return partners[: len(self.rows["forget"])]

    def parts(self, step: Step) -> list[Part]:
        """This process's share of the step cut for computing, longest rows first.

        As many parts as every other process has: where the model is spread over the processes, each computation needs
        all of them.
        """
        places = [Place(role, i, self._lengths[role][i]) for role, rows in by_role(step).items() for i in rows]
        places.sort(key=lambda place: (-place.length, place.role, place.row))
        shares = deal([place.length for place in places], self.processes)
        cut = [self._cut(step, [places[position] for position in share]) for share in shares]
        own = cut[self.process]
        idle = replace(_part(step, places[-1:]), counts=False)
        return own + [idle] * (max(map(len, cut)) - len(own))

    def _cut(self, step: Step, places: Sequence[Place]) -> list[Part]:
        return [_part(step, places[part]) for part in cuts([place.length for place in places], self.limits)]

    def halve(self, parts: Sequence[Part]) -> None:
        """Compute at most half as much at once as in the largest of these parts.

        Raises MemoryExceeded if each holds a single row.
        """
        if all(len(part) == 1 for part in parts):
            longest = max(self._tokens(part) for part in parts)
            raise MemoryExceeded(
                f"a row of {longest} tokens does not fit into the memory even alone; shorten rows with --set "
                "max_length=..., or train adapters (--lora)"
            )
        most = max(self._tokens(part) for part in parts if len(part) > 1)
        rows = max(map(len, parts))
        self.limits = replace(self.limits, rows=max(1, rows // 2), tokens=max(1, most // 2))

    def of(self, chosen: Step | Part) -> list[Encoded]:
        """The rows of a step or of a part."""
        return [self.rows[role][i] for role, places in by_role(chosen).items() for i in places]

    def _tokens(self, part: Part) -> int:
        lengths = [len(row.ids) for row in self.of(part)]
        return max(lengths) * len(lengths) if self.limits.padded else sum(lengths)

    @cached_property
    def _lengths(self) -> dict[Role, list[int]]:
        return {role: [len(row.ids) for row in rows] for role, rows in self.rows.items()}


def _part(step: Step, places: Sequence[Place]) -> Part:
    rows = {role: tuple(place.row for place in places if place.role == role) for role in by_role(step)}
    return Part(step, rows["forget"], rows["retain"], rows["unseen"])


def _differ(longest: int, length: int, apart: int | None) -> bool:
    return apart is not None and length - 1 <= apart < longest - 1  # a row's last token is no input


def cuts(lengths: Sequence[int], limits: Limits) -> list[slice]:
    """The cut of falling `lengths` into consecutive parts that costs least: their tokens, and what a part costs beside.

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
            reached, end = (cost + tokens + limits.part, unevenness + tokens**2), start + count
            known = best[end]
            if known is None or reached < known:
                best[end], back[end] = reached, start
    parts, end = [], len(lengths)
    while end:
        parts.append(slice(back[end], end))
        end = back[end]
    return parts[::-1]
