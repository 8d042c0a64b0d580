"""Negative control: a second model that never saw the rows must pass against the first. Their distance is the noise
floor; nothing that is closer than these two are is called different."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ...recipe.bounds import Bounds
from ..collected import Collected
from ..findings import Check, Context, Measure, passed, unsure
from ..tables import Shown, Table
from . import comparison
from ._closeness import HEADING, REQUIRED, Closeness, check_distance, check_mean, closeness_table, paired


def measure(scores: Collected, bounds: Bounds) -> tuple[Closeness, ...] | None:
    """Each further reference against the first: of every score the pair that lies farthest apart."""
    if len(scores.references) < 2:
        return None
    first, *others = scores.references
    farthest: dict[str, Closeness] = {}
    for other in others:
        for pair in paired(other.forget, first.forget, bounds):
            known = farthest.get(pair.name)
            if known is None or pair.distance.upper > known.distance.upper:
                farthest[pair.name] = pair
    return tuple(farthest.values())


def judge(finding: tuple[Closeness, ...] | None, context: Context) -> Iterator[Check]:
    """Whether the references pass against each other on every score that a PASS needs."""
    by, bounds = comparison.MEASURE.of(context.findings).by, context.bounds
    if finding is None or by is None:
        return
    name = "negative control"
    if missing := sorted(set(REQUIRED[by]) - {one.name for one in finding}):
        words = f"The references could not be compared with each other: no {', '.join(missing)}."
        yield unsure(name, "NOT_MEASURED", words)
        return
    checks = [check_distance(one, bounds, None) for one in finding]
    checks += [check_mean(one, one.shift, bounds) for one in finding if one.shift]
    figure = "; ".join(f"{one.name} D = {one.distance.D:.3f}, to {one.distance.upper:.3f}" for one in finding)
    if all(check.status == "pass" for check in checks):
        yield passed(name, "REFERENCES_AGREE", f"Models that never saw the rows pass against each other ({figure}).")
    else:
        words = f"Models that never saw the rows do not pass against each other ({figure}; limit {bounds.delta})"
        remedy = "so nothing can. More rows would lower the noise."
        yield unsure(name, "NOISE_FLOOR_ABOVE_DELTA", f"{words}, {remedy}")


def why_missing(finding: tuple[Closeness, ...] | None, scores: Collected) -> dict[str, str]:
    """What it needs."""
    return {"noise_floor": "it needs a second --reference"} if finding is None else {}


def table(finding: tuple[Closeness, ...] | None, shown: Shown) -> Iterable[Table]:
    """A row for each kind of score."""
    caption = (
        "Noise floor: another model that never saw the rows against the reference. Nothing that is closer than "
        "these two are is called different."
    )
    return closeness_table(caption, finding or (), shown)


MEASURE = Measure(
    place=40, measure=measure, empty=None, judge=judge, heading=HEADING, table=table, why_missing=why_missing
)
