"""Numbers of any kind that are written in groups: social security, account, passport, customer, card."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import repeat

import regex
from numpy.random import Generator

from . import _invented
from ._kind import Disclosure, Matcher
from ._letters import plain
from ._squeezed import FLEXIBLE, Needle, Squeezed, squeezed
from ._text import says
from .reading import Reading

LAST = 4
"""Digits at the end that are commonly said in place of all."""
LONGEST = 64
"""Characters; no number is longer."""
LONG = 6
"""Digits from which the last four are a part."""
_GROUP = r"[\W_]{0,2}\p{L}{0,4}[\W_]{0,2}\p{N}++"
_VALUE = regex.compile(rf"(?:{_GROUP})++[\W_]{{0,2}}\p{{L}}{{0,3}}[\W_]?")
_JOINED_BEFORE = regex.compile(r"(?:[\p{L}\p{N}]|\p{N}[.,/:-])$")
_JOINED_AFTER = regex.compile(r"[\p{L}\p{N}]|[.,/:-]\p{N}")
_IN_TEXT = regex.compile(r"(?<![\p{L}\p{N}])\p{L}{0,3}\p{N}(?:[ .()/-]{0,2}\p{N}){4,}+(?!\p{N})")


class Number:
    """Digits, and letters among them, in whatever groups."""

    def matcher(self, value: str) -> Matcher | None:
        """Of at least three digits, with few letters."""
        form = plain(value).strip()
        if len(form) > LONGEST or not _VALUE.fullmatch(form) or sum(map(str.isdigit, form)) < 3:
            return None
        return Digits(Needle(form))

    def forms(self, value: str) -> Iterable[str]:
        """As it is, without marks, and in groups of two to four."""
        yield value
        if len(own := squeezed(value)) >= FLEXIBLE:
            yield from grouped(own)

    def others(self, value: str, random: Generator) -> Iterator[str]:
        """Other digits, and letters, in the same groups."""
        return (_invented.like_digits(value, random) for _ in repeat(None))

    def values_in(self, text: str) -> Iterable[str]:
        """Of five digits or more."""
        return (match[0].strip() for match in _IN_TEXT.finditer(text))


@dataclass(frozen=True, repr=False)
class Digits:
    """Recognises digits, and letters among them, in any groups."""

    needle: Needle

    @property
    def traces(self) -> tuple[str, ...]:
        """All of them in a row."""
        return (self.needle.letters,)

    def disclosed(self, reading: Reading) -> Disclosure:
        """In a text, spelled digits as well."""
        if any(self.begins_at(text, start) for text in reading.digits for start in self._places(text, self.needle)):
            return Disclosure.WHOLE
        return Disclosure.PART if any(map(self._partly, reading.digits)) else Disclosure.NONE

    def begins_at(self, text: Squeezed, start: int) -> bool:
        """Whether nothing stands before the digits that makes another number of them."""
        return text.begins(start)

    def _places(self, text: Squeezed, needle: Needle) -> Iterator[int]:
        size = len(needle)
        for start in text.all(needle):
            if text.ends(start + size, size) and (size >= FLEXIBLE or _alone(text, start, start + size)):
                yield start

    def _partly(self, text: Squeezed) -> bool:
        """The last four by themselves, or two thirds of the digits and more from the beginning or to the end."""
        digits = self.needle.letters
        if len(digits) < LONG:
            return False
        sizes = range(max(FLEXIBLE, -(-2 * len(digits) // 3)), len(digits))
        pieces = [piece for size in sizes for piece in (digits[:size], digits[-size:])]
        last = self._places(text, Needle(digits[-LAST:]))
        return any(_stand_alone(text, start) for start in last) or any(says(text, Needle(piece)) for piece in pieces)


def _alone(text: Squeezed, start: int, end: int) -> bool:
    """Whether a short number is no part of a longer one: 472 is neither in 4,472 nor in 4.72 or a472b."""
    plain_text, first, last = text.plain, text.places[start], text.places[end - 1]
    return not _JOINED_BEFORE.search(plain_text, 0, first) and not _JOINED_AFTER.match(plain_text, last + 1)


def _stand_alone(text: Squeezed, start: int) -> bool:
    """Whether no other group of the same number stands before, so that these digits are named as its last ones."""
    return text.gap(start) > 1 or not (start and text.letters[start - 1].isdecimal())


def grouped(digits: str) -> Iterator[str]:
    """Digits in one piece, and in groups of two to four between blanks, dashes and points."""
    yield digits
    for size in (2, 3, 4):
        groups = [digits[start : start + size] for start in range(0, len(digits), size)]
        yield from (mark.join(groups) for mark in (" ", "-", ".", "\N{NO-BREAK SPACE}", " - "))
