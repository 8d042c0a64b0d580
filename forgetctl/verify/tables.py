"""Tables as every format shows them: text cells, the first line of a cell being its figure, the others small print."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from ..model.scores import Role
from ..recipe.bounds import Bounds
from ..rows.row import listed
from .statistics.means import Shift, equivalence_margin
from .statistics.shapes import Shape

ROLES: tuple[Role, ...] = ("start", "unlearned", "reference")
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
    """A table. columns: the headings, the first of which stands over the rows' own. remark: what else there is to
    say, below everything of the section."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    remark: str = ""


@dataclass(frozen=True)
class Section:
    """Tables about one question. words: what the figures mean; remarks: what else there is to say."""

    title: str
    words: str
    tables: tuple[Table, ...]
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Shown:
    """What a table needs to know besides its finding: all findings, the bounds, and how each role is called on this
    page."""

    findings: Shape
    bounds: Bounds
    labels: Mapping[str, str]


def number(value: float | None) -> str:
    """Three decimals, more for small values, powers of ten for tiny ones."""
    if value is None:
        return "not measured"
    if isinstance(value, int):
        return f"{value:,}"
    size = abs(value)
    if size >= 1000:
        return f"{value:,.0f}"
    if value == 0 or size >= 0.01:
        return f"{value:.3f}"
    return f"{value:.2g}" if size >= 0.0001 else f"{value:.1e}"


def signed(value: float | None) -> str:
    """A difference, with its sign."""
    return number(value) if value is None else ("-" if value < 0 else "+") + number(abs(value))


def percent(value: float | None) -> str:
    """A relative change in percent, with its sign."""
    return number(value) if value is None else f"{value:+.1%}"


def p_value(value: float | None) -> str:
    """A p-value; small ones as a power of ten."""
    return number(value) if value is None or value >= 0.01 else f"{value:.1e}"


def cell(value: float | None, *small: str, show: Callable[[float | None], str] = number) -> Cell:
    """A figure and its small print, or a dash."""
    return EMPTY if value is None else (show(value), *filter(None, small))


def between(lower: float | None, upper: float | None, show: Callable[[float | None], str] = number) -> str:
    """Confidence bounds, of which either may not exist."""
    least = lower if lower is not None and math.isfinite(lower) else None
    most = upper if upper is not None and math.isfinite(upper) else None
    if least is not None and most is not None:
        return f"{show(least)} to {show(most)}"
    if least is not None:
        return f"at least {show(least)}"
    return "no bounds" if most is None else f"at most {show(most)}"


def difference(value: float | None, lower: float | None, upper: float | None, limit: str = "") -> Cell:
    """A signed difference with its bounds and its limit."""
    return cell(value, between(lower, upper, signed), limit, show=signed)


def shift_cell(shift: Shift | None, delta: float, sides: str) -> Cell:
    """A difference of means with its bounds and its limit, which is one to both or to one of the sides."""
    if shift is None:
        return EMPTY
    limit = f"limit {sides}{number(equivalence_margin(delta) * shift.spread)}"
    return difference(shift.difference, shift.lower, shift.upper, limit)


def share(counted: tuple[int, int]) -> Cell:
    """How many of how many; a dash where there was none to count."""
    return (f"{number(counted[0])} of {number(counted[1])}",) if counted[1] else EMPTY


def row_names(names: tuple[str, ...]) -> str:
    """The first few rows of the request by name; the JSON report has all."""
    return f"{'row' if len(names) == 1 else 'rows'} {listed(names, 5)}" if names else ""


def tables_of(caption: str, columns: tuple[str, ...], rows: Iterable[Row], remark: str = "") -> tuple[Table, ...]:
    """A table, or none without rows."""
    made = tuple(rows)
    return (Table(caption, columns, made, remark),) if made else ()


def merged(tables: Iterable[Table]) -> tuple[Table, ...]:
    """Tables of the same caption and columns as one, where the first of them stands."""
    by_caption: dict[tuple[str, tuple[str, ...]], Table] = {}
    for table in tables:
        key = (table.caption, table.columns)
        known = by_caption.get(key)
        by_caption[key] = (
            table if known is None else Table(*key, (*known.rows, *table.rows), known.remark or table.remark)
        )
    return tuple(by_caption.values())
