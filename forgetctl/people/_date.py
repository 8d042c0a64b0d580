"""Dates of birth and others: the same day, month and year in any order and in four languages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product, repeat

import regex
from numpy.random import Generator

from ._dates import DAYS, MONTH_NUMBERS, MONTHS, SHORT, Date, dates_in
from ._kind import Disclosure, Matcher
from ._letters import plain
from .reading import Reading

LONGEST = 40
YEARS = (1930, 2010)
"""Between which made-up dates lie."""
_ORDINALS = {1: "st", 2: "nd", 3: "rd", 21: "st", 22: "nd", 23: "rd", 31: "st"}
_PADDED = regex.compile(r"(?<!\d)0\d(?!\d)|^\d{4}[./-]")
"""Days and months of two digits always: one of them says so, or the year stands first (ISO 8601)."""
_TOKEN = regex.compile(r"\d+|[^\W\d_]+")


@dataclass(frozen=True, repr=False)
class _OneOf:
    """Recognises any of the dates that a value may be read as."""

    dates: frozenset[Date]

    @property
    def traces(self) -> tuple[str, ...]:
        """The year, or day and month as numbers or names beside two digits of it."""
        return tuple(sorted({trace for date in self.dates for trace in _traces(date)}))

    def disclosed(self, reading: Reading) -> Disclosure:
        """The whole date, or a part: the year, or the day of the month."""
        if any(date.same(other) for date in self.dates for other in reading.dates):
            return Disclosure.WHOLE
        shared = any(date.shares(other) for date in self.dates for other in reading.dates)
        return Disclosure.PART if shared else Disclosure.NONE


class DateKind:
    """A day, its month and its year."""

    def matcher(self, value: str) -> Matcher | None:
        """Of a whole date and nothing else; 05/06/1990 is one in May and one in June."""
        form = plain(value).strip()
        dates = frozenset(date for date in dates_in(form) if date.is_whole) if len(form) <= LONGEST else frozenset()
        return _OneOf(dates) if dates and _is_all(form) else None

    def forms(self, value: str) -> Iterable[str]:
        """In numbers of every order, and in words of four languages."""
        for date in dates_in(plain(value)):
            if date.is_whole:
                yield from _forms(date)

    def others(self, value: str, random: Generator) -> Iterator[str]:
        """Other days, written in the same way."""
        return (_like(value, random) for _ in repeat(None))

    def values_in(self, text: str) -> Iterable[str]:
        """Whole dates, as ISO 8601 writes them."""
        whole = (date for date in dates_in(plain(text)) if date.is_whole and date.year > 100)
        return (f"{year:04}-{month:02}-{day:02}" for year, month, day in sorted(whole))


def _is_all(form: str) -> bool:
    """Whether there is no word beside a date's own, nor a fourth number."""
    tokens = _TOKEN.findall(form)
    named = any(token in MONTH_NUMBERS for token in tokens)
    numbers = sum(token.isdecimal() for token in tokens)
    words = [token for token in tokens if not token.isdecimal() and token not in MONTH_NUMBERS and len(token) > 3]
    return not words and numbers == (2 if named else 3)


def _traces(date: Date) -> Iterator[str]:
    year, month, day = date
    if year > 100:
        yield f"{year}"
    short, names = f"{year % 100:02}", [name for name, number in MONTH_NUMBERS.items() if number == month]
    for d, m in product({f"{day}", f"{day:02}"}, {f"{month}", f"{month:02}"}):
        yield from (d + m + short, m + d + short, short + m + d)
    for name, between in product(names, ("", "of", "de", "del", "du", f"{day}", f"{day:02}")):
        yield name + between + short


def _forms(date: Date) -> Iterator[str]:
    year, month, day = date
    for d, m in product({f"{day}", f"{day:02}"}, {f"{month}", f"{month:02}"}):
        for mark in "/.-":
            yield from (f"{d}{mark}{m}{mark}{year}", f"{m}{mark}{d}{mark}{year}", f"{year}{mark}{m}{mark}{d}")
        yield f"{d}.{m}.{year % 100:02}"
        yield f"{m}/{d}/{year % 100:02}"
    yield f"{year:04}{month:02}{day:02}"
    for table in (MONTHS, SHORT):
        en, de, fr, es = (table[language][month - 1] for language in ("en", "de", "fr", "es"))
        ordinal = _ORDINALS.get(day, "th")
        yield from (f"{en} {day}, {year}", f"{en} {day}{ordinal}, {year}", f"{day} {en} {year}", f"{day}-{en}-{year}")
        yield from (f"the {day}{ordinal} of {en}, {year}", f"{day}. {de} {year}", f"{day} {fr} {year}")
        yield from (f"{day} de {es} de {year}", f"{year} {en} {day}")
    yield f"{year}年{month}月{day}日"


def _like(value: str, random: Generator) -> str:
    """The value with every number and month's name replaced, each in its own style."""
    read = min(date for date in dates_in(plain(value)) if date.is_whole)
    month = int(random.integers(1, 13))
    # What may be read in two orders stays so.
    last = 12 if read.day <= 12 else DAYS[month - 1] - (month == 2)
    made = Date(int(random.integers(*YEARS)), month, int(random.integers(1, last + 1)))
    left = {"year": read.year, "month": read.month, "day": read.day}
    width = 2 if _PADDED.search(value) else 1

    def other(match: regex.Match[str]) -> str:
        token = str(match[0])
        if not token.isdecimal():
            return _named(token, made.month)
        number = int(token)
        part = next((part for part, old in left.items() if number in (old, old % 100 if part == "year" else old)), None)
        if part is None:
            return token
        del left[part]
        new = getattr(made, part)
        return f"{new:04}" if len(token) > 2 else f"{new % 100:0{2 if part == 'year' else width}}"

    return str(_TOKEN.sub(other, value))


def _named(token: str, month: int) -> str:
    """The month's name in the language and style of another month's."""
    for table in (MONTHS, SHORT):
        for names in table.values():
            if plain(token) in map(plain, names):
                name = names[month - 1]
                return name.upper() if token.isupper() else name.capitalize() if token.istitle() else name.lower()
    return token
