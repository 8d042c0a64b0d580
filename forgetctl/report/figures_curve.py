"""The table of forget quality and usefulness over training."""

from __future__ import annotations

from .formats import number, p_value
from .tables import EMPTY, Cell, Row, Section, cell, tables_of
from .verdict_record import Curve, Point
from .words import SCORES

FOR_INFORMATION = "This is for information only: no state of the model was chosen, and no training stopped, by it."


def curve_section(curve: Curve | None) -> Section:
    """Every state of the model that was scored in training, with the figures that were measured at all."""
    if curve is None:
        return Section("Over training", "", ())
    figures = {
        "Epoch": [_epoch(point) for point in curve.points],
        "Distance D": [cell(point.D) for point in curve.points],
        "p, KS test": [cell(point.p, show=p_value) for point in curve.points],
        "Forget probability": [cell(point.forget_probability) for point in curve.points],
        "Retain probability": [cell(point.retain_probability) for point in curve.points],
    }
    measured = {name: cells for name, cells in figures.items() if set(cells) - {EMPTY}}
    rows = tuple(
        Row(number(point.step) if point.step else "0, the start model", "", cells)
        for point, cells in zip(curve.points, zip(*measured.values(), strict=True), strict=False)
    )
    compared = ""
    if "Distance D" in measured:
        compared = f" D and p, TOFU's, compare the {SCORES[curve.score]} of its forget rows with the reference's."
    caption = f"The model after steps of its training.{compared}"
    return Section("Over training", FOR_INFORMATION, tables_of(caption, ("Step", *measured), rows))


def _epoch(point: Point) -> Cell:
    return EMPTY if point.epoch is None else (f"{point.epoch:g}",)
