"""A JSON array of objects, read one by one: the file may be larger than the memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path

from ..errors import InputError
from ..files.characters import NotTextError, TextReader
from ..files.strict_json import LooseJSONError, parse_json
from ._held import Parsed, check_count, check_length
from .containers import Limits

CHUNK = 2**16
"""Characters that are read at once."""
_TAIL = 16
"""Characters at the end of what was read within which an error may only say that the rest is missing."""
_TYPES = {'"': "string", "[": "array", "t": "boolean", "f": "boolean", "n": "null"}


def _shape(_: str) -> None:
    """Stands for every number: where an object ends does not depend on it."""


_SHAPE = json.JSONDecoder(parse_int=_shape, parse_float=_shape, parse_constant=_shape)


def parse_array(path: Path, file: BufferedReader, limits: Limits) -> Iterator[Parsed]:
    """A parser; an object's number is its place in the array."""
    text, number = _Text(path, TextReader(file), limits), 1
    text.skip("[", "expected a JSON array", number)
    while text.next_is_not("]", number):
        if number > 1:
            text.skip(",", "is not valid JSON (expected a comma or the end of the array)", number)
        check_count(path, number, limits, number)
        element = text.object(number)
        size = len(element.encode())
        check_length(path, size, limits, number)
        try:
            value = parse_json(element)
        except LooseJSONError as error:
            raise InputError(path, str(error), number) from None
        yield Parsed(number, value, size)
        number += 1
    text.skip("]", "", number)
    text.check_end(number)


class _Text:
    """The part of a text that was read and not yet used up."""

    def __init__(self, path: Path, reader: TextReader, limits: Limits) -> None:
        self._path, self._reader, self._limits = path, reader, limits
        self._text, self._place, self._ended = "", 0, False

    def next_is_not(self, character: str, number: int) -> bool:
        """Whether what follows white space is something else. Raises InputError at the end of the text."""
        if not self._next(number):
            raise InputError(self._path, "ends within the array", number)
        return self._next(number) != character

    def skip(self, character: str, why: str, number: int) -> None:
        """Skip this character, and white space before it. Raises InputError for another one."""
        if self._next(number) != character:
            raise InputError(self._path, why, number)
        self._place += 1

    def check_end(self, number: int) -> None:
        """Raise InputError unless only white space follows."""
        if self._next(number):
            raise InputError(self._path, "goes on after the end of the array", number)

    def object(self, number: int) -> str:
        """The text of the object that follows white space."""
        first = self._next(number)
        if not first:
            raise InputError(self._path, "ends within the array", number)
        if first != "{":
            raise InputError(self._path, f"is {_named(first)}, expected one object a row", number)
        while (end := self._end(number)) is None:
            if self._ended:
                raise InputError(self._path, "ends within the array", number)
            check_length(self._path, len(self._text) - self._place, self._limits, number)
            self._read(max(CHUNK, len(self._text)), number)
        text = self._text[self._place : end]
        self._place = end
        return text

    def _end(self, number: int) -> int | None:
        """Where the object ends, or None where more must be read to say so."""
        try:
            return _SHAPE.raw_decode(self._text, self._place)[1]
        except json.JSONDecodeError as error:
            tail = 0 if self._ended else _TAIL
            if error.msg.startswith("Unterminated string") or error.pos >= len(self._text) - tail:
                return None
            raise InputError(self._path, f"is not valid JSON ({error.msg})", number) from None
        except RecursionError:
            raise InputError(self._path, "is nested too deeply", number) from None

    def _next(self, number: int) -> str:
        """The next character that is no white space; empty at the end."""
        while True:
            while self._place < len(self._text) and self._text[self._place] in " \t\n\r":
                self._place += 1
            if self._place < len(self._text):
                return self._text[self._place]
            if self._ended:
                return ""
            self._read(CHUNK, number)

    def _read(self, most: int, number: int) -> None:
        """Read more, and forget what was used up."""
        try:
            more = self._reader.characters(most)
        except NotTextError as error:
            raise InputError(self._path, str(error), number) from None
        self._text, self._place, self._ended = self._text[self._place :] + more, 0, not more


def _named(first: str) -> str:
    return f"a JSON {_TYPES.get(first, 'number' if first in '-0123456789' else 'value')}"
