"""What the model is compared with: nobody can tell whether it forgot without something that never knew."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from ...recipe.bounds import Bounds
from ..collected import Collected, Kind
from ..findings import Check, Context, Measure, passed, unsure
from ..statistics.shapes import Shape

WORDS: dict[Kind, str] = {
    "model": "a reference model that never saw the rows",
    "scores": "the scores of a reference model that never saw the rows",
    "tofu-log": "a published TOFU evaluation of a model that never saw the rows",
    "holdout": "rows that it never saw (weaker evidence than a reference model)",
    "none": "nothing",
}


class Comparison(Shape):
    """What the model was compared with. others: further references, which show the noise floor."""

    kind: Kind
    name: str | None
    others: tuple[str, ...]

    @property
    def by(self) -> Literal["reference", "holdout"] | None:
        """Same rows of another model, other rows of the same model (weaker evidence), or nothing."""
        if self.kind in ("holdout", "none"):
            return "holdout" if self.kind == "holdout" else None
        return "reference"


def measure(scores: Collected, bounds: Bounds) -> Comparison:
    """What was given to compare with."""
    if scores.reference is not None:
        others = tuple(other.name for other in scores.references[1:])
        return Comparison(kind=scores.kind, name=scores.reference.name, others=others)
    is_holdout = scores.kind == "holdout"
    return Comparison(kind="holdout" if is_holdout else "none", name="holdout" if is_holdout else None, others=())


def judge(finding: Comparison, context: Context) -> Iterator[Check]:
    """Whether there is anything to compare with."""
    if finding.by is None:
        words = (
            "There is nothing to compare with. Give --reference (a model trained without the rows, or its scores) or "
            "--holdout (rows that no model saw)."
        )
        yield unsure("comparison", "NO_REFERENCE", words)
    elif finding.by == "holdout":
        yield passed("comparison", "HOLDOUT", "Compared with rows that no model saw: weaker evidence than a reference.")
    else:
        yield passed("comparison", "REFERENCE", "Compared row by row with a model that never saw the rows.")


def public(finding: Comparison) -> Comparison:
    """Without names."""
    return Comparison(kind=finding.kind, name=None, others=())


MEASURE = Measure(
    place=0, measure=measure, empty=Comparison(kind="none", name=None, others=()), judge=judge, public=public
)
