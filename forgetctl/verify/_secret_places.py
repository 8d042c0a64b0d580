"""The request's secrets among other strings of their form, the same for every model, and what ranking them costs."""

from __future__ import annotations

from dataclasses import replace

from ..people.extent import Extent
from ..people.in_place import in_place
from .measuring import RowSets


def with_places(sets: RowSets, extent: Extent) -> RowSets:
    """The sets with a place for each named secret; as they are if none is named, or nothing is to be asked."""
    if extent == "none" or not any(row.secrets for row in sets.forget):
        return sets
    kept = [text for row in sets.rows.get("retain", ()) for text in (row.prompt, row.response)]
    rehearsed = [text for key in sets.rehearsed or () for text in key]
    return replace(sets, places=in_place(sets.forget, [*kept, *sorted(rehearsed)], extent))


def cost(sets: RowSets, extent: Extent, models: int) -> str:
    """What ranking the secrets costs, in words. models: how many are scored."""
    count, strings = (sets.places.count, sets.places.strings) if sets.places else (0, 0)
    return (
        f"Exposure (--attacks {extent}): {count:,} secrets, each among up to {strings:,} other strings, by {models} "
        f"model{'s' if models > 1 else ''}: up to {count * (strings + 1) * models:,} strings more to score"
    )
