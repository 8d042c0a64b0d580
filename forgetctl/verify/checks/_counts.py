"""Rows on which only one of two models shows something: what the checks of counts share."""

from __future__ import annotations

from collections.abc import Iterable

from ...model.scores import ScoreSet
from ..statistics.counts import Excess, at_most
from ..tables import Row, Shown, Table, cell, p_value, row_names, tables_of


def distinct(rows: ScoreSet) -> list[int]:
    """Positions of the rows, identical ones once: asked again, they are answered alike."""
    copies = rows.copies or range(len(rows.names))
    first: dict[int, int] = {}
    for position, copy in enumerate(copies):
        first.setdefault(copy, position)
    return list(first.values())


def count_table(label: str, note: str, finding: Excess | None, shown: Shown) -> Iterable[Table]:
    """One row of the counts."""
    if finding is None:
        return ()
    cells = (
        cell(finding.more, row_names(finding.names)),
        cell(finding.fewer),
        cell(finding.total),
        cell(finding.p, show=p_value),
    )
    caption = "Row by row against the comparison. p is how often chance alone puts so many on the side of the model."
    columns = ("Rows", f"Only {shown.labels['unlearned'].lower()}", "Only comparison", "Of", "p")
    return tables_of(caption, columns, [Row(label, note, cells)])


def no_more_than(trials: int) -> str:
    """The rule of three in words: what may still be true although nothing was seen."""
    return f"at most {at_most(trials):.1%} do, at 95 %" if trials else "nothing is known"


def name_rows(names: tuple[str, ...]) -> str:
    """Rows of the request; retain rows and rephrasings are counted but have no name there."""
    return row_names(names) or "no row of the request itself"
