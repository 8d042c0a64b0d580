"""How forgetting and usefulness went over training, where the model was scored on the way. Shown, never judged."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from ...model.scores import Scores
from ...recipe.bounds import Bounds
from ..collected import Collected, Tracked, same_tokens
from ..findings import Heading, Measure
from ..statistics.distances import ks
from ..statistics.shapes import Chance, Distance, Shape, Share
from ..tables import EMPTY, Cell, Row, Shown, Table, cell, number, p_value, tables_of
from ._closeness import ANSWERS, PLURALS, TRUTH_RATIO


class Point(Shape):
    """The model in training after an optimizer step; step 0 is the start model. D, p: of the forget rows' scores from
    the reference's, null without a reference that can be compared. Probabilities are means over the rows."""

    step: int
    epoch: float
    D: Distance | None
    p: Chance | None
    forget_probability: Share
    retain_probability: Share | None


class Curve(Shape):
    """From the start model to the last tracked step. score: what D and p compare."""

    score: Literal["truth ratio", "answer log-prob"]
    points: tuple[Point, ...]


def measure(scores: Collected, bounds: Bounds) -> Curve | None:
    """Every state of the model that was scored, or None if training was not tracked."""
    if not scores.tracked:
        return None
    score = _score(scores)
    start = (Tracked(0, 0.0, scores.start),) if scores.start is not None else ()
    return Curve(score=score, points=tuple(_point(point, scores, score) for point in (*start, *scores.tracked)))


def _score(scores: Collected) -> Literal["truth ratio", "answer log-prob"]:
    """Truth ratios where every model has them for the same wrong answers, else the answers themselves."""
    scored = [*(point.scores for point in scores.tracked), *(s for s in (scores.start, scores.reference) if s)]
    sets = [one.forget for one in scored]
    alike = all(rows.perturbed_tokens == sets[0].perturbed_tokens for rows in sets)
    return TRUTH_RATIO if alike and sets[0].truth_ratios is not None else ANSWERS


def _point(point: Tracked, scores: Collected, score: str) -> Point:
    ours, retain = point.scores.forget, point.scores.sets.get("retain")
    tracked = scores.tracked[-1].scores.sets.get("retain")
    if retain is not None and tracked is not None and retain.names != tracked.names:
        retain = None  # the verification was given other retain rows than training was tracked on
    distance, p = _distance(point.scores, scores.reference, score)
    return Point(
        step=point.step,
        epoch=point.epoch,
        D=distance,
        p=p,
        forget_probability=ours.probability,
        retain_probability=retain.probability if retain else None,
    )


def _distance(scores: Scores, reference: Scores | None, score: str) -> tuple[float | None, float | None]:
    if reference is None:
        return None, None
    if score == TRUTH_RATIO:
        ours, theirs = scores.forget.truth_ratios, reference.forget.truth_ratios
        if ours is None or theirs is None:
            return None, None
        compared = ks(ours, theirs)
    elif same_tokens(scores.forget, reference.forget):
        compared = ks(scores.forget.per_token, reference.forget.per_token)
    else:
        return None, None
    return compared.D, compared.p


def why_missing(finding: Curve | None, scores: Collected) -> dict[str, str]:
    """What it needs."""
    return {"curve": "the model was not scored during training (--track)"} if finding is None else {}


def table(finding: Curve | None, shown: Shown) -> Iterable[Table]:
    """Every state of the model that was scored in training, with the figures that were measured at all."""
    if finding is None:
        return ()
    figures: dict[str, list[Cell]] = {
        "Epoch": [(f"{point.epoch:g}",) for point in finding.points],
        "Distance D": [cell(point.D) for point in finding.points],
        "p, KS test": [cell(point.p, show=p_value) for point in finding.points],
        "Forget probability": [cell(point.forget_probability) for point in finding.points],
        "Retain probability": [cell(point.retain_probability) for point in finding.points],
    }
    measured = {name: cells for name, cells in figures.items() if set(cells) - {EMPTY}}
    rows = (
        Row(number(point.step) if point.step else "0, the start model", "", cells)
        for point, cells in zip(finding.points, zip(*measured.values(), strict=True), strict=False)
    )
    compared = ""
    if "Distance D" in measured:
        compared = f" D and p, TOFU's, compare the {PLURALS[finding.score]} of its forget rows with the reference's."
    return tables_of(f"The model after steps of its training.{compared}", ("Step", *measured), rows)


HEADING = Heading(
    title="Over training",
    words=lambda findings, bounds: (
        "This is for information only: no state of the model was chosen, and no training stopped, by it."
    ),
)
MEASURE = Measure(place=170, measure=measure, empty=None, heading=HEADING, table=table, why_missing=why_missing)
