"""The studies' figures, after Figs. 3 and 4 of the NPO paper, for a white page: PNG and SVG of stable bytes.

A curve is recognised by colour (the loss on forget rows) and by dashes (what holds the retain rows), so that a
black-and-white print can be read. Curves are medians over seeds: a mean follows one unlucky seed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator

COLOURS = {
    "ga": "#b3382c", "npo": "#1f5fa8", "dpo": "#2d8a57", "idk": "#6b6b6b", "kto": "#8a5fb0", "simnpo": "#c77f1a",
}  # fmt: skip
DASHES: dict[str, Any] = {"": "-", "rt": (0, (5, 1.6)), "kl": (0, (1.2, 1.4)), "rt+level": (0, (6, 1.4, 1.2, 1.4))}
WIDEST = 5
"""Entries of a legend beside one another, at most."""
SHADES = ("#9ecae9", "#6baed6", "#4a90c9", "#1f5fa8", "#0b3b73")
UNIT = "KL(reference || model), nats"

STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "forgetctl",
    "font.family": ["DejaVu Sans"],
    "font.size": 8.5,
    "axes.linewidth": 0.6,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.handlelength": 3.2,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
}


def over_time(parts: Sequence[Mapping[str, Any]]) -> Figure:
    """Forget and retain distance over steps, one row of panels per alpha."""
    with mpl.rc_context(STYLE):
        figure, panels = grid(len(parts), 2, (7.4, 2.7 * len(parts) + 0.5))
        for part, row in zip(parts, panels, strict=True):
            for kind, axes in zip(("forget", "retain"), row, strict=True):
                for name, method in part["methods"].items():
                    axes.plot(part["steps"], method["median"][kind], **look(name))
                axes.set(title=f"alpha = {part['alpha']:g}: {kind} distance", xlabel="step")
                plain_log(axes, "y")
            row[0].set_ylabel(UNIT)
        legend(figure, dict.fromkeys(name for part in parts for name in part["methods"]))
        return figure


def pareto(parts: Sequence[Mapping[str, Any]]) -> Figure:
    """The way of each method in the plane of both distances: from the start (circle) to the end (square)."""
    with mpl.rc_context(STYLE):
        figure, ((*panels,),) = grid(1, len(parts), (7.4, 3.9))
        for part, axes in zip(parts, panels, strict=True):
            for name, method in part["methods"].items():
                retain, forget = method["median"]["retain"], method["median"]["forget"]
                axes.plot(retain, forget, **look(name))
                axes.plot(retain[-1:], forget[-1:], "s", color=look(name)["color"], markersize=4.5)
            start = part["start"]["median"]
            axes.plot(start["retain"], start["forget"], "o", color="black", markersize=5, zorder=5)
            axes.set(title=f"alpha = {part['alpha']:g}", xlabel="retain distance, nats")
            plain_log(axes, "x")
            plain_log(axes, "y")
        panels[0].set_ylabel("forget distance, nats")
        legend(figure, dict.fromkeys(name for part in parts for name in part["methods"]))
        return figure


def betas(data: Mapping[str, Any]) -> Figure:
    """Distances over steps of NPO for several betas, darker for larger ones, and of GA, dashed."""
    with mpl.rc_context(STYLE):
        figure, (row,) = grid(1, 2, (7.4, 3.1))
        for kind, axes in zip(("forget", "retain"), row, strict=True):
            for index, curve in enumerate(data["curves"].values()):
                ascent = curve["beta"] is None
                colour = COLOURS["ga"] if ascent else SHADES[(index - 1) % len(SHADES)]
                drawn: Any = {"linestyle": DASHES["rt"] if ascent else "-", "zorder": 5 if ascent else 2}
                label = "GA" if ascent else f"NPO {curve['beta']:g}"
                axes.plot(data["steps"], curve["median"][kind], color=colour, label=label, linewidth=1.5, **drawn)
            axes.set(title=f"{kind} distance", xlabel="step")
            plain_log(axes, "y")
        row[0].set_ylabel(UNIT)
        figure.legend(
            *row[0].get_legend_handles_labels(), loc="outside upper left", ncols=6, title="GA, and NPO by beta"
        )
        return figure


def growth(data: Mapping[str, Any]) -> Figure:
    """Theorem 2: distance from the start on a linear axis (GA straight) and a logarithmic one (NPO straight)."""
    with mpl.rc_context(STYLE):
        figure, (row,) = grid(1, 2, (7.4, 3.1))
        for axes, law in zip(row, ("linear", "logarithmic"), strict=True):
            steps = np.array(data["steps"], dtype=float)
            for index, (name, run) in enumerate(data["runs"].items()):
                colour = COLOURS["ga"] if name == "ga" else SHADES[(2 * index - 2) % len(SHADES)]
                if law == "logarithmic" and name == "ga":
                    continue
                axes.plot(steps, run["distance"], color=colour, label=name, linewidth=1.8, alpha=0.55)
                if (law == "linear") == (name == "ga"):
                    fitted = run[law]["intercept"] + run[law]["slope"] * (steps if law == "linear" else np.log(steps))
                    axes.plot(steps, fitted, color="black", linestyle=DASHES["kl"], linewidth=1)
        row[0].set(title="all runs", xlabel="step t", ylabel="distance from the start")
        row[1].set(title="NPO, logarithmic in t", xlabel="step t", xscale="log")
        handles, labels = row[0].get_legend_handles_labels()
        handles.append(Line2D([], [], color="black", linestyle=DASHES["kl"], linewidth=1))
        names = [label.upper() if label == "ga" else label.replace("npo", "NPO,") for label in labels]
        figure.legend(handles, [*names, "fitted law"], loc="outside upper left", ncols=6)
        return figure


def save(figure: Figure, stem: Path) -> tuple[Path, Path]:
    """Write STEM.png (200 dots an inch) and STEM.svg, without dates; the two files."""
    png, svg = stem.parent / f"{stem.name}.png", stem.parent / f"{stem.name}.svg"
    with mpl.rc_context(STYLE):
        figure.savefig(png, dpi=200, metadata={"Software": None})
        figure.savefig(svg, metadata={"Date": None})
    return png, svg


def grid(rows: int, columns: int, size: tuple[float, float]) -> tuple[Figure, list[list[Axes]]]:
    """A figure of `size` inches and its panels, row by row."""
    figure = Figure(figsize=size, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    made = [
        [figure.add_subplot(rows, columns, row * columns + column + 1) for column in range(columns)]
        for row in range(rows)
    ]
    return figure, made


def plain_log(axes: Axes, which: Literal["x", "y"]) -> None:
    """A logarithmic axis with plain numbers, 2 and 5 where there is room."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    low, high = np.log10(axis.get_view_interval())
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high - low < 1.5 else (1,)))
    axis.set_major_formatter("{x:g}")
    axis.set_minor_locator(NullLocator())


def look(method: str) -> dict[str, Any]:
    """Colour and dashes of a method; NPO is drawn last and thicker."""
    loss, _, holds = method.partition("-")
    own = loss == "npo"
    return {
        "color": COLOURS.get(loss, "black"),
        "linestyle": DASHES.get(holds, "-"),
        "linewidth": 1.9 if own else 1.3,
        "zorder": 4 if own else 3,
        "label": spelt(method),
    }


def spelt(method: str) -> str:
    """A method as papers write it."""
    name, _, level = method.partition("+")
    return name.upper().replace("-", "+").replace("SIM", "Sim") + (", levels" if level else "")


def columns_for(entries: int) -> int:
    """Columns of a legend of so many entries: two rows, more where they would not fit the width."""
    return min(-(-entries // 2), WIDEST)


def legend(figure: Figure, methods: Iterable[str]) -> None:
    """Above the panels, what the lines of the methods look like."""
    names, handles = list(methods), []
    for name in names:
        drawn = look(name)
        del drawn["zorder"]
        handles.append(Line2D([], [], **drawn))
    figure.legend(handles=handles, loc="outside upper left", ncols=columns_for(len(names)), columnspacing=1.4)
