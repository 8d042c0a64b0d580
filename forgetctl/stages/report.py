"""A run directory's records -> the audit report, as HTML, Markdown or JSON. Reads files, writes none.

The report holds figures, names and digests, and no text of any row: the request is personal data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..document.formats import environment
from ..document.records import Report, read_records
from ..document.schema import report_json
from ..document.view import view


def build(run_dir: Path) -> Report:
    """Read the records of `run_dir`. Raises RunError naming a file that is missing or damaged."""
    return read_records(run_dir)


def render_html(report: Report) -> str:
    """One self-contained page without scripts."""
    return _page(report, {name: draw() for name, draw in _plots(report).items()})


def render_words(report: Report) -> str:
    """The page of `render_html` with nothing in the places of its plots, which take most of its time."""
    return _page(report, dict.fromkeys(_plots(report), ""))


def _plots(report: Report) -> dict[str, Callable[[], str]]:
    from ..document.plots import planned  # matplotlib is slow to import, and only this format draws

    return planned(report)


def _page(report: Report, plots: Mapping[str, str]) -> str:
    return str(environment("html").get_template("report.html.j2").render(view(report), plots=plots))


def render_markdown(report: Report) -> str:
    """The same without plots, whose deciles stand in tables, and without the history."""
    return str(environment("md").get_template("report.md.j2").render(view(report)))


def render_json(report: Report) -> dict[str, Any]:
    """The records, with summaries of the distributions and of the training; strict JSON values.

    `forgetctl.document.schema` describes them.
    """
    return report_json(report)
