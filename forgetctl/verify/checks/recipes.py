"""Whether references were taught as the start model was: another recipe moves everything a little, rows or not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Literal

from ...model.taught import Taught
from ...recipe.bounds import Bounds
from ..collected import Collected
from ..findings import Check, Context, Heading, Measure, passed, reported
from ..statistics.shapes import Shape
from ..tables import EMPTY, Cell, Row, Shown, Table, number, tables_of
from . import comparison

NAME = "recipes"
Value = bool | int | float | None


class Difference(Shape):
    """A setting that a reference was taught with otherwise. reference: its number. here, there: of the reference and of
    what it is compared with; null for texts and digests, of which only is said that they differ."""

    reference: int
    setting: str
    here: Value
    there: Value


class Recipes(Shape):
    """against: whose recipe the references' are compared with, the start model's where it is known. compared: numbers
    of references whose own is."""

    against: Literal["start model", "first reference"]
    compared: tuple[int, ...]
    differences: tuple[Difference, ...]


def measure(scores: Collected, bounds: Bounds) -> Recipes | None:
    """None where fewer than two of the models say how they were taught."""
    known = {number: one.taught for number, one in enumerate(scores.references, 1) if one.taught}
    start = scores.start.taught if scores.start else None
    yardstick = start or known.pop(1, None)
    if yardstick is None or not known:
        return None
    return Recipes(
        against="start model" if start else "first reference",
        compared=tuple(known),
        differences=tuple(one for number, taught in known.items() for one in _differences(number, taught, yardstick)),
    )


def _differences(reference: int, taught: Taught, other: Taught) -> Iterator[Difference]:
    if taught.base_sha256 != other.base_sha256:
        yield Difference(reference=reference, setting="base", here=None, there=None)
    for setting in sorted({*taught.settings, *other.settings}):
        here, there = taught.settings.get(setting), other.settings.get(setting)
        if here != there:
            shown = (None if isinstance(value, str) else value for value in (here, there))
            yield Difference(reference=reference, setting=setting, here=next(shown), there=next(shown))


def judge(finding: Recipes | None, context: Context) -> Iterator[Check]:
    """Says it; decides nothing, since a drift on everything is taken off and the rest is in the noise."""
    if finding is None or comparison.MEASURE.of(context.findings).by != "reference":
        return
    if not finding.differences:
        yield passed(NAME, "RECIPES_AGREE", f"References were taught as the {finding.against} was, but for their rows.")
        return
    by_reference = groupby(finding.differences, key=lambda one: one.reference)
    words = "; ".join(f"reference {number}: {', '.join(map(_words_of, some))}" for number, some in by_reference)
    yield reported(
        NAME,
        "RECIPES_DIFFER",
        f"References were taught otherwise than the {finding.against} ({words}). Drifts on unseen rows are taken off; "
        "what else differs counts as noise.",
    )


def _words_of(one: Difference) -> str:
    setting = one.setting.replace("_", " ")
    if one.here is None and one.there is None:
        return f"another {setting}"
    return f"{setting} {_shown(one.here)} for {_shown(one.there)}"


def _shown(value: Value) -> str:
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def table(finding: Recipes | None, shown: Shown) -> Iterable[Table]:
    """A row for each setting that differs."""
    if finding is None:
        return
    caption = f"Settings with which references were taught otherwise than the {finding.against}."
    yield from tables_of(caption, ("Setting", "Reference", "Here", "There"), map(_row, finding.differences))


def _row(one: Difference) -> Row:
    cells: tuple[Cell, ...] = tuple(EMPTY if value is None else (_shown(value),) for value in (one.here, one.there))
    return Row(one.setting.replace("_", " "), "", ((number(one.reference),), *cells))


def why_missing(finding: Recipes | None, scores: Collected) -> dict[str, str]:
    """What it needs."""
    if finding is not None:
        return {}
    return {"recipes": "fewer than two of the models say how they were taught (reference.json)"}


MEASURE: Measure[Recipes | None] = Measure(
    place=45,
    measure=measure,
    empty=None,
    judge=judge,
    heading=Heading(title="How references were taught", words=lambda findings, bounds: ""),
    table=table,
    why_missing=why_missing,
    public=lambda finding: finding,
)
