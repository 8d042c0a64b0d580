"""A run directory's records -> the audit report, as HTML, Markdown or JSON. Reads files, writes none.

The report holds figures, names and digests, and no text of any row: the request is personal data.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ._formats import environment
from ._view import view
from .records import Report, read_records
from .schema import report_json


def build(run_dir: Path) -> Report:
    """Read the records of `run_dir`. Raises RunError naming a file that is missing or damaged."""
    return read_records(run_dir)


def render_html(report: Report) -> str:
    """One self-contained page without scripts."""
    return _page(report, {name: draw() for name, draw in _plots(report).items()})


@dataclass(frozen=True)
class Expected:
    """The page of `render_html` in parts. around: what stands before, between and behind the plots, one part more than
    there are plots. plots: what draws each, in the order of the page; drawing takes most of the time."""

    around: tuple[str, ...]
    plots: Mapping[str, Callable[[], str]]

    def plots_in(self, page: str) -> dict[str, str] | None:
        """What a page has in the places of its plots, by their names; None if anything around them is different."""
        first, *others = self.around
        if not page.startswith(first):
            return None
        drawn, position = {}, len(first)
        for name, behind in zip(self.plots, others, strict=True):
            end = page.find(behind, position)
            if end < 0:
                return None
            drawn[name], position = page[position:end], end + len(behind)
        return drawn if position == len(page) else None


def expected_html(report: Report) -> Expected:
    """What `render_html` gives, with the plots not drawn yet."""
    plots = _plots(report)
    # Nothing from a record can be a NUL: characters that do not show are replaced.
    first, *others = re.split("\0(.*?)\0", _page(report, {name: f"\0{name}\0" for name in plots}))
    return Expected((first, *others[1::2]), {name: plots[name] for name in others[::2]})


def _plots(report: Report) -> dict[str, Callable[[], str]]:
    from .plots import planned  # matplotlib is slow to import, and only this format draws

    return planned(report)


def _page(report: Report, plots: Mapping[str, str]) -> str:
    return str(environment("html").get_template("report.html.j2").render(view(report), plots=plots))


def render_markdown(report: Report) -> str:
    """The same without plots, whose deciles stand in tables, and without the history."""
    return str(environment("md").get_template("report.md.j2").render(view(report)))


def render_json(report: Report) -> dict[str, Any]:
    """The records, with summaries of the distributions and of the training; strict JSON values.

    `forgetctl.report.schema` describes them.
    """
    return report_json(report)
