"""What is drawn anew when uncertainty is estimated: whole subjects, since the rows of one person are alike, or whole
conversations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

UnitKind = Literal["subjects", "conversations", "rows"]
FEWEST_SUBJECTS = 10
"""With fewer than this, subjects or conversations cannot be resampled: rows are, and the result speaks of these rows
only."""


@dataclass(frozen=True)
class Units:
    """The independent units of a sample.

    index: (n,) the unit of each row, from 0; kind: what a unit is.
    """

    index: NDArray[np.int64]
    kind: UnitKind

    @classmethod
    def of(
        cls,
        rows: int,
        subjects: Sequence[int] | None = None,
        copies: Sequence[int] | None = None,
        conversations: Sequence[int] | None = None,
        fewest: int = FEWEST_SUBJECTS,
    ) -> Units:
        """Units of `rows` rows: their subjects, or where those are unknown or fewer than `fewest`, their conversations,
        and where those are, the rows.

        conversations: (n,) equal numbers for turns of one, which go on from each other. copies: (n,) equal numbers for
        identical rows, which are one row asked several times, not more evidence.
        Raises ValueError without rows, or if a list has another length.
        """
        if rows < 1:
            raise ValueError("there are no rows to resample")
        for given in (subjects, copies, conversations):
            if given is not None and len(given) != rows:
                raise ValueError(f"{rows} rows, but {len(given)} labels of subjects")
        groups: tuple[tuple[Sequence[int] | None, UnitKind], ...] = (
            (subjects, "subjects"),
            (conversations, "conversations"),
        )
        for labels, kind in groups:
            if labels is not None and len(set(labels)) >= fewest:
                return cls(_numbered(labels), kind)
        return cls(np.arange(rows) if copies is None else _numbered(copies), "rows")

    @property
    def count(self) -> int:
        """Number of units."""
        return int(self.index.max()) + 1

    def ordered(self, order: NDArray[np.int64]) -> Units:
        """The units of the rows in another order, numbered by first appearance."""
        return Units(_numbered(self.index[order].tolist()), self.kind)

    def totals(self, values: Floats) -> Floats:
        """Sums over the rows of each unit: (n, k) -> (units, k)."""
        if self.count == len(values):
            summed = np.empty_like(values)
            summed[self.index] = values
            return summed
        summed = np.zeros((self.count, *values.shape[1:]))
        np.add.at(summed, self.index, values)
        return summed

    def sizes(self) -> Floats:
        """Rows of each unit, (units,)."""
        return np.bincount(self.index).astype(float)

    def draws(self, count: int, seed: int) -> NDArray[np.float32]:
        """How often each unit occurs in `count` bootstrap samples: (count, units), the same for the same seed."""
        return _draws(self.count, count, seed)


@lru_cache(maxsize=4)
def _draws(units: int, count: int, seed: int) -> NDArray[np.float32]:
    """Kept, since a verdict resamples the same number of units many times."""
    random = np.random.default_rng(seed)
    drawn = random.multinomial(units, np.full(units, 1 / units), size=count).astype(np.float32)
    drawn.flags.writeable = False
    return drawn


def _numbered(labels: Sequence[int]) -> NDArray[np.int64]:
    """Labels as numbers from 0 by first appearance."""
    seen: dict[int, int] = {}
    return np.array([seen.setdefault(label, len(seen)) for label in labels])


def sample_of(values: ArrayLike, name: str) -> Floats:
    """A non-empty list of numbers as an array, (n,). Raises ValueError for anything else, and for NaN."""
    sample = np.asarray(values, dtype=float)
    if sample.ndim != 1 or sample.size == 0:
        raise ValueError(f"{name}: expected a non-empty list of numbers, got shape {sample.shape}")
    if np.isnan(sample).any():
        raise ValueError(f"{name}: holds NaN")
    return sample


def paired_samples(a: ArrayLike, b: ArrayLike, units: Units | None) -> tuple[Floats, Floats, Units]:
    """Two samples of the same rows in an order that depends neither on the file's order nor on which comes first.

    Random draws then fall on the same rows whatever order they came in, and whatever monotone scale the scores have.
    Without `units` every row is one. Raises ValueError for different lengths or NaN.
    """
    first, second = sample_of(a, "first sample"), sample_of(b, "second sample")
    units = units or Units.of(first.size)
    if not first.size == second.size == units.index.size:
        raise ValueError(f"paired samples differ in length: {first.size}, {second.size} and {units.index.size}")
    lower, higher = (second, first) if ranks_before(second, first) else (first, second)
    order = np.lexsort((higher, lower))
    return first[order], second[order], units.ordered(order)


def ranks_before(first: Floats, second: Floats) -> bool:
    """Whether the first sample is the smaller one: fewer rows, or lower ranks. Monotone scales do not matter."""
    from scipy.stats import rankdata  # slow to import, and most commands do not judge

    if first.size != second.size:
        return first.size < second.size
    ranks = rankdata(np.concatenate([np.sort(first), np.sort(second)]))
    difference = ranks[: first.size] - ranks[first.size :]
    differing = difference[difference != 0]
    return bool(differing.size) and (float(difference.sum()) or float(differing[0])) < 0


def single_sample(values: ArrayLike, units: Units | None, name: str) -> tuple[Floats, Units]:
    """A sample in ascending order with its units. Raises ValueError for another length or NaN."""
    sample = sample_of(values, name)
    units = units or Units.of(sample.size)
    if sample.size != units.index.size:
        raise ValueError(f"{name}: {sample.size} values, but {units.index.size} labels of subjects")
    order = np.argsort(sample, kind="stable")
    return sample[order], units.ordered(order)
