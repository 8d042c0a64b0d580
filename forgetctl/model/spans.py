"""Which tokens of an answer touch the marked parts of a response: from code points of the response, by way of the text
that a template makes of it, to the tokens of that text."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

Span = tuple[int, int]
"""Start and end, half-open."""
BEHIND = 2**62
"""The end of a span that has whatever may follow an answer."""


def rendered_spans(response: str, spans: Sequence[Span], answer: str) -> list[Span]:
    """Spans of a response as spans of the text `answer` that a template made of it, in code points of either.

    spans: in order and disjoint, none of them white space alone. answer: the same characters in the same order but for
    white space, which templates trim, indent and put before.
    White space at the edges of a span is no part of it. A span that begins where the response does has what stands
    before it, too, and starts at -1; one that ends where the response does has what follows, such as the end of the
    turn, and ends at BEHIND.
    """
    own = [place for place, letter in enumerate(response) if not letter.isspace()]
    there = [place for place, letter in enumerate(answer) if not letter.isspace()]
    rendered = []
    for start, end in spans:
        first, last = bisect_left(own, start), bisect_left(own, end)
        rendered.append((there[first] if first else -1, there[last - 1] + 1 if last < len(own) else BEHIND))
    return rendered


def touching(spans: Sequence[Span], offsets: Sequence[Span]) -> tuple[bool, ...]:
    """Whether each token touches one of the spans, which are in order. offsets: of the tokens in the same text."""
    ends = [end for _, end in spans]
    firsts = (bisect_right(ends, begin) for begin, _ in offsets)
    return tuple(
        first < len(spans) and spans[first][0] < stop for first, (_, stop) in zip(firsts, offsets, strict=True)
    )


def are_covered(spans: Sequence[Span], offsets: Sequence[Span], text: str) -> bool:
    """Whether every letter and digit of `text` within the spans is within a token; else the offsets are not those of
    the tokens. A tokenizer may leave out other characters."""
    within = {place for begin, stop in offsets for place in range(begin, stop)}
    marked = (place for start, end in spans for place in range(max(start, 0), min(end, len(text))))
    return all(place in within or not text[place].isalnum() for place in marked)
