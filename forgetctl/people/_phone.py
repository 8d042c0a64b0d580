"""Telephone numbers: with or without the country's code, the trunk's prefix and an extension."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import repeat
from typing import NamedTuple

import regex
from numpy.random import Generator

from . import _invented
from ._kind import Matcher
from ._letters import plain
from ._number import LONGEST, Digits, grouped
from ._squeezed import Needle, Squeezed

FEWEST, MOST = 5, 15
"""Digits of a number with its country's code (E.164)."""
_VALUE = regex.compile(
    r"(?:tel[.:]?\s*)?(\+|00)?([\d\s()./-]{4,40}?)\s*(?:(?:ext|x|app|poste|durchwahl)[.:]?\s*(\d{1,6}))?"
)
_CALLED = regex.compile(r"\+|00[1-9]|\(\d|0\d")
"""How a number begins that can be nothing else, or hardly."""
_ABROAD = regex.compile(r"(?:\+|\b00)\s?(\d{1,3})[^\p{L}\p{N}]{1,3}(?:\(?0\)?[^\p{L}\p{N}]{0,3})?$")
"""A country's code right before a number."""
_IN_TEXT = regex.compile(r"(?<![\p{L}\p{N}])(?:\+|\()\p{N}(?:[ .()/-]{0,3}\p{N}){6,14}+(?!\p{N})")


class _Parts(NamedTuple):
    """Digits: of the country's code, empty where it is not known, and of the number in its country."""

    country: str
    national: str


@dataclass(frozen=True, repr=False)
class _Number(Digits):
    """Recognises the digits of a number in its country. country: its code, empty where it is not known."""

    country: str

    def begins_at(self, text: Squeezed, start: int) -> bool:
        """After the same country's code and the trunk's 0, or neither; another code makes another number of them."""
        if text.begins(start):
            code = _ABROAD.search(text.plain, 0, text.places[start])
            return not (self.country and code) or code[1] == self.country
        before = text.letters[:start]
        starts = [f"{self.country}0", self.country, f"00{self.country}", "0"] if self.country else ["0"]
        return any(before.endswith(one) and text.begins(start - len(one)) for one in starts if one)


class Phone:
    """The same number in its country, after the same country's code or after none."""

    def matcher(self, value: str) -> Matcher | None:
        """Of five to fifteen digits and an extension, which need not be said."""
        parts = _parse(value)
        if parts is None or not FEWEST <= len(parts.country + parts.national) <= MOST:
            return None
        return _Number(Needle(parts.national), parts.country)

    def forms(self, value: str) -> Iterable[str]:
        """As it is; in groups; with and without the country's code."""
        parts = _parse(value)
        if parts is None:
            return
        yield value
        yield from grouped(parts.national)
        area, rest = parts.national[:3], parts.national[3:]
        yield f"({area}) {rest[:3]}-{rest[3:]}"
        for start in [f"+{parts.country}", f"00{parts.country}", f"+{parts.country} (0)"] if parts.country else []:
            yield from (start + mark + parts.national for mark in ("", " ", "-"))
            yield f"{start} {area} {rest}"
            yield f"0{parts.national}"

    def others(self, value: str, random: Generator) -> Iterator[str]:
        """Other digits after the same country's code."""
        parts = _parse(value)
        start = len(parts.country) if parts else 0
        keep = start + 2 * plain(value).strip().startswith("00")
        return (_invented.like_digits(value, random, keep) for _ in repeat(None))

    def values_in(self, text: str) -> Iterable[str]:
        """Those with a country's code or an area in brackets; others are numbers as any are."""
        return (match[0] for match in _IN_TEXT.finditer(text))


def looks_called(value: str) -> bool:
    """Whether a number is written as telephone numbers alone are."""
    return bool(_CALLED.match(plain(value).strip()))


def _parse(value: str) -> _Parts | None:
    form = plain(value).strip()
    match = _VALUE.fullmatch(form) if len(form) <= LONGEST else None
    if match is None:
        return None
    abroad, digits = match[1], "".join(filter(str.isdigit, match[2]))
    return _with_country(digits) if abroad else _Parts("", digits.removeprefix("0"))


def _with_country(digits: str) -> _Parts | None:
    import phonenumbers  # slow to import, and most requests name no such number

    try:
        number = phonenumbers.parse(f"+{digits}", None)
    except phonenumbers.NumberParseException:
        return None
    return _Parts(str(number.country_code), phonenumbers.national_significant_number(number))
