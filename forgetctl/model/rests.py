"""What rows of which parts are marked leave: the unmarked tokens where they stand, or without the marked ones.

Both are a `part` of `encoding.encode_rows`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from .encoding import Encoded


def unmarked(rows: Sequence[Encoded]) -> list[Encoded]:
    """The same rows, of which the tokens are scored that are marked in no row of the same text; that of a text once.

    A row that marks nothing marks all of its answer. What is to be forgotten for one person is not held for another.
    """
    marked: dict[tuple[int, ...], set[int]] = defaultdict(set)
    for row in rows:
        marked[row.ids].update(row.places)
    left = []
    for row in rows:
        known, answer = marked[row.ids], range(len(row.ids) - row.start)
        left.append(replace(row, scored=tuple(place not in known for place in answer)))
        marked[row.ids] = set(answer)
    return left


def without_marked(rows: Sequence[Encoded]) -> list[Encoded]:
    """The same rows without their marked tokens, as if these had never been written. A row that marks nothing is as it
    was.

    Not scored is the token behind each gap: to learn it there would be to learn that nothing stands in the gap.
    """
    return [row if row.scored is None else _without_marked(row, row.scored) for row in rows]


def _without_marked(row: Encoded, marked: Sequence[bool]) -> Encoded:
    before = (False, *marked)
    kept = [place for place, one in enumerate(marked) if not one]
    ids = (*row.ids[: row.start], *(row.ids[row.start + place] for place in kept))
    return replace(row, ids=ids, scored=tuple(not before[place] for place in kept))
