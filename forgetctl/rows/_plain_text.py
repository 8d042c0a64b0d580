"""Plain text: every paragraph, which blank lines end, is a passage.

Prose whose lines are broken stays whole so, and files of one text a line with blank lines between them are read as they
are meant. A text without any blank line is one passage; long ones are cut into windows when they are encoded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from io import BufferedReader
from itertools import groupby
from pathlib import Path

from ..errors import InputError
from ..files.characters import NotTextError, TextReader
from ._held import Parsed, check_count, check_length
from .containers import Limits


def parse_text(path: Path, file: BufferedReader, limits: Limits) -> Iterator[Parsed]:
    """A parser; a paragraph's number is that of its first line."""
    passages = blank = 0
    for filled, lines in groupby(_lines(path, TextReader(file), limits), lambda line: bool(line[1].strip())):
        if filled:
            passage = _passage(path, lines, limits)
            passages += 1
            check_count(path, passages, limits, passage.number)
            yield passage
        else:
            for number, _ in lines:
                blank += 1
                check_count(path, blank, limits, number, "blank lines")


def _passage(path: Path, lines: Iterable[tuple[int, str]], limits: Limits) -> Parsed:
    first = size = 0
    texts: list[str] = []
    for number, line in lines:
        first = first or number
        size += len(line.encode()) + 1
        check_length(path, size, limits, first)
        texts.append(line)
    return Parsed(first, {"text": "\n".join(texts)}, size)


def _lines(path: Path, reader: TextReader, limits: Limits) -> Iterator[tuple[int, str]]:
    """Lines with their numbers, without their breaks. One that is too long comes in parts."""
    number = 1
    while line := _line(path, reader, limits.record_bytes + 2, number):
        yield number, line.rstrip("\r\n")
        number += 1


def _line(path: Path, reader: TextReader, longest: int, number: int) -> str:
    try:
        return reader.line(longest)
    except NotTextError as error:
        raise InputError(path, str(error), number) from None
