"""Which rows are of one conversation: its turns, and the two answers of a preference pair.

Two of them never stand on both sides, one forgotten and another kept or held out, though the files have them on both.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from .row import Key, Row, normalise


def by_conversation(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """The rows of a source in its order, those of one record together."""
    members: list[Row] = []
    for row in rows:
        if members and not _goes_on(members[-1], row):
            yield members
            members = []
        members.append(row)
    if members:
        yield members


class Wanted:
    """Finds rows that are among some, by their keys, or whose context holds one as a turn."""

    def __init__(self, keys: Collection[Key]) -> None:
        self._keys = keys
        self._responses = {key.response for key in keys}

    def among(self, row: Row, start: int = 0) -> bool:
        """Whether the row is. start: turns of its context that were looked at before."""
        return row.key in self._keys or any(self._is_turn(row, position) for position in range(start, len(row.context)))

    def _is_turn(self, row: Row, position: int) -> bool:
        role, content = row.context[position]
        if role != "assistant" or (response := normalise(content)) not in self._responses:
            return False
        return Key(normalise("\n".join(text for _, text in row.context[:position])), response) in self._keys


class Conversations:
    """Finds the rows whose conversation holds a wanted one, in rows of a source that come batch by batch."""

    def __init__(self, keys: Collection[Key]) -> None:
        self._wanted = Wanted(keys)
        self._positions: list[int] = []
        # Of the last record so far, which the next batch may go on with.
        self._last: Row | None = None
        self._members: list[int] = []
        self._holds = False

    def add(self, rows: Sequence[Row], positions: NDArray[np.int64]) -> None:
        """Consider rows, in order, with their positions."""
        for row, position in zip(rows, positions.tolist(), strict=True):
            seen = 0
            if self._last is not None and _goes_on(self._last, row):
                seen = len(self._last.context)
            else:
                self._close()
            self._last = row
            self._members.append(position)
            self._holds = self._holds or self._wanted.among(row, seen)

    def positions(self) -> NDArray[np.int64]:
        """Of all rows in such conversations, in order."""
        self._close()
        return np.array(self._positions, dtype=np.int64)

    def _close(self) -> None:
        if self._holds:
            self._positions += self._members
        self._last, self._members, self._holds = None, [], False


def _goes_on(row: Row, other: Row) -> bool:
    """Whether the other row, which follows in the source, is of the same record."""
    return (other.turn is not None or other.rejected) and (row.line, row.file) == (other.line, other.file)
