"""The figures of the study, after Figs. 2, 5, 6, 8 and 9 of the NPO paper and its sweep of the retain weight."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import nan
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator

from .._figures import STYLE, columns_for, grid, legend, look, plain_log, spelt
from ._summary import Summary
from ._table import REFERENCE, START

MARKERS = {"": "o", "rt": "s", "kl": "^"}
OTHER_MARKER = "D"
"""Of methods that are not the paper's."""
LEVEL = 0.05
LOWEST = 1e-30
"""p-values below this are drawn at the edge: two samples that do not overlap at all give 1e-119 at n = 200."""
WIDTH = 7.4
Splits = Mapping[str, Sequence[Summary]]


def draw(summaries: Sequence[Summary], weight: float) -> dict[str, Figure]:
    """The figures that there are data for, by file name. weight: the retain weight of the recipe."""
    own = [one for one in summaries if one["final"] is not None]
    methods = [one for one in own if one["method"] not in (START, REFERENCE)]
    main = by_split([one for one in methods if one["retain_weight"] == weight])
    ends = by_split([one for one in own if one not in methods])
    figures = {}
    if main:
        figures["tofu-quality-utility"] = quality_utility(main, ends)
        figures["tofu-epochs"] = over_epochs(main, ends)
        figures["tofu-forget-kl"] = forget_kl(main, ends)
    swept = by_split([one for one in methods if _is_swept(one, methods)])
    if swept:
        figures["tofu-retain-weight"] = retain_weights(swept)
    return figures


def by_split(summaries: Sequence[Summary]) -> dict[str, list[Summary]]:
    """Summaries by their split, in order."""
    grouped: dict[str, list[Summary]] = {}
    for one in summaries:
        grouped.setdefault(one["split"], []).append(one)
    return grouped


def _is_swept(one: Summary, others: Sequence[Summary]) -> bool:
    """Whether there is the same method on the same split with another retain weight."""
    alike = [other for other in others if (other["split"], other["method"]) == (one["split"], one["method"])]
    return len({other["retain_weight"] for other in alike}) > 1


def quality_utility(main: Splits, ends: Splits) -> Figure:
    """Forget quality against model utility at the end of each run, a panel for each split.

    A method is recognised by colour (the loss on forget rows) and by marker (what holds the retain rows).
    """
    columns = min(3, len(main))
    rows = -(-len(main) // columns)
    with mpl.rc_context(STYLE):
        figure, panels = grid(rows, columns, (WIDTH, 2.9 * rows + 0.7))
        places = [axes for row in panels for axes in row]
        for (split, summaries), axes in zip(main.items(), places, strict=False):
            for one in summaries:
                final, drawn = one["final"], look(one["method"])
                marker = _marker(one["method"])
                axes.plot(final["utility"], quality(final), marker, color=drawn["color"], markersize=5.5, clip_on=False)
            for one in ends.get(split, []):
                marker = "*" if one["method"] == REFERENCE else "X"
                point = one["final"]
                axes.plot(point["utility"], quality(point), marker, color="black", markersize=8, clip_on=False)
            axes.set(title=f"forget{split}", xlabel="model utility", xlim=(-0.03, 1.0))
            _quality_axis(axes)
        for axes in places[len(main) :]:
            axes.remove()
        panels[0][0].set_ylabel("forget quality (KS p)")
        _marker_legend(figure, dict.fromkeys(one["method"] for summaries in main.values() for one in summaries))
        return figure


def over_epochs(main: Splits, ends: Splits) -> Figure:
    """Forget quality and utility over the epochs, a column for each split.

    Utility is the paper's where it was measured at every point, else the mean of the six measures that need no
    generated answers, and named so.
    """
    points = [point for summaries in main.values() for one in summaries for point in one["points"]]
    whole = all(point["utility"] is not None for point in points)
    name, words = ("utility", "model utility") if whole else ("utility_without_rouge", "utility without ROUGE")

    def utility(point: Summary) -> float:
        return float(point[name])

    return _curves(main, ends, [("forget quality (KS p)", quality, _quality_axis), (words, utility, _share_axis)])


def forget_kl(main: Splits, ends: Splits) -> Figure:
    """Divergence on the forget rows' answers over the epochs: from the start model, and from the reference.

    The first grows without bound where the model is destroyed; the second is 0 where it never saw the rows.
    """

    def of(name: str) -> Callable[[Summary], float]:
        return lambda point: float(point[name]) or nan  # of a model from itself, which no logarithm shows

    words = {"kl_start": "KL(start || model), nats", "kl_reference": "KL(reference || model), nats"}
    return _curves(main, ends, [(words[name], of(name), _kl_axis) for name in words])


Kind = tuple[str, Callable[[Summary], float], Callable[[Axes], None]]
"""A row of panels: its label, what it shows of a point, and what scales its axis."""


def _curves(main: Splits, ends: Splits, kinds: Sequence[Kind]) -> Figure:
    with mpl.rc_context(STYLE):
        figure, panels = grid(len(kinds), len(main), (max(WIDTH, 2.45 * len(main)), 2.5 * len(kinds) + 0.7))
        for (words, value, scale), row in zip(kinds, panels, strict=True):
            for (split, summaries), axes in zip(main.items(), row, strict=True):
                start = next((one["final"] for one in ends.get(split, []) if one["method"] == START), None)
                for one in summaries:
                    points = [*([start] if start else []), *one["points"]]
                    axes.plot([point["epoch"] for point in points], list(map(value, points)), **look(one["method"]))
                axes.set(title=f"forget{split}", xlabel="epoch")
                scale(axes)
            row[0].set_ylabel(words)
        legend(figure, dict.fromkeys(one["method"] for summaries in main.values() for one in summaries))
        return figure


def retain_weights(swept: Splits) -> Figure:
    """Forget quality and utility at the end over the weight of the retain term; a line for each split."""
    with mpl.rc_context(STYLE):
        figure, ((left, right),) = grid(1, 2, (WIDTH, 2.9))
        for split, summaries in swept.items():
            own = sorted(summaries, key=lambda one: float(one["retain_weight"]))
            weights = [one["retain_weight"] for one in own]
            drawn: dict[str, Any] = {"marker": "o", "label": f"{spelt(own[0]['method'])}, forget{split}"}
            left.plot(weights, [quality(one["final"]) for one in own], **drawn)
            right.plot(weights, [one["final"]["utility"] for one in own], **drawn)
        left.set(xlabel="retain weight", ylabel="forget quality (KS p)")
        right.set(xlabel="retain weight", ylabel="model utility", ylim=(0, 1))
        _quality_axis(left)
        left.legend(loc="best")
        return figure


def _marker(method: str) -> str:
    return MARKERS.get(method.partition("-")[2], OTHER_MARKER)


def quality(point: Summary) -> float:
    """The p-value to draw."""
    return max(float(point["forget_quality"]), LOWEST)


def _share_axis(axes: Axes) -> None:
    axes.set_ylim(0, 1)


def _kl_axis(axes: Axes) -> None:
    plain_log(axes, "y")


def _quality_axis(axes: Axes) -> None:
    axes.set_yscale("log")
    low, _ = axes.get_ylim()
    axes.set_ylim(max(min(low, 1e-3), LOWEST / 10), 3)
    axes.yaxis.set_major_locator(LogLocator(numticks=7))
    axes.axhline(LEVEL, color="black", linewidth=0.8, linestyle=(0, (3, 2)))
    axes.minorticks_off()


def _marker_legend(figure: Figure, methods: Mapping[str, None]) -> None:
    handles = [
        Line2D([], [], linestyle="none", marker=marker, color=colour, markersize=size, label=label)
        for marker, colour, size, label in (
            *((_marker(m), look(m)["color"], 5.5, spelt(m)) for m in methods),
            ("X", "black", 7, "start"),
            ("*", "black", 9, "reference"),
        )
    ]
    figure.legend(
        handles=handles, loc="outside upper left", ncols=columns_for(len(handles)), columnspacing=0.8, handlelength=1
    )
