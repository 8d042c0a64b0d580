"""Negative control: a second model that never saw the rows must not surely differ from the first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ...recipe.bounds import Bounds
from ..collected import Collected
from ..findings import Check, Context, Measure, passed, reported, unsure
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
    """Whether the references are surely alike, or surely not: then one of them is no reference, or another recipe's."""
    by, bounds = comparison.MEASURE.of(context.findings).by, context.bounds
    if finding is None or by is None:
        return
    name = "negative control"
    if missing := sorted(set(REQUIRED[by]) - {one.name for one in finding}):
        words = f"The references could not be compared with each other: no {', '.join(missing)}."
        yield reported(name, "NOT_MEASURED", words)
        return
    checks = [check_distance(one, bounds) for one in finding]
    checks += [check_mean(one, one.shift, bounds) for one in finding if one.shift]
    figure = "; ".join(f"{one.name} D = {one.distance.D:.3f}, to {one.distance.upper:.3f}" for one in finding)
    if any(check.status == "fail" for check in checks):
        words = f"Models that never saw the rows differ from each other ({figure}; limit {bounds.delta})"
        yield unsure(name, "REFERENCES_DIFFER", f"{words}: one of them saw the rows, or is of another recipe.")
    elif all(check.status == "pass" for check in checks):
        words = "Models that never saw the rows are indistinguishable from each other"
        yield passed(name, "REFERENCES_AGREE", f"{words} ({figure}).")
    else:
        words = f"Whether models that never saw the rows are indistinguishable is open ({figure}; limit {bounds.delta})"
        yield reported(name, "REFERENCES_OPEN", f"{words}: more rows would lower the noise.")


def why_missing(finding: tuple[Closeness, ...] | None, scores: Collected) -> dict[str, str]:
    """What it needs."""
    return {"noise_floor": "it needs a second --reference"} if finding is None else {}


def table(finding: tuple[Closeness, ...] | None, shown: Shown) -> Iterable[Table]:
    """A row for each kind of score."""
    caption = "Noise floor: another model that never saw the rows against the reference."
    return closeness_table(caption, finding or (), shown)


MEASURE = Measure(
    place=40, measure=measure, empty=None, judge=judge, heading=HEADING, table=table, why_missing=why_missing
)
