"""The start model's scores, each process computing its share of the rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .encoding import Encoded
from .ranks import Ranks
from .schedule import deal
from .scoring import score


def shared_scores(
    ranks: Ranks, model: Any, rows: Sequence[Encoded], advance: Callable[[int], None] = lambda _: None
) -> list[float]:
    """`scoring.score`, each process a share of the rows; all of them get all scores. The model must be whole.

    advance: called with rows just done, this process's counted for all. Raises ModelError if a score is not finite.
    """
    if ranks.count == 1:
        return score(model, rows, advance)
    shares = deal([len(row.ids) for row in rows], ranks.count)
    # A process without a row scores one all the same: what it finds out about the model it must not find out later.
    own = shares[ranks.index] or [0]
    with ranks.agreed():
        found = score(model, [rows[position] for position in own], lambda done: advance(done * ranks.count))
    scores = [0.0] * len(rows)
    for positions, values in ranks.gather((own, found)):
        for position, value in zip(positions, values, strict=True):
            scores[position] = value
    return scores
