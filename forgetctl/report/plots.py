"""The report's plots: distributions of scores, training, before and after, and the curve over training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator

from ..model.scores import Role
from ..verify.checks import curve, leak_at_k, models
from ..verify.record import Conclusion
from ._drawing import COLOURS, DASHES, INK, MARKERS, ROWS, WIDTHS, Floats, figure_of, floats, inline_svg, legend_above
from ._plot_curve import curve_plot, measured
from ._plot_leaks import leaks_plot
from ._view import labels
from .records import Report
from .words import DISTRIBUTIONS

EXTREME = 1e12
"""A truth ratio can overflow; beyond this (or its inverse) it is drawn at the edge."""


def planned(report: Report) -> dict[str, Callable[[], str]]:
    """What draws each plot whose data exist: truth_ratio, answer_logp, before_after, leaks, curve,
    training."""
    named, plots = labels(report), dict[str, Callable[[], str]]()
    axes = {"truth_ratio": "truth ratio (logarithmic)", "answer_logp": "log-probability per token (nats)"}
    for kind, samples in report.distributions.items():
        if samples:
            title, log = DISTRIBUTIONS[kind], kind == "truth_ratio"
            plots[kind] = partial(distribution, kind, title, samples, named, axes[kind], log=log)
    if verdict := report.verdict:
        if rows := _moved(verdict):
            plots["before_after"] = partial(before_after, "before_after", "Before and after", rows, named)
        if drawn := leak_at_k.MEASURE.of(verdict):
            plots["leaks"] = partial(leaks_plot, "leaks", "Leaks by how many answers are drawn", drawn, named)
        if (tracked := curve.MEASURE.of(verdict)) and measured(tracked):
            plots["curve"] = partial(curve_plot, "curve", "Over training", tracked)
    if report.steps:
        kinds = {"loss": "loss", "forget": "forget_logp_per_token", "retain": "retain_logp_per_token"}
        series = {kind: [getattr(step, key) for step in report.steps] for kind, key in kinds.items()}
        known = {kind: values for kind, values in series.items() if set(values) != {None}}
        if "loss" in known:
            plots["training"] = partial(training, "training", "Training", [step.step for step in report.steps], known)
    return plots


def _moved(verdict: Conclusion) -> list[tuple[str, dict[Role, float]]]:
    """The measures that show best what was forgotten and kept, where at least two models have them."""
    known = models.MEASURE.of(verdict)
    by_role = {role: models.measured(known, role) for role in MARKERS}
    rows = [
        (models.LABELS[key], {role: values[key] for role, values in by_role.items() if key in values})
        for key in ("retain_probability", "retain_rouge", "forget_probability", "rouge")
    ]
    return [row for row in rows if len(row[1]) > 1]


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
    with figure_of(2.75) as (figure, (axes,)):
        for role, values in samples.items():
            shown = np.clip(values, 1 / EXTREME, EXTREME) if log else values
            line: Any = {"color": COLOURS[role], "linestyle": DASHES[role], "linewidth": WIDTHS[role]}
            axes.ecdf(shown, label=f"{labels[role]} (n = {len(values)})", **line)
        if log:
            _log_axis(axes)
        axes.set(xlabel=axis, ylabel="share of rows", ylim=(0, 1.02))
        legend_above(axes, len(samples))
        medians = ", ".join(f"{labels[role]} {np.median(values):.3g}" for role, values in samples.items())
        return inline_svg(figure, name, title, f"{title}: cumulative distributions. Medians: {medians}.")


def training(name: str, title: str, steps: Sequence[int], series: Mapping[str, Sequence[float | None]]) -> str:
    """Over optimizer steps: the loss, and the log-probabilities of forget and retain rows that it moves."""
    logp = {role: values for role, values in series.items() if role != "loss"}
    with figure_of(2.5, 2 if logp else 1) as (figure, panels):
        panels[0].plot(steps, floats(series["loss"]), color=INK, linewidth=1.4)
        panels[0].set(title="Loss", xlabel="optimizer step")
        for kind, values in logp.items():
            panels[1].plot(steps, floats(values), label=f"{kind} rows", linewidth=1.5, **ROWS[kind])
        if logp:
            panels[1].set(title="Log-probability per token (nats)", xlabel="optimizer step")
            panels[1].legend(loc="best")
        ends = "; ".join(f"{kind} from {_end(values, 0)} to {_end(values, -1)}" for kind, values in series.items())
        return inline_svg(figure, name, title, f"{title}: {len(steps)} steps; {ends}.")


def before_after(
    name: str, title: str, rows: Sequence[tuple[str, Mapping[Role, float]]], labels: Mapping[str, str]
) -> str:
    """One line per measure in [0, 1]: hollow circle before, filled one after, diamond for the reference."""
    with figure_of(0.95 + 0.32 * len(rows)) as (figure, (axes,)):
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
        legend_above(axes, len(MARKERS))
        description = "; ".join(
            f"{label}: " + ", ".join(f"{labels[role]} {value:.3f}" for role, value in values.items())
            for label, values in rows
        )
        return inline_svg(figure, name, title, f"{title}. {description}.")


def _log_axis(axes: Axes) -> None:
    """A logarithmic axis with plain numbers, 2 and 5 where there is room, and a line at 1."""
    axes.set_xscale("log")
    low, high = np.log10(axes.get_xlim())
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high - low < 3 else (1,)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    axes.axvline(1.0, color=INK, linewidth=0.6)


def _end(values: Sequence[float | None], position: int) -> str:
    known = [value for value in values if value is not None]
    return f"{known[position]:.3g}" if known else "unknown"
