"""International bank account numbers (ISO 13616)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import repeat

import regex
from numpy.random import Generator

from . import _invented
from ._kind import Matcher
from ._letters import plain
from ._number import LONGEST, Digits, grouped
from ._squeezed import Needle, squeezed

_VALUE = regex.compile(r"[a-z]{2}\d{2}[a-z0-9]{11,30}")
_IN_TEXT = regex.compile(r"(?<![\p{L}\p{N}])[A-Z]{2}\d{2}(?:[ -]?[A-Z0-9]{2,4}){3,8}+(?![\p{L}\p{N}])")
BEGINNING = 4
"""Letters of the country and check digits."""


class Iban:
    """Letters and digits in any groups, whose checksum is right."""

    def matcher(self, value: str) -> Matcher | None:
        """Of a valid one."""
        form = squeezed(plain(value)) if len(value) <= LONGEST else ""
        return Digits(Needle(form)) if _VALUE.fullmatch(form) and remainder(form) == 1 else None

    def forms(self, value: str) -> Iterable[str]:
        """In fours, in one piece, and in other groups; in small letters."""
        yield value
        own = squeezed(plain(value))
        yield own
        yield from grouped(own.upper())

    def others(self, value: str, random: Generator) -> Iterator[str]:
        """Other accounts in the same country, with their checksums, in the same groups."""
        return (_checked(_invented.like_digits(value, random, BEGINNING)) for _ in repeat(None))

    def values_in(self, text: str) -> Iterable[str]:
        """Those whose checksum is right."""
        return (match[0] for match in _IN_TEXT.finditer(text) if self.matcher(match[0]))


def remainder(form: str) -> int:
    """Of the number that small letters and digits make, by 97: 1 if its check digits are right (ISO 7064)."""
    turned = form[BEGINNING:] + form[:BEGINNING]
    return int("".join(str(int(letter, 36)) for letter in turned)) % 97


def _checked(value: str) -> str:
    """The same with the right check digits."""
    own = squeezed(plain(value))
    check = f"{98 - remainder(f'{own[:2]}00{own[BEGINNING:]}'):02}"
    places = [place for place, letter in enumerate(value) if letter.isalnum()][2:BEGINNING]
    made = list(value)
    for place, digit in zip(places, check, strict=True):
        made[place] = digit
    return "".join(made)
