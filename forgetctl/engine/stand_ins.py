"""Forget prompts with answers of rows that no model saw, and those rows themselves: what forgetting must not damage.

A model that never saw a forget prompt says after it what it says after any prompt of its kind. The start model shows
that, after prompts that it never saw: after the forget prompts the unlearned model is to say the same of the same
answers. Without that, what is pushed away from the true answer goes anywhere, true answers in other words stay likelier
than wrong ones, and text that nobody ever saw becomes less likely, too; hence also the unseen rows themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..maths.likeness import descending, similarity
from ..rows import Row, normalise
from .encoding import Encoded

NEAREST = 2
"""Unseen rows whose answers each forget prompt is given: those with the most similar prompts."""


@dataclass(frozen=True)
class StandIns:
    """rows: what is trained on. sources: the unseen rows, whose distributions under the start model `rows` are to have.
    source_of: for each of `rows` the position of its source, which has the same answer."""

    rows: Sequence[Encoded]
    sources: Sequence[Encoded]
    source_of: Sequence[int]


NO_STAND_INS = StandIns((), (), ())


def make_stand_ins(
    forget: Sequence[Row], unseen: Sequence[Row], encode: Callable[[Sequence[Row]], list[Encoded]]
) -> StandIns:
    """Each unseen row, and each forget prompt with the answers of the unseen rows that have the most similar prompts.

    Rows without a prompt give none, and neither do answers that come out as other tokens after another prompt.
    encode: ids of rows; one that is several windows is left out.
    """
    sources = encode(unseen)
    prompts = [normalise(row.prompt) for row in unseen]
    pairs = [
        (row.answering(unseen[place].response), place)
        for row in forget
        if row.context
        for place in descending(similarity([normalise(row.prompt)], prompts)[0])[:NEAREST]
    ]
    encoded = encode([row for row, _ in pairs])
    same = [
        (row, place) for row, (_, place) in zip(encoded, pairs, strict=True) if _answer(row) == _answer(sources[place])
    ]
    rows, places = [*sources, *(row for row, _ in same)], [*range(len(sources)), *(place for _, place in same)]
    return StandIns(rows, sources, places)


def _answer(row: Encoded) -> tuple[int, ...]:
    return row.ids[row.start :]
