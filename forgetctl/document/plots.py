"""The report's plots as inline SVG: no text from files, colours from the page's CSS variables, stable bytes.

Series differ in line style or marker as well as in colour, so that a black-and-white print can be read.
"""

from __future__ import annotations

import html
import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator
from numpy.typing import NDArray

from .records import Report
from .sections import figures
from .view import labels
from .words import DISTRIBUTIONS, MEASURES

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
MARKERS = {"start": "o", "unlearned": "o", "reference": "D"}
EXTREME = 1e12
"""A truth ratio can overflow; beyond this (or its inverse) it is drawn at the edge."""

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


def draw(report: Report) -> dict[str, str]:
    """All plots whose data exist: truth_ratio, answer_logp, training, before_after."""
    named, plots = labels(report), {}
    axes = {"truth_ratio": "truth ratio (logarithmic)", "answer_logp": "log-probability per token (nats)"}
    for kind, samples in report.distributions.items():
        if samples:
            title = DISTRIBUTIONS[kind]
            plots[kind] = distribution(kind, title, samples, named, axes[kind], log=kind == "truth_ratio")
    if report.steps:
        kinds = {"loss": "loss", "forget": "forget_logp_per_token", "retain": "retain_logp_per_token"}
        series = {kind: [getattr(step, key) for step in report.steps] for kind, key in kinds.items()}
        known = {kind: values for kind, values in series.items() if set(values) != {None}}
        if "loss" in known:
            plots["training"] = training("training", "Training", [step.step for step in report.steps], known)
    if report.verdict is not None:
        found = {role: figures(report.verdict, role) for role in MARKERS}
        rows = [
            (MEASURES[key], {role: values[key] for role, values in found.items() if key in values})
            for key in ("retain_probability", "retain_rouge", "forget_probability", "rouge")
        ]
        if rows := [row for row in rows if len(row[1]) > 1]:
            plots["before_after"] = before_after("before_after", "Before and after", rows, named)
    return plots


def distribution(
    name: str,
    title: str,
    samples: Mapping[str, Floats],
    labels: Mapping[str, str],
    axis: str,
    *,
    log: bool = False,
) -> str:
    """Empirical distribution functions, one line per role; `name` makes the ids unique in the page."""
    with mpl.rc_context(_STYLE):
        figure, (axes,) = _figure(2.75)
        for role, values in samples.items():
            shown = np.clip(values, 1 / EXTREME, EXTREME) if log else values
            line: Any = {"color": COLOURS[role], "linestyle": DASHES[role], "linewidth": WIDTHS[role]}
            axes.ecdf(shown, label=f"{labels[role]} (n = {len(values)})", **line)
        if log:
            _log_axis(axes)
        axes.set(xlabel=axis, ylabel="share of rows", ylim=(0, 1.02))
        _legend(axes, len(samples))
        medians = ", ".join(f"{labels[role]} {np.median(values):.3g}" for role, values in samples.items())
        return _svg(figure, name, title, f"{title}: cumulative distributions. Medians: {medians}.")


def training(name: str, title: str, steps: Sequence[int], series: Mapping[str, Sequence[float | None]]) -> str:
    """Over optimizer steps: the loss, and the log-probabilities of forget and retain rows that it moves."""
    with mpl.rc_context(_STYLE):
        logp = {role: values for role, values in series.items() if role != "loss"}
        figure, panels = _figure(2.5, 2 if logp else 1)
        panels[0].plot(steps, _floats(series["loss"]), color=INK, linewidth=1.4)
        panels[0].set(title="Loss", xlabel="optimizer step")
        roles = {"forget": "unlearned", "retain": "start"}
        for kind, values in logp.items():
            style: Any = {
                "color": COLOURS[roles[kind]],
                "linestyle": "-" if kind == "forget" else (0, (4, 2)),
            }
            panels[1].plot(steps, _floats(values), label=f"{kind} rows", linewidth=1.5, **style)
        if logp:
            panels[1].set(title="Log-probability per token (nats)", xlabel="optimizer step")
            panels[1].legend(loc="best")
        ends = "; ".join(f"{kind} from {_end(values, 0)} to {_end(values, -1)}" for kind, values in series.items())
        return _svg(figure, name, title, f"{title}: {len(steps)} steps; {ends}.")


def before_after(
    name: str, title: str, rows: Sequence[tuple[str, Mapping[str, float]]], labels: Mapping[str, str]
) -> str:
    """One line per measure in [0, 1]: hollow circle before, filled one after, diamond for the reference."""
    with mpl.rc_context(_STYLE):
        figure, (axes,) = _figure(0.95 + 0.32 * len(rows))
        for position, (_, values) in enumerate(rows):
            if "start" in values and "unlearned" in values:
                ends = [values["start"], values["unlearned"]]
                axes.plot(ends, [position, position], color=INK, linewidth=0.8, zorder=1)
        for role in MARKERS:
            points = [(values[role], position) for position, (_, values) in enumerate(rows) if role in values]
            if points:
                across, down = zip(*points, strict=True)
                fill = COLOURS[role] if role == "unlearned" else "#ffffff"
                look: Any = {
                    "marker": MARKERS[role],
                    "markerfacecolor": fill,
                    "markeredgecolor": COLOURS[role],
                }
                axes.plot(across, down, label=labels[role], linestyle="none", markersize=6, **look)
        axes.set(xlim=(-0.02, 1.02), ylim=(len(rows) - 0.5, -0.5), yticks=range(len(rows)))
        axes.set_yticklabels([label for label, _ in rows])
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        _legend(axes, len(MARKERS))
        told = "; ".join(
            f"{label}: " + ", ".join(f"{labels[role]} {value:.3f}" for role, value in values.items())
            for label, values in rows
        )
        return _svg(figure, name, title, f"{title}. {told}.")


def _figure(height: float, panels: int = 1) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(6.7, height), layout="constrained", facecolor="none")
    FigureCanvasSVG(figure)
    made = [figure.add_subplot(1, panels, column + 1, facecolor="none") for column in range(panels)]
    return figure, made


def _log_axis(axes: Axes) -> None:
    """A logarithmic axis with plain numbers, 2 and 5 where there is room, and a line at 1."""
    axes.set_xscale("log")
    low, high = np.log10(axes.get_xlim())
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high - low < 3 else (1,)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    axes.axvline(1.0, color=INK, linewidth=0.6)


def _legend(axes: Axes, columns: int) -> None:
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1.0),
        ncols=columns if columns < 4 else 2,
        borderaxespad=0.2,
        columnspacing=1.8,
    )


def _floats(values: Sequence[float | None]) -> Floats:
    return np.array([np.nan if value is None else value for value in values], dtype=float)


def _end(values: Sequence[float | None], position: int) -> str:
    known = [value for value in values if value is not None]
    return f"{known[position]:.3g}" if known else "unknown"


def _svg(figure: Figure, name: str, title: str, description: str) -> str:
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
