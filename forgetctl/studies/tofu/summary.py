"""The study's lines, run by run and step by step, as figures of each method: over seeds, at the end and at its best."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

import numpy as np

from ..outcome import Table
from .table import DIVERGED, MEASURED, REFERENCE, START, Line

SHOWN = (
    "forget_quality", "D", "utility", "utility_without_rouge", "kl_reference", "kl_start", "forget_probability",
    "forget_rouge", "forget_truth", "retain_probability", "retain_rouge",
)  # fmt: skip
"""What is summarised; all but forget_quality as means over seeds."""
Summary = dict[str, Any]


def summarise(lines: Sequence[Line]) -> list[Summary]:
    """One entry a split, method and retain weight, in the order of the lines.

    seeds: those measured to the end. points: by step, over those seeds. final: the last of them. best: the point whose
    forget quality is highest, as the paper shows each method; it is chosen by what it is judged by, so it flatters.
    diverged: how many seeds did not get to the end.
    """

    def of_method(line: Line) -> tuple[str, str, float]:
        return line["split"], line["method"], line["retain_weight"]

    return [
        _summary({"split": key[0], "method": key[1], "retain_weight": key[2]}, list(own))
        for key, own in groupby(sorted(lines, key=of_method), of_method)
    ]


def _summary(names: Summary, lines: Sequence[Line]) -> Summary:
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


def tables(summaries: Sequence[Summary], recipe_weights: Iterable[float]) -> list[Table]:
    """A table for each split: the methods at the recipe's retain weight, then the sweep of the weight."""
    plain = set(recipe_weights)
    found = []
    for split, group in groupby(summaries, lambda summary: str(summary["split"])):
        own = [summary for summary in group if summary["final"] or summary["diverged"]]
        ends = [summary for summary in own if summary["method"] in (START, REFERENCE)]
        rest = [summary for summary in own if summary not in ends]
        main = [summary for summary in rest if summary["retain_weight"] in plain]
        found.append(_table(f"TOFU forget{split}", [*ends, *main]))
        if len({summary["retain_weight"] for summary in rest}) > 1:
            method = next(summary["method"] for summary in rest if summary["retain_weight"] not in plain)
            swept = [summary for summary in rest if summary["method"] == method]
            found.append(_table(f"TOFU forget{split}: retain weights of {method}", swept))
    return found


COLUMNS = (
    "method", "weight", "seeds", "forget quality", "D", "utility", "KL(ref||m)", "KL(start||m)", "forget p",
    "forget ROUGE", "retain p", "best quality", "at epoch", "D there",
)  # fmt: skip


def _table(title: str, summaries: Sequence[Summary]) -> Table:
    return Table(f"{title}: means over seeds, medians of forget quality", COLUMNS, [_row(one) for one in summaries])


def _row(summary: Summary) -> list[str]:
    method = str(summary["method"])
    ends = method in (START, REFERENCE)
    head = [method, "" if ends else f"{summary['retain_weight']:g}", "" if ends else _seeds(summary)]
    final, best = summary["final"], summary["best"]
    if final is None:
        return [*head, "diverged", *[""] * (len(COLUMNS) - len(head) - 1)]
    names = ("D", "utility", "kl_reference", "kl_start", "forget_probability", "forget_rouge", "retain_probability")
    cells = [f"{final['forget_quality']:.2g}", *(_cell(final[name]) for name in names)]
    at_best = ["", "", ""] if ends else [f"{best['forget_quality']:.2g}", f"{best['epoch']:g}", _cell(best["D"])]
    return [*head, *cells, *at_best]


def _seeds(summary: Summary) -> str:
    more = f" (+{summary['diverged']} diverged)" if summary["diverged"] else ""
    return f"{len(summary['seeds'])}{more}"


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
