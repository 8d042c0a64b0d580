"""A verdict's figures -> tables with one plain sentence for each, the same in every format.

What a figure means and how it is shown stands with its check; here the checks of a section come together.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..recipe.bounds import Bounds
from ..verify.findings import Measure
from ..verify.record import Conclusion
from ..verify.registry import MEASURES
from ..verify.tables import Row, Section, Shown, Table, cell, merged, tables_of
from ._formats import moment
from .records import Plan, Report


def sections(report: Report, labels: Mapping[str, str]) -> list[Section]:
    """Every section that has figures. labels: how each role is called."""
    return [] if report.verdict is None else sections_of(MEASURES, report.verdict, report.plan, labels)


def sections_of(
    measures: Iterable[Measure[Any]], verdict: Conclusion, plan: Plan | None, labels: Mapping[str, str]
) -> list[Section]:
    """The sections of some checks, in their order, then the limits."""
    shown, made = Shown(verdict, verdict.bounds, labels), dict[str, tuple[str, list[Table]]]()
    for measure in measures:
        if measure.heading is not None:
            title, words = measure.heading.title, measure.heading.words(verdict, verdict.bounds)
            made.setdefault(title, (words, []))[1].extend(measure.table(measure.of(verdict), shown))
    of_checks = [_section(title, words, merged(tables)) for title, (words, tables) in made.items()]
    return [section for section in (*of_checks, limits_section(verdict.bounds, plan)) if section.tables]


def _section(title: str, words: str, tables: tuple[Table, ...]) -> Section:
    return Section(title, words, tables, tuple(dict.fromkeys(table.remark for table in tables if table.remark)))


def limits_section(bounds: Bounds, plan: Plan | None) -> Section:
    """The bounds that the verdict used, with when they were fixed."""
    fixed = f"fixed on {moment(plan.created)}" if plan and plan.created else ""
    rows = (
        Row(
            key.replace("_", " "),
            f"{str(field.description)[:1].upper()}{str(field.description)[1:]}.",
            (cell(value, fixed if plan and plan.bounds.get(key) == value else ""),),
        )
        for key, field in Bounds.model_fields.items()
        for value in (getattr(bounds, key),)
    )
    return Section("Limits of the checks", "", tables_of("The limits of the verdict.", ("Limit", "Value"), rows))
