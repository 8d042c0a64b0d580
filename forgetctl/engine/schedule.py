"""Which rows meet in which batch: a pure function of (seed, epoch), so that runs resume exactly.

An optimizer batch pairs each of its forget rows with a retain row. It is cut into micro-batches of similar
length, so that padding is nearly nil; the cut changes no loss and no gradient, since objectives divide by the
size of the optimizer batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np

from .encoding import Encoded


@dataclass(frozen=True)
class Size:
    """Rows and answer tokens of one role in an optimizer batch."""

    rows: int
    tokens: int


@dataclass(frozen=True)
class Member:
    """A forget row with its retain partner, by position, and the optimizer batch they belong to.

    batch: positions of all its forget rows; the sizes are those of the whole of it.
    """

    forget: int
    retain: int | None
    forget_size: Size
    retain_size: Size | None
    batch: tuple[int, ...]
    epoch: int


class PairedBatches:
    """A batch sampler that yields micro-batches of Members; `set_epoch` chooses the epoch.

    Every optimizer batch but the last of an epoch gives exactly `micro_batches` of them.
    """

    def __init__(
        self,
        forget: Sequence[Encoded],
        retain: Sequence[Encoded],
        *,
        batch_size: int,
        micro_batch_size: int,
        seed: int,
    ) -> None:
        self.forget, self.retain = forget, retain
        self.micro_size = min(micro_batch_size, batch_size)
        self.micro_batches = ceil(batch_size / self.micro_size)
        # Where the cut leaves a rest, spread it: equal parts waste less than a full one and a remainder.
        self.micro_size = ceil(batch_size / self.micro_batches)
        self.batch_size, self.seed, self.epoch = batch_size, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration yields."""
        self.epoch = epoch

    @property
    def updates(self) -> int:
        """Optimizer steps in an epoch."""
        return ceil(len(self.forget) / self.batch_size)

    def __len__(self) -> int:
        full, rest = divmod(len(self.forget), self.batch_size)
        return full * self.micro_batches + ceil(rest / self.micro_size)

    def __iter__(self) -> Iterator[list[Member]]:
        for batch in self.optimizer_batches():
            for start in range(0, len(batch), self.micro_size):
                yield batch[start : start + self.micro_size]

    def optimizer_batches(self) -> Iterator[list[Member]]:
        """The epoch's optimizer batches, each sorted by length."""
        random = np.random.default_rng([self.seed, self.epoch])
        order = random.permutation(len(self.forget))
        partners = self._partners(random)
        for start in range(0, len(order), self.batch_size):
            chosen = slice(start, start + self.batch_size)
            yield self._members(list(order[chosen]), partners[chosen])

    def _partners(self, random: np.random.Generator) -> list[int]:
        """A retain row for each place in the epoch; none comes twice before all came once."""
        partners: list[int] = []
        while self.retain and len(partners) < len(self.forget):
            partners.extend(int(i) for i in random.permutation(len(self.retain)))
        return partners[: len(self.forget)]

    def _members(self, forget: list[int], retain: list[int]) -> list[Member]:
        # Which forget row meets which retain row does not matter to a loss that averages each role, so both
        # are sorted by length before they are joined.
        forget = sorted((int(i) for i in forget), key=lambda i: (-len(self.forget[i].ids), i))
        ordered = sorted(retain, key=lambda i: (-len(self.retain[i].ids), i))
        partners: Sequence[int | None] = ordered or [None] * len(forget)
        forget_size = Size(len(forget), sum(self.forget[i].tokens for i in forget))
        retain_size = Size(len(retain), sum(self.retain[i].tokens for i in retain)) if retain else None
        shared = (forget_size, retain_size, tuple(forget), self.epoch)
        return [Member(row, partner, *shared) for row, partner in zip(forget, partners, strict=True)]
