"""Tables as every format shows them: text cells, the first line of a cell being its figure, the others small print."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .formats import number, signed

ROLES = ("start", "unlearned", "reference")
Cell = tuple[str, ...]
EMPTY: Cell = ("–",)
"""Not measured, or nothing there to measure."""


@dataclass(frozen=True)
class Row:
    """A row: its heading, what that means in plain words, and its cells."""

    label: str
    note: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Table:
    """A table. columns: the headings, the first of which stands over the rows' own."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Section:
    """Tables about one question. words: what the figures mean; remarks: what else there is to say."""

    title: str
    words: str
    tables: tuple[Table, ...]
    remarks: tuple[str, ...] = ()


def cell(value: float | None, *small: str, show: Callable[[float | None], str] = number) -> Cell:
    """A figure and its small print, or a dash."""
    return EMPTY if value is None else (show(value), *filter(None, small))


def between(lower: float | None, upper: float | None, show: Callable[[float | None], str] = number) -> str:
    """Confidence bounds, of which either may not exist."""
    if lower is None or upper is None:
        known = (
            f"at least {show(lower)}" if lower is not None else f"at most {show(upper)}" if upper is not None else ""
        )
        return known or "no bounds"
    return f"{show(lower)} to {show(upper)}"


def difference(value: float | None, lower: float | None, upper: float | None, limit: str) -> Cell:
    """A signed difference with its bounds and its limit."""
    return cell(value, between(lower, upper, signed), limit, show=signed)


def share(counted: tuple[int, int] | None) -> Cell:
    """How many of how many; a dash where there was none to count."""
    return (f"{number(counted[0])} of {number(counted[1])}",) if counted and counted[1] else EMPTY


def line_numbers(lines: tuple[int, ...]) -> str:
    """The first few line numbers of the request; the JSON report has all."""
    shown = ", ".join(map(str, lines[:5]))
    more = f" and {len(lines) - 5:,} more" if len(lines) > 5 else ""
    return f"{'line' if len(lines) == 1 else 'lines'} {shown}{more}" if lines else ""


def tables_of(caption: str, columns: tuple[str, ...], rows: tuple[Row, ...]) -> tuple[Table, ...]:
    """A table, or none without rows."""
    return (Table(caption, columns, rows),) if rows else ()
