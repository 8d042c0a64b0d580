"""Positive control: the start model, which knows the rows, must fail the test that the unlearned model has to pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ...recipe.bounds import Bounds
from ..collected import Collected
from ..findings import Check, Context, Measure, passed, reported, unsure
from ..tables import Shown, Table
from . import comparison
from ._closeness import HEADING, Closeness, against, closeness_table


def measure(scores: Collected, bounds: Bounds) -> tuple[Closeness, ...]:
    """The start model's forget rows against the same comparison."""
    if scores.start is None:
        return ()
    return tuple(against(scores.start, scores.reference, scores, "forget", "", bounds))


def judge(finding: tuple[Closeness, ...], context: Context) -> Iterator[Check]:
    """Whether the test was seen to fail."""
    if comparison.MEASURE.of(context.findings).by is None:
        return
    name = "positive control"
    if not finding:
        words = "The start model was not scored, so the test was not seen to fail. Give --start."
        yield unsure(name, "NO_CONTROL", words)
        return
    figure = "; ".join(f"{one.name} D = {one.distance.D:.3f}, n = {one.distance.n}" for one in finding)
    if any(one.distance.lower > context.bounds.delta for one in finding):
        yield passed(name, "SENSITIVE", f"The start model fails the same test ({figure}), so it can tell.")
    else:
        words = f"The start model does not surely fail the same test ({figure}): it hardly knew the rows, or they are"
        yield reported(name, "NO_SENSITIVITY", f"{words} too few.")


def table(finding: tuple[Closeness, ...], shown: Shown) -> Iterable[Table]:
    """A row for each kind of score."""
    caption = "Control: the start model against the same comparison. It knows the rows, so it must fail."
    return closeness_table(caption, finding, shown)


MEASURE: Measure[tuple[Closeness, ...]] = Measure(
    place=30, measure=measure, empty=(), judge=judge, heading=HEADING, table=table
)
