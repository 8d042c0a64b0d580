"""The plot of how likely a leak becomes the more answers are drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, NullLocator

from ..model.scores import Role
from ..verify.checks.leak_at_k import DRAWS, Drawn, Leaks, settings
from ._drawing import COLOURS, DASHES, MARKERS, WIDTHS, figure_of, inline_svg


def leaks_plot(name: str, title: str, ways: Sequence[Drawn], labels: Mapping[str, str]) -> str:
    """A panel for each way to draw; of each model the worst row, and the mean over the rows with thinner lines.

    `name` makes the ids unique in the page. There must be a way.
    """
    with figure_of(2.6, len(ways)) as (figure, panels):
        for axes, way in zip(panels, ways, strict=True):
            models: dict[Role, Leaks] = {"unlearned": way.unlearned}
            models |= {"reference": way.references[0]} if way.references else {}
            for role, leaks in models.items():
                _lines(axes, role, leaks, labels[role])
            axes.set_xscale("log", base=2)
            axes.xaxis.set_major_locator(FixedLocator(DRAWS))
            axes.xaxis.set_minor_locator(NullLocator())
            axes.xaxis.set_major_formatter("{x:g}")
            axes.set(title=f"Drawn {settings(way)}", xlabel="answers to a prompt", ylim=(0, 1.4), xlim=(0.9, 72))
            axes.set_yticks((0, 0.25, 0.5, 0.75, 1))  # the room above 1 is for the legend
            axes.legend(loc="upper left", borderaxespad=0, ncols=2)
        ends = "; ".join(
            f"{settings(way)}: worst row {way.unlearned.worst[0]:.3g} of one answer, {way.unlearned.worst[-1]:.3g} of "
            f"{DRAWS[len(way.unlearned.worst) - 1]}"
            for way in ways
        )
        return inline_svg(figure, name, title, f"{title}. {ends}.")


def _lines(axes: Axes, role: Role, leaks: Leaks, label: str) -> None:
    for kind, values, width in (("worst row", leaks.worst, WIDTHS[role]), ("mean", leaks.mean, 0.8)):
        axes.plot(
            DRAWS[: len(values)],
            values,
            color=COLOURS[role],
            linestyle=DASHES[role],
            linewidth=width,
            marker=MARKERS[role] if kind == "worst row" else None,
            markersize=3.2,
            clip_on=False,
            label=f"{label}, {kind}",
        )
