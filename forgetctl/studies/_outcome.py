"""What a study hands back: figures to draw, tables to print, data to keep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Table:
    """Text for a terminal: a title, the columns' names, and cells."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Outcome:
    """The result of one study.

    data: what is written as JSON; numbers, text, lists and mappings only, no NaN.
    figures: by file name without ending.
    """

    data: Mapping[str, Any]
    tables: Sequence[Table]
    figures: Mapping[str, Figure]
