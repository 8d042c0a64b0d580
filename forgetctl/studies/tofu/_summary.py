"""The study's lines, run by run and step by step, as figures of each method: over seeds, at the end and at its best."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

import numpy as np

from ...losses.methods import METHODS
from .._outcome import Table
from ._table import DIVERGED, MEASURED, REFERENCE, START, Line

SHOWN = (
    "forget_quality", "D", "utility", "utility_without_rouge", "kl_reference", "kl_start", "forget_probability",
    "forget_rouge", "forget_truth", "retain_probability", "retain_rouge",
)  # fmt: skip
"""What is summarised; all but forget_quality as means over seeds."""
Summary = dict[str, Any]


def summarise(lines: Sequence[Line]) -> list[Summary]:
    """One entry a split, method and retain weight; the start model and the reference come first.

    seeds: those measured to the end. points: by step, over those seeds. final: the last of them. best: the point whose
    forget quality is highest, as the paper shows each method; it is chosen by what it is judged by, so it flatters.
    diverged: how many seeds did not get to the end.
    """

    order = {name: place for place, name in enumerate((START, REFERENCE, *METHODS))}

    def of_method(line: Line) -> tuple[str, int, str, float]:
        """Methods that only another version has come last."""
        method = line["method"]
        return line["split"], order.get(method, len(order)), method, line["retain_weight"]

    return [_summary(list(own)) for _, own in groupby(sorted(lines, key=of_method), of_method)]


def _summary(lines: Sequence[Line]) -> Summary:
    names = {name: lines[0][name] for name in ("split", "method", "retain_weight")}
    measured = [line for line in lines if line["status"] == MEASURED]
    whole = sorted({line["seed"] for line in measured if line["step"] == line["steps"]})
    mine = [line for line in measured if line["seed"] in whole]
    points = [_point([line for line in mine if line["step"] == step]) for step in sorted({x["step"] for x in mine})]
    best = max(points, key=lambda point: float(point["forget_quality"])) if points else None
    diverged = len({line["seed"] for line in lines if line["status"] == DIVERGED})
    final = points[-1] if points else None
    return {**names, "seeds": whole, "diverged": diverged, "final": final, "best": best, "points": points}


def _point(lines: Sequence[Line]) -> Summary:
    """Forget quality is the median over seeds, since p-values spread over many powers of ten; the rest are means."""
    figures: Summary = {"step": lines[0]["step"], "epoch": lines[0]["epoch"], "n": lines[0]["n"]}
    for name in SHOWN:
        values = [line[name] for line in lines]
        known = all(value is not None for value in values)
        figures[name] = float((np.median if name == "forget_quality" else np.mean)(values)) if known else None
    return {**figures, "per_seed": {name: [line[name] for line in lines] for name in ("forget_quality", "D")}}


def tables(summaries: Sequence[Summary], weight: float) -> list[Table]:
    """A table for each split: the methods at the recipe's retain weight, then the sweep of the weight."""
    made = []
    for split, group in groupby(summaries, lambda summary: str(summary["split"])):
        own = list(group)
        ends = [one for one in own if one["method"] in (START, REFERENCE)]
        main = [one for one in own if one["retain_weight"] == weight and one not in ends]
        made.append(_table(f"TOFU forget{split}", [*ends, *main], "method", _method))
        swept = [one for one in own if one["retain_weight"] != weight and one not in ends]
        for method in dict.fromkeys(one["method"] for one in swept):
            rows = [one for one in own if one["method"] == method]
            made.append(_table(f"TOFU forget{split}, {method}", rows, "weight", _weight))
    return made


def _table(title: str, rows: Sequence[Summary], first: str, heading: Callable[[Summary], str]) -> Table:
    columns = (first, "seeds", "quality", "D", "utility", "KL ref", "KL start", "forget", "retain")
    words = f"{title}. Quality: median p; else means; KL from reference and start in nats; forget, retain: probability"
    return Table(words, columns, [[heading(one), *_row(one)] for one in rows])


def _method(one: Summary) -> str:
    return str(one["method"])


def _weight(one: Summary) -> str:
    return f"{one['retain_weight']:g}"


CELLS = ("D", "utility", "kl_reference", "kl_start", "forget_probability", "retain_probability")


def _row(one: Summary) -> list[str]:
    final = one["final"]
    ends = one["method"] in (START, REFERENCE)
    ended, diverged = len(one["seeds"]), one["diverged"]
    seeds = "" if ends else f"{ended} of {ended + diverged}" if diverged else str(ended)
    if final is None:
        return [seeds, "diverged" if diverged else "-", *["-"] * len(CELLS)]
    quality = final["forget_quality"]
    return [seeds, f"{quality:.2f}" if quality >= 0.01 else f"{quality:.0e}", *(_cell(final[name]) for name in CELLS)]


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"
