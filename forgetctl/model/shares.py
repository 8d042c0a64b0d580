"""What the processes of a run measure together, each on its share of the rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from .encoding import Encoded
from .processes import Ranks, deal
from .protocol import Model
from .scoring import score
from .states import AnswerStates

Value = TypeVar("Value")


def in_shares(ranks: Ranks, lengths: Sequence[int], compute: Callable[[Sequence[int]], Sequence[Value]]) -> list[Value]:
    """A value for each of the rows, in order, in all processes; `compute` gives those at some positions.

    lengths: of the rows, in tokens, by which they are dealt out. Nothing may be sent or awaited by `compute`, and what
    it raises in one process all raise, as `Ranks.agreed`.
    """
    own = _share(ranks, lengths)
    with ranks.agreed():
        computed = compute(own)
    values: dict[int, Value] = {}
    for positions, some in ranks.gather((own, computed)):
        values.update(zip(positions, some, strict=True))
    return [values[position] for position in range(len(lengths))]


def _share(ranks: Ranks, lengths: Sequence[int]) -> list[int]:
    """Positions of the rows that are this process's.

    One without a row takes the first all the same: what it finds out about the model it must not find out later.
    """
    if ranks.count == 1:
        return list(range(len(lengths)))
    return deal(lengths, ranks.count)[ranks.index] or list(range(len(lengths)))[:1]


def shared_scores(
    ranks: Ranks, model: Model, rows: Sequence[Encoded], advance: Callable[[int], None] = lambda _: None
) -> list[float]:
    """`scoring.score`, each process a share of the rows; all of them get all scores. The model must be whole.

    advance: called with rows just done, this process's counted for all. Raises as `scoring.score`.
    """

    def compute(own: Sequence[int]) -> list[float]:
        return score(model, [rows[position] for position in own], lambda done: advance(done * ranks.count))

    return in_shares(ranks, [len(row.ids) for row in rows], compute)


class SharedStates:
    """`AnswerStates` of rows, of which each process keeps those of its share."""

    def __init__(self, ranks: Ranks, model: Model, rows: Sequence[Encoded]) -> None:
        """Raises as `AnswerStates`."""
        self.ranks, self.rows = ranks, list(rows)
        lengths = [len(row.ids) for row in rows]
        own = _share(ranks, lengths)
        # Of more processes than rows some have a row that another one counts.
        self.counts = ranks.count == 1 or own == deal(lengths, ranks.count)[ranks.index]
        with ranks.agreed():
            self.own = AnswerStates(model, [self.rows[position] for position in own])

    @property
    def vocabulary(self) -> int:
        """Number of tokens that the distributions are over."""
        return self.own.vocabulary

    def divergence_from(self, model: Model) -> float:
        """As of `AnswerStates`, over the rows of all processes, in all of them."""
        with self.ranks.agreed():
            mean = self.own.divergence_from(model)
        if self.ranks.count == 1:
            return mean
        tokens = sum(row.tokens for row in self.own.rows) if self.counts else 0
        total, count = self.ranks.totals([mean * tokens, tokens])
        return total / count
