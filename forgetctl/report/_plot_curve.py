"""The plot of forget quality and usefulness over training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator, MaxNLocator

from ..verify.checks.curve import Curve
from ..verify.tables import number
from ._drawing import ROWS, Floats, figure_of, floats, inline_svg

DISTANCE, CHANCE, PROBABILITY = "Distance D", "p, KS test (logarithmic)", "Probability of the answers"
PANELS = {DISTANCE: ("D",), CHANCE: ("p",), PROBABILITY: ("forget_probability", "retain_probability")}
LINES: dict[str, dict[str, Any]] = {
    "D": {**ROWS["forget"], "marker": "o"},
    "p": {**ROWS["forget"], "marker": "o"},
    "forget_probability": {**ROWS["forget"], "marker": "o", "label": "forget rows"},
    "retain_probability": {**ROWS["retain"], "marker": "D", "label": "retain rows"},
}
SMALLEST = 1e-300
"""A p-value can come out as 0, which a logarithmic axis does not have."""


def measured(curve: Curve) -> dict[str, Floats]:
    """The lines that can be drawn: what was measured at one point at least, NaN where it was not."""
    series = {key: floats([getattr(point, key) for point in curve.points]) for key in LINES}
    return {key: values for key, values in series.items() if not np.isnan(values).all()}


def curve_plot(name: str, title: str, curve: Curve) -> str:
    """Up to three panels over the optimizer steps: distance D, its p-value, and probabilities of the answers.

    `name` makes the ids unique in the page. Something must be `measured`.
    """
    steps, known = [point.step for point in curve.points], measured(curve)
    panels = {panel: shown for panel, keys in PANELS.items() if (shown := [key for key in keys if key in known])}
    with figure_of(2.3, len(panels)) as (figure, places):
        for axes, (panel, keys) in zip(places, panels.items(), strict=True):
            _panel(axes, panel, steps, {key: known[key] for key in keys})
        ends = "; ".join(f"{key.replace('_', ' ')} {_ends(values)}" for key, values in known.items())
        return inline_svg(figure, name, title, f"{title}: {len(steps)} states of the model; {ends}.")


def _panel(axes: Axes, panel: str, steps: Sequence[int], series: dict[str, Floats]) -> None:
    for key, values in series.items():
        shown = np.maximum(values, SMALLEST) if panel == CHANCE else values
        axes.plot(steps, shown, linewidth=1.4, markersize=3.2, clip_on=False, **LINES[key])
    axes.set(title=panel, xlabel="optimizer step")
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    if panel == CHANCE:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(numticks=6))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.minorticks_off()
    elif panel == PROBABILITY:
        axes.set(ylim=(0, 1.4), yticks=(0, 0.25, 0.5, 0.75, 1))  # the room above 1 is for the legend
        axes.legend(loc="upper right", borderaxespad=0)
    else:
        axes.set_ylim(0)


def _ends(values: Floats) -> str:
    known = values[~np.isnan(values)]
    return f"from {number(float(known[0]))} to {number(float(known[-1]))}"
