"""JSON that everybody reads alike: no key twice, no NaN, no number beyond a computer's, no lone surrogates.

How deep it nests is bounded too, so that nothing that walks through it later can run out of stack.

jiter 0.19 was tried in its place. It parses rows in .24 of the time, but accepts infinity (1e999), whole numbers of any
size and a depth of 200, quotes a key that stands twice, and refuses lone surrogates, which records of ours may hold.
With the checks that this takes, a file of 200,000 rows (64 MB) is read in .9 of the time, and this parser stays too.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

from ..errors import InputError
from .outside import read_text

DEEPEST = 100
"""Objects and lists in each other; what forgetctl reads has no ten."""
LARGEST_WHOLE = 2**64 - 1

_BRACKETS = re.compile(r'"(?:[^"\\]+|\\.)*"?|[\[{]|[\]}]', re.DOTALL)
_ESCAPED_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_SURROGATE = re.compile("[\ud800-\udfff]")


class LooseJSONError(ValueError):
    """Text that is no JSON, or not strict. The message goes after the name of a file, and quotes nothing.

    line: from 1, where it is known.
    """

    def __init__(self, why: str, line: int | None = None) -> None:
        self.line = line
        super().__init__(why)


def parse_json(text: str, largest: int = LARGEST_WHOLE, *, surrogates: bool = False) -> Any:
    """The value of strict JSON. largest: size of a whole number. Raises LooseJSONError.

    surrogates: accept lone ones, as in records of ours: so Python spells a file's name that is not UTF-8.
    """
    if text.count("[") + text.count("{") > DEEPEST:
        _refuse_deep(text)
    try:
        value = (_DECODER if largest == LARGEST_WHOLE else _decoder(largest)).decode(text)
    except json.JSONDecodeError as error:
        nul = text.find("\0")
        why = f"is not valid JSON (column {error.colno}: {error.msg})" if nul < 0 else "holds a NUL byte"
        raise LooseJSONError(why, _line_at(text, error.pos if nul < 0 else nul)) from None
    # UTF-8 holds no lone surrogates, so that they can only be escaped; a pair of them is one character.
    if not surrogates and "\\u" in text and _ESCAPED_SURROGATE.search(text):
        _refuse_surrogates(value)
    return value


def read_object(path: Path, largest: int = LARGEST_WHOLE, *, surrogates: bool = False) -> dict[str, Any]:
    """The object in a file of strict JSON, as `parse_json`. Raises InputError with its line for anything else."""
    try:
        value = parse_json(read_text(path), largest, surrogates=surrogates)
    except LooseJSONError as error:
        raise InputError(path, str(error), error.line) from None
    if not isinstance(value, dict):
        raise InputError(path, "is not a JSON object")
    return value


def _refuse_deep(text: str) -> None:
    depth = 0
    for bracket in _BRACKETS.finditer(text):
        depth += (bracket[0] in "[{") - (bracket[0] in "]}")
        if depth > DEEPEST:
            raise LooseJSONError("is nested too deeply", _line_at(text, bracket.start()))


def _line_at(text: str, place: int) -> int:
    return text.count("\n", 0, place) + 1


@cache
def _decoder(largest: int) -> json.JSONDecoder:
    most = len(str(-largest))

    def whole(text: str) -> int:
        # Python would need time that grows with the square of a number's length, and refuses the longest.
        if len(text) > most or abs(value := int(text)) > largest:
            raise LooseJSONError("holds a whole number that is too large")
        return value

    return json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refuse, parse_float=_finite, parse_int=whole)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise LooseJSONError("has a key twice in one object")
    return value


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise LooseJSONError("holds a number that is too large")
    return value


def _refuse(_: str) -> NoReturn:
    raise LooseJSONError("holds NaN or infinity, which are not JSON")


def _refuse_surrogates(value: Any) -> None:
    if any(map(_SURROGATE.search, _texts(value))):
        raise LooseJSONError("holds a lone surrogate, which is not text")


def _texts(value: Any) -> Iterator[str]:
    """Every string in a value, keys too."""
    left = [value]
    while left:
        part = left.pop()
        if isinstance(part, str):
            yield part
        elif isinstance(part, dict):
            left += [*part, *part.values()]
        elif isinstance(part, list):
            left += part


_DECODER = _decoder(LARGEST_WHOLE)
"""At hand for millions of rows."""
