"""Tables in text, CSV and TSV: a header, then a row a record.

Read by Python's csv module, strictly. pyarrow.csv takes a fifth of the time, but reads by blocks and in columns: its
errors quote the row and do not number it, it guesses types, and a quote that is left open swallows rows without a word.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from functools import partial
from io import BufferedReader
from itertools import chain
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..files.characters import NotTextError, TextReader
from ..files.strict_json import LooseJSONError, parse_json
from ._columns import check_names
from ._held import Parsed, Parser, check_count, check_length
from .containers import Asked, Limits

MISSING = frozenset(("", "NaN", "nan", "None", "null", "NULL", "<NA>"))
"""Cells that stand for no value: so pandas, Python, SQL and spreadsheets write it."""
DELIMITERS = (",", ";", "\t")
"""Of CSV, the first of those that cut the header into most names: spreadsheets in much of Europe write semicolons."""
_OPEN = "; is a quote left open?"


def table_parser(delimiters: tuple[str, ...], asked: Asked | None) -> Parser:
    """A parser of tables that are delimited by one of these characters. asked: None for no lists in cells; otherwise a
    column must have one of the names, or else the first row is no header."""
    return partial(_parse, delimiters, asked)


def _parse(
    delimiters: tuple[str, ...], asked: Asked | None, path: Path, file: BufferedReader, limits: Limits
) -> Iterator[Parsed]:
    lines = _Lines(path, TextReader(file), limits)
    header, records = _header(path, lines, delimiters)
    if header and asked is not None and asked.fields.isdisjoint(header):
        raise InputError(path, "has no column that rows are read from; the first row must hold the columns' names")
    filled = 0
    for number, cells in enumerate(records, start=1):
        # As many empty rows may stand between the others; spreadsheets write delimiters alone for one.
        if not any(cells):
            check_count(path, number - filled, limits, number, "empty rows")
            continue
        filled += 1
        check_count(path, filled, limits, number)
        if len(cells) != len(header):
            raise InputError(path, f"has {len(cells)} cells, and the header has {len(header)}", number)
        value: dict[str, Any] = {
            name: None if cell in MISSING else cell for name, cell in zip(header, cells, strict=True)
        }
        try:
            yield Parsed(number, value if asked is None else _with_lists(value, asked), lines.size)
        except LooseJSONError as error:
            raise InputError(path, str(error), number) from None


def _with_lists(value: dict[str, Any], asked: Asked) -> dict[str, Any]:
    """The same with lists and objects where a cell holds them as JSON. Raises LooseJSONError for what only begins so,
    unless it may be text."""
    lists = {}
    for name, cell in value.items():
        if cell is None or cell[0] not in "[{":
            continue
        if name in asked.lists:
            try:
                lists[name] = parse_json(cell)
            except LooseJSONError as error:
                raise LooseJSONError(f"column '{name}' {error}") from None
        elif name in asked.messages and (messages := _messages(cell)) is not None:
            lists[name] = messages
    return {**value, **lists} if lists else value


def _messages(cell: str) -> list[Any] | None:
    """The messages that a cell holds as JSON, None where it is text."""
    try:
        value = parse_json(cell)
    except LooseJSONError:
        return None
    is_list = isinstance(value, list) and value
    return (
        value if is_list and all(isinstance(one, dict) and ("role" in one or "from" in one) for one in value) else None
    )


def _header(path: Path, lines: _Lines, delimiters: tuple[str, ...]) -> tuple[list[str], Iterator[list[str]]]:
    """Names of the columns, and the records after them."""
    first = next(lines, "")
    if first.rstrip("\r\n").lower() in {f"sep={one}" for one in delimiters}:  # Excel's own first line
        delimiters, first = (first[4],), next(lines, "")
    delimiter = max(delimiters, key=lambda one: _width(first, one))
    records = lines.records(first, delimiter)
    names = [name.strip() or f"column {place}" for place, name in enumerate(next(records, []), start=1)]
    check_names(path, names)
    return names, records


def _width(line: str, delimiter: str) -> int:
    try:
        return len(next(csv.reader([line], delimiter=delimiter), []))
    except csv.Error:  # a name longer than the process lets a cell be
        return 0


class _Lines:
    """Lines of a table, which raise InputError for what is no text and for a record that gets too long.

    row: number of the record that is being read, 0 for the header. size: bytes of it so far.
    """

    def __init__(self, path: Path, text: TextReader, limits: Limits) -> None:
        self._path, self._text, self._limits = path, text, limits
        self.row = self.size = self._count = 0
        self._ended = False

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        try:
            line = self._text.line(self._limits.record_bytes + 1)
        except NotTextError as error:
            raise self._error(str(error)) from None
        if not line:
            self._ended = True
            raise StopIteration
        self._count += 1
        self.size += len(line) if line.isascii() else len(line.encode())
        check_length(self._path, self.size, self._limits, self.row, _OPEN if self._count > 1 else "")
        return line

    def records(self, first: str, delimiter: str) -> Iterator[list[str]]:
        """The cells of each record. first: the first line, which was read before."""
        reader = csv.reader(chain([first], self), delimiter=delimiter, strict=True)
        while (cells := self._next(reader)) is not None:
            yield cells
            self.row += 1
            self.size = self._count = 0

    def _next(self, reader: Iterator[list[str]]) -> list[str] | None:
        # A setting of the whole process, which is 128 KiB unless somebody set it.
        before = csv.field_size_limit(self._limits.record_bytes)
        try:
            return next(reader, None)
        except csv.Error:
            why = f"is not closed{_OPEN}" if self._ended else "has a quoted cell that goes on after its closing quote"
            raise self._error(why) from None
        finally:
            csv.field_size_limit(before)

    def _error(self, why: str) -> InputError:
        return InputError(self._path, why, self.row or None)
