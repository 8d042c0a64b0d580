"""Dates in every order, of numbers and of months' names in English, German, French and Spanish."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from ._letters import plain

MONTHS = {
    "en": "January February March April May June July August September October November December".split(),
    "de": "Januar Februar März April Mai Juni Juli August September Oktober November Dezember".split(),
    "fr": "janvier février mars avril mai juin juillet août septembre octobre novembre décembre".split(),
    "es": "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre".split(),
}
"""By language, as they are written."""
SHORT = {
    "en": "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(),
    "de": "Jan Feb Mrz Apr Mai Jun Jul Aug Sep Okt Nov Dez".split(),
    "fr": "janv févr mars avr mai juin juil août sept oct nov déc".split(),
    "es": "ene feb mar abr may jun jul ago sep oct nov dic".split(),
}
_MORE = {"jaenner": 1, "janner": 1, "maerz": 3, "sept": 9, "setiembre": 9}
_NAMES = [names for table in (MONTHS, SHORT) for names in table.values()]
MONTH_NUMBERS = {plain(name): number for names in _NAMES for number, name in enumerate(names, 1)} | _MORE
"""Number of every month by its plain names."""
CENTURY = 100
DAYS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


class Date(NamedTuple):
    """A date or a part of one, 0 for what is not named. A year of two digits is from 1 to 100, which stands for 00."""

    year: int = 0
    month: int = 0
    day: int = 0

    def __repr__(self) -> str:
        return "Date()"

    @property
    def is_whole(self) -> bool:
        """Whether day, month and year are named."""
        return all(self)

    def shares(self, other: Date) -> bool:
        """Whether both name a year, or a day of a month, and the same one."""
        same_year = bool(self.year and other.year) and same_year_as(self.year, other.year)
        same_day = bool(self.day and other.day) and self[1:] == other[1:]
        return same_year or same_day

    def same(self, other: Date) -> bool:
        """Whether both are whole and the same day, where a year of two digits may be of any century."""
        return self.is_whole and other.is_whole and self[1:] == other[1:] and same_year_as(self.year, other.year)


def same_year_as(first: int, second: int) -> bool:
    """Whether two years are the same, as far as both say."""
    return first % CENTURY == second % CENTURY and (first == second or min(first, second) <= CENTURY)


_TOKEN = re.compile(r"\d+|[^\W\d_]+")
_FILLERS = frozenset("of the de del du le el la den der dem am st nd rd th er re e o a".split())
"""Words, and endings of ordinal numbers, between the parts of a date."""
_BETWEEN = re.compile(r"[\s.,/'()-]{0,3}")
_MARK = r"(?:\s?[./-]\s?|\s)"
_NUMERIC = re.compile(
    rf"(?<![\d.,/-])(?<![./-]\s)(?=(\d{{1,4}})({_MARK})(\d{{1,2}}){_MARK}(\d{{4}}|\d{{1,2}})(?!\d|\s?[./-]\s?\d))\d"
)
_COMPACT = re.compile(r"(?<!\d)\d{8}(?!\d)")
_YEARS = re.compile(r"(?<![\d.,])(?:1[89]|20)\d\d(?!\d|[.,]\d)")
_CJK = re.compile(r"(\d{4})\s*[年년]\s*(\d{1,2})\s*[月월](?:\s*(\d{1,2})\s*[日일号])?")


def dates_in(text: str) -> frozenset[Date]:
    """Every date, whole or in part, that plain text may be read to name: 05/06/1990 is one in May and one in June."""
    return frozenset(date for date in _all_dates(text) if _exists(date))


def _all_dates(text: str) -> Iterator[Date]:
    yield from _with_names(text)
    for match in _NUMERIC.finditer(text):
        if not match[2].isspace() or any(len(match[place]) == 4 for place in (1, 4)):
            yield from _orders(match[1], match[3], match[4])
    for match in _COMPACT.finditer(text):
        digits = match[0]
        yield from _orders(digits[:4], digits[4:6], digits[6:])
        yield from _orders(digits[:2], digits[2:4], digits[4:])
    for match in _CJK.finditer(text):
        yield Date(_year(match[1]), int(match[2]), int(match[3] or 0))
    for match in _YEARS.finditer(text):
        yield Date(year=int(match[0]))


def _with_names(text: str) -> Iterator[Date]:
    """Dates with a month's name: 17 May 1986, May 17 1986, 1986 May 17, 17 May, May 1986."""
    tokens = list(_TOKEN.finditer(text))
    for place, token in enumerate(tokens):
        if not (month := MONTH_NUMBERS.get(token[0])):
            continue
        before, after = _numbers(text, tokens[place::-1]), _numbers(text, tokens[place:])
        for day, year in _days_and_years(before, after):
            yield Date(_year(year), month, int(day or 0))


def _days_and_years(before: list[str], after: list[str]) -> Iterator[tuple[str, str]]:
    """Which of the numbers around a month's name may be its day, and which its year; empty for none."""
    (left,), (right, last) = (before or [""])[:1], [*after, "", ""][:2]
    for day, years in ((left, (right, "")), (right, (last, left, ""))):
        if day and len(day) <= 2:
            yield from ((day, year) for year in years if len(year) in (0, 2, 4))
    yield from (("", year) for year in (left, right) if len(year) == 4)


def _numbers(text: str, tokens: Sequence[re.Match[str]]) -> list[str]:
    """Up to two numbers beside the first of the tokens, with nothing but fillers between them."""
    numbers: list[str] = []
    for token, other in pairwise(tokens):
        start, end = sorted((token.span(), other.span()))
        if not _BETWEEN.fullmatch(text[start[1] : end[0]]) or len(numbers) == 2:
            break
        if other[0].isdecimal():
            numbers.append(other[0])
        elif other[0] not in _FILLERS:
            break
    return numbers


def _orders(*numbers: str) -> Iterator[Date]:
    """Three numbers as year, month and day. What has four digits is a year, and the month follows a year (ISO 8601)."""
    for year, month, day in ((0, 1, 2), (2, 0, 1), (2, 1, 0)):
        if all(len(numbers[place]) <= 2 for place in (month, day)) and len(numbers[year]) in (2, 4):
            yield Date(_year(numbers[year]), int(numbers[month]), int(numbers[day]))


def _year(digits: str | None) -> int:
    return int(digits) or CENTURY if digits else 0


def _exists(date: Date) -> bool:
    return date.month <= 12 and (not date.day or (date.month > 0 and 1 <= date.day <= DAYS[date.month - 1]))
