"""Drawing for a page: matplotlib's style, and a figure as inline SVG.

No text from files, colours from the page's CSS variables, stable bytes. Series differ in line style or marker as well
as in colour, so that a black-and-white print can be read.
"""

from __future__ import annotations

import html
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ..model.scores import Role

Floats = NDArray[np.float64]

# Matplotlib wants real colours; each of these stands for a CSS one that follows the page into dark mode.
INK, GRID = "#0a0b01", "#0a0b02"
COLOURS = {"start": "#0a0b03", "unlearned": "#0a0b04", "reference": "#0a0b05", "holdout": "#0a0b06"}
_CSS = {
    INK: "currentColor",
    GRID: "var(--rule)",
    **{colour: f"var(--{role})" for role, colour in COLOURS.items()},
}
_CSS["#ffffff"] = "var(--paper)"

DASHES: dict[str, Any] = {
    "start": (0, (1.2, 1.4)),
    "unlearned": "-",
    "reference": (0, (6, 2)),
    "holdout": (0, (6, 2, 1, 2)),
}
WIDTHS = {"start": 1.6, "unlearned": 1.9, "reference": 1.5, "holdout": 1.5}
MARKERS: dict[Role, str] = {"start": "o", "unlearned": "o", "reference": "D"}
ROWS: dict[str, Any] = {
    "forget": {"color": COLOURS["unlearned"], "linestyle": "-"},
    "retain": {"color": COLOURS["start"], "linestyle": (0, (4, 2))},
}
"""How lines over training look, by the rows that they are about."""

_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "forgetctl",
    "font.family": ["DejaVu Sans"],
    "font.size": 8.5,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.6,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 8.5,
    "axes.titlelocation": "left",
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.visible": False,
    "legend.frameon": False,
    "legend.handlelength": 3.2,
}


@contextmanager
def figure_of(height: float, panels: int = 1) -> Iterator[tuple[Figure, list[Axes]]]:
    """A figure as wide as the text and `height` inches high, with panels side by side, in the page's style."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(6.7, height), layout="constrained", facecolor="none")
        FigureCanvasSVG(figure)
        made = [figure.add_subplot(1, panels, column + 1, facecolor="none") for column in range(panels)]
        yield figure, made


def legend_above(axes: Axes, columns: int) -> None:
    """A legend over the plot, in one line where it fits."""
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1.0),
        ncols=columns if columns < 4 else 2,
        borderaxespad=0.2,
        columnspacing=1.8,
    )


def floats(values: Sequence[float | None]) -> Floats:
    """Numbers to plot; what is not known leaves a gap."""
    return np.array([np.nan if value is None else value for value in values], dtype=float)


def inline_svg(figure: Figure, name: str, title: str, description: str) -> str:
    """The drawing alone, for inlining: unique ids, no prolog, metadata, style sheet or addresses."""
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None})
    text = stream.getvalue()
    box = re.search(r'viewBox="([^"]*)"', text)
    body = re.search(r"<svg\b[^>]*>(.*)</svg>", text, re.DOTALL)
    if box is None or body is None:
        raise RuntimeError("matplotlib wrote an SVG without a drawing")
    drawing = re.sub(r"<(metadata|style)\b.*?</\1>", "", body[1], flags=re.DOTALL)
    drawing = re.sub(r'\bid="', f'id="{name}-', drawing)
    drawing = re.sub(r'(?:xlink:)?href="#', f'href="#{name}-', drawing).replace("url(#", f"url(#{name}-")
    drawing = re.sub(r"#[0-9a-f]{6}\b", lambda match: _CSS.get(match[0], match[0]), drawing)
    drawing = re.sub(r"'DejaVu Sans'(, [^;\"]*)?", "var(--sans)", drawing)
    label, heading = html.escape(description), f"<title>{html.escape(title)}</title>"
    return f'<svg role="img" aria-label="{label}" viewBox="{box[1]}">{heading}{drawing.strip()}</svg>'
