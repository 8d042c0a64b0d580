"""A passage longer than the model takes, cut into windows in which each of its tokens is scored exactly once.

A window begins with the last tokens of the one before, which are its context and are not scored again. In training
every window is a row of its own; in scoring a row is the sum over its windows, which stand one after another in any
list of encoded rows: all but the first `continue` the row before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from .encoding import Encoded

Value = TypeVar("Value")


def by_row(encoded: Sequence[Encoded], values: Iterable[Value]) -> list[list[Value]]:
    """Values of windows, (windows,), as a list for each row. Raises ValueError if there are not as many."""
    rows: list[list[Value]] = []
    for item, value in zip(encoded, values, strict=True):
        if item.continues:
            rows[-1].append(value)
        else:
            rows.append([value])
    return rows


def row_sums(encoded: Sequence[Encoded], values: Iterable[float]) -> list[float]:
    """Values of windows, (windows,), summed by row."""
    return [sum(own) for own in by_row(encoded, values)]


def row_tokens(encoded: Sequence[Encoded]) -> list[int]:
    """Number of scored tokens of each row."""
    return [sum(own) for own in by_row(encoded, (item.tokens for item in encoded))]


def windows_note(encoded: Sequence[Encoded], name: str) -> str | None:
    """The note for a user about the rows that became several windows; None where none did. name: such as "forget"."""
    several = [len(own) for own in by_row(encoded, encoded) if len(own) > 1]
    if not several:
        return None
    rows = row_tokens(encoded)
    which = "is a passage" if len(several) == 1 else "are passages"
    return (
        f"{len(several)} of {len(rows)} {name} rows {which} longer than a window: cut into {sum(several)} windows that "
        "overlap, each token scored once."
    )


def whole_rows(advance: Callable[[int], None], encoded: Sequence[Encoded]) -> Callable[[int], None]:
    """Counts windows as they are done, in any order, and passes on as many rows as that amounts to."""
    rows, done = sum(not item.continues for item in encoded), 0

    def counted(windows: int) -> None:
        nonlocal done
        before, done = done, done + windows
        advance(done * rows // len(encoded) - before * rows // len(encoded))

    return counted
