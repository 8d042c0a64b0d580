"""A verdict's figures -> tables with one plain sentence for each, the same in every format."""

from __future__ import annotations

from collections.abc import Mapping

from .figures_closeness import attacks_section, distances_section, relearning_section
from .figures_curve import curve_section
from .figures_earlier import earlier_section
from .figures_harm import kept_section, leaks_section
from .formats import moment
from .records import Plan, Report
from .tables import ROLES, Row, Section, cell, tables_of
from .verdict_record import Verdict
from .words import BOUNDS, EXPLAINED, MEASURES

_AT_THE_TOP = ("forget_probability", "retain_probability", "truth_ratio", "rouge")


def sections(report: Report, labels: Mapping[str, str]) -> list[Section]:
    """Every section that has figures. labels: how each role is called."""
    verdict = report.verdict
    if verdict is None:
        return []
    made = (
        models_section(verdict, labels),
        distances_section(verdict, labels),
        leaks_section(verdict, labels),
        attacks_section(verdict),
        relearning_section(verdict),
        earlier_section(verdict),
        kept_section(verdict, labels),
        curve_section(verdict.curve),
        limits_section(verdict, report.plan),
    )
    return [section for section in made if section.tables]


def figures(verdict: Verdict, role: str) -> dict[str, float]:
    """What was measured of a model; the verified one's figures may also stand at the top of the verdict."""
    found = {key: getattr(verdict, key) for key in _AT_THE_TOP} if role == "unlearned" else {}
    found |= {key: value for key, value in (verdict.models.get(role) or {}).items() if value is not None}
    return {key: value for key, value in found.items() if value is not None}


def models_section(verdict: Verdict, labels: Mapping[str, str]) -> Section:
    """The measures of every model side by side."""
    found = {role: values for role in ROLES if (values := figures(verdict, role))}
    keys = [*MEASURES, *sorted({key for values in found.values() for key in values} - set(MEASURES))]
    rows = tuple(
        Row(MEASURES.get(key, key), EXPLAINED.get(key, ""), tuple(cell(found[role].get(key)) for role in found))
        for key in keys
        if any(key in values for values in found.values())
    )
    caption = "Means over the rows." + (" The reference never saw the forget rows." if "reference" in found else "")
    columns = ("Measure", *(labels[role] for role in found))
    return Section("What each model knows", "", tables_of(caption, columns, rows))


def limits_section(verdict: Verdict, plan: Plan | None) -> Section:
    """The bounds that the verdict used, with when they were fixed."""
    rows = []
    for key, value in verdict.bounds.items():
        label, note = BOUNDS.get(key, (key, ""))
        fixed = f"fixed on {moment(plan.created)}" if plan and plan.created and plan.bounds.get(key) == value else ""
        rows.append(Row(label, note, (cell(value, fixed),)))
    return Section("Limits of the checks", "", tables_of("The limits of the verdict.", ("Limit", "Value"), tuple(rows)))
