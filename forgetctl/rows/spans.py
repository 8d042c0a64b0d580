"""Spans: the parts of a response that concern the person, as they stand in a file and as they are moved to another
response that differs in these parts alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import chain, cycle, pairwise

from .fields import FieldReader
from .row import Key, Row

Spans = tuple[tuple[int, int], ...]


def read_spans(about: FieldReader, response: str) -> Spans:
    """The field `spans` beside a response: pairs of start and end in code points, half-open, in any order.

    They come back in order, those that touch as one; none where the field is missing or null, or where nothing but
    white space is left unmarked, which says the same. Raises InputError for anything else, and for a span that is
    empty, marks white space alone, overlaps another or leaves the response.
    """
    values = about.value.get("spans")
    if values is None:
        return ()
    if not isinstance(values, list) or not all(_is_pair(value) for value in values):
        raise about.error("field 'spans' must be a list of pairs of whole numbers, [start, end]")
    spans = sorted((start, end) for start, end in values)
    if not spans:
        raise about.error("field 'spans' is an empty list; leave it out where all of the response is to be forgotten")
    if any(start < 0 or end > len(response) for start, end in spans):
        raise about.error(f"field 'spans' has one that leaves the response, which has {len(response)} code points")
    if not all(response[start:end].strip() for start, end in spans):
        raise about.error("field 'spans' has one that is empty, or marks white space alone")
    if any(before[1] > span[0] for before, span in pairwise(spans)):
        raise about.error("field 'spans' has two that overlap")
    return joined_spans([spans]) if any(part.strip() for part in unmarked_parts(response, spans)) else ()


def joined_spans(several: Iterable[Iterable[tuple[int, int]]]) -> Spans:
    """All that any of several spans of one response mark, in order, those as one that touch or overlap."""
    joined: list[tuple[int, int]] = []
    for start, end in sorted(chain.from_iterable(several)):
        if joined and start <= joined[-1][1]:
            start, last = joined.pop()
            end = max(end, last)
        joined.append((start, end))
    return tuple(joined)


def unmarked_parts(response: str, spans: Sequence[tuple[int, int]]) -> list[str]:
    """What stands before, between and behind the spans of a response, one part more than there are spans."""
    ends = [0, *(end for _, end in spans)]
    starts = [*(start for start, _ in spans), len(response)]
    return [response[end:start] for end, start in zip(ends, starts, strict=True)]


def moved_spans(row: Row, response: str) -> Spans:
    """Where another response has something else than the row's in the place of its spans.

    The other must be the same where nothing is marked. Where it can be read in several ways, each span is as short as
    can be, from the first on. Raises ValueError where it is another there, or has nothing in the place of a span.
    """
    first, *between, last = unmarked_parts(row.response, row.spans)
    if not response.startswith(first):
        raise ValueError("another response before the first span")
    spans, start = [], len(first)
    for part in between:
        end = response.find(part, start + 1)
        if end < 0:
            raise ValueError("another response between the spans")
        spans.append((start, end))
        start = end + len(part)
    end = len(response) - len(last)
    if end <= start or not response.endswith(last):
        raise ValueError("another response behind the last span")
    spans.append((start, end))
    if not all(response[start:end].strip() for start, end in spans):
        raise ValueError("nothing in the place of a span")
    return tuple(spans)


def answering_alike(row: Row, response: str) -> Row:
    """The row with another response, of which is marked what stands in the place of the row's own spans.

    Raises ValueError as `moved_spans`.
    """
    return row.answering(response, moved_spans(row, response) if row.spans else ())


def without(rows: Sequence[Row], unwanted: Sequence[Row]) -> list[Row]:
    """Rows without those that have the key of an unwanted one. One of which parts are unwanted stays, with these as its
    spans; but not where the two texts differ in a letter, so that nobody knows where the parts are."""
    by_key: dict[Key, list[Row]] = defaultdict(list)
    for row in unwanted:
        by_key[row.key].append(row)
    kept = []
    for row in rows:
        same = by_key.get(row.key, [])
        if not same:
            kept.append(row)
        elif all(other.spans and (other.context, other.response) == (row.context, row.response) for other in same):
            kept.append(row.answering(row.response, joined_spans([row.spans, *(other.spans for other in same)])))
    return kept


def filled(row: Row, other: Row) -> str | None:
    """The row's response with what another row marks in the place of what it marks itself, from the beginning again
    where that is less; None where the other marks nothing, or the outcome could not be told apart from the rest."""
    if not other.spans:
        return None
    parts = cycle(other.response[start:end].strip() for start, end in other.spans)
    first, *rest = unmarked_parts(row.response, row.spans)
    response = first + "".join(part + following for part, following in zip(parts, rest, strict=False))
    try:
        moved_spans(row, response)
    except ValueError:
        return None
    return response


def _is_pair(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(type(number) is int for number in value)
