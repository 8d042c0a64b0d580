"""Kullback-Leibler divergences between the models' answers, in nats per answer token. Shown, never judged."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import Field

from ...recipe.bounds import Bounds
from ..collected import Collected
from ..findings import Measure
from ..statistics.shapes import Nats, Shape, finite
from ..tables import Row, Shown, Table, number, tables_of
from ._closeness import HEADING
from .forget_quality import CAPTION, COLUMNS


class Divergence(Shape):
    """Divergences, 0 or more; null where they were not measured."""

    forget_distance: Nats | None = Field(
        title="KL from the reference, forget rows",
        description="How far it answers the forget rows from a model that never saw them; 0 is equal.",
    )
    retain_distance: Nats | None = Field(
        title="KL from the reference, retain rows",
        description="The same on rows that had to stay; more than a little is a side effect.",
    )
    forget_from_start: Nats | None = Field(
        title="KL from the start model, forget rows",
        description="How far it moved on the rows it had to forget; far is neither good nor bad in itself.",
    )


def measure(scores: Collected, bounds: Bounds) -> Divergence:
    """What was computed while the models were in memory; the scores alone do not give it."""
    return Divergence(**{key: finite(scores.kl.get(key)) for key in Divergence.model_fields})


def why_missing(finding: Divergence, scores: Collected) -> dict[str, str]:
    """A reason for each that is not there."""
    return {f"kl.{key}": _reason(key, scores) for key, value in finding if value is None}


def _reason(key: str, scores: Collected) -> str:
    if key == "forget_from_start":
        return "the start model was not scored" if scores.start is None else "it needs the models, not only scores"
    return "needs a reference model" if scores.reference is None else "the reference is given by scores only"


def table(finding: Divergence, shown: Shown) -> Iterable[Table]:
    """A row for each divergence, measured or not."""
    rows = (
        Row(str(field.title), str(field.description), ((number(getattr(finding, key)),),))
        for key, field in Divergence.model_fields.items()
    )
    return tables_of(CAPTION, COLUMNS, rows)


NOTHING = Divergence(forget_distance=None, retain_distance=None, forget_from_start=None)

MEASURE = Measure(place=60, measure=measure, empty=NOTHING, heading=HEADING, table=table, why_missing=why_missing)
