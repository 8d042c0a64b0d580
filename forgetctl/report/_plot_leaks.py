"""The plot of how likely a leak becomes the more answers are drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullLocator

from ..model.scores import Role
from ..verify.checks.leak_at_k import DRAWS, Drawn, Leaks, settings
from ._drawing import COLOURS, DASHES, MARKERS, WIDTHS, figure_of, inline_svg


def leaks_plot(name: str, title: str, findings: Sequence[Drawn], labels: Mapping[str, str]) -> str:
    """A panel for each way to draw; of each model the worst row, and the mean over the rows with thinner lines.

    `name` makes the ids unique in the page. There must be a finding.
    """
    with figure_of(2.6, len(findings)) as (figure, panels):
        for axes, drawn in zip(panels, findings, strict=True):
            models: dict[Role, Leaks] = {"unlearned": drawn.unlearned}
            models |= {"reference": drawn.references[0]} if drawn.references else {}
            for role, leaks in models.items():
                _lines(axes, role, leaks, labels[role])
            axes.set_xscale("log", base=2)
            axes.xaxis.set_major_locator(FixedLocator(DRAWS))
            axes.xaxis.set_minor_locator(NullLocator())
            axes.xaxis.set_major_formatter("{x:g}")
            axes.set(title=drawn.sampling.capitalize(), xlabel="answers to a prompt", ylim=(0, 1.8), xlim=(0.9, 72))
            axes.set_yticks((0, 0.25, 0.5, 0.75, 1))  # the room above 1 is for the legend
            axes.legend(loc="upper left", borderaxespad=0, fontsize=7)
        ends = "; ".join(_ends(drawn) for drawn in findings)
        return inline_svg(figure, name, title, f"{title}. {ends}.")


def _ends(drawn: Drawn) -> str:
    shown = (f"{one.worst:.3g} of {one.draws}" for one in (drawn.unlearned.chances[0], drawn.unlearned.chances[-1]))
    return f"{settings(drawn)}, worst row: {', '.join(shown)}"


def _lines(axes: Axes, role: Role, leaks: Leaks, label: str) -> None:
    draws = [one.draws for one in leaks.chances]
    worst, mean = [one.worst for one in leaks.chances], [one.mean for one in leaks.chances]
    look: Any = {"color": COLOURS[role], "linestyle": DASHES[role], "clip_on": False}
    axes.plot(draws, worst, linewidth=WIDTHS[role], marker=MARKERS[role], markersize=3.2, label=label, **look)
    axes.plot(draws, mean, linewidth=0.8, label=f"{label}, mean", **look)
