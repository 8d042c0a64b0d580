"""JSONL: one object a line, blank lines skipped."""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Literal

from ..errors import InputError
from ..files.outside import opened, opened_text
from ..files.strict_json import LooseJSONError, parse_json
from ._held import Parsed
from .containers import Limits, Place, Record, ignore
from .fields import json_type

CHUNK = 2**20


class JsonLines:
    """A container of one text file."""

    unit: Literal["line"] = "line"
    revision: None = None

    def __init__(self, path: Path) -> None:
        self.path = path
        self._size: int | None = None

    def check_size(self, limits: Limits) -> None:
        """As `Container`: counts lines, and parses none."""
        with opened_text(self.path) as file:
            for _ in _lines(self.path, file, limits):
                pass

    def records(self, limits: Limits, seen: Callable[[bytes], None] = ignore) -> Iterator[Record]:
        """As `Container`."""
        with opened_text(self.path) as file:
            for number, start, raw, text in _lines(self.path, file, limits, seen):
                refused = None
                try:
                    value = _object(self.path, number, text)
                except InputError as error:
                    value, refused = {}, error
                yield Record(number, value, start, zlib.crc32(raw), len(raw), None, refused)
            self._size = file.tell()

    def again(self, places: Iterable[Place]) -> Iterator[Record]:
        """As `Container`."""
        with opened(self.path) as file:
            if os.fstat(file.fileno()).st_size != self._size:
                raise InputError(self.path, "has changed since it was checked")
            for number, start, check in places:
                file.seek(start)
                raw = file.readline()
                if zlib.crc32(raw) != check:
                    raise InputError(self.path, "has changed since it was checked", number)
                value = _object(self.path, number, _decode(self.path, number, raw))
                yield Record(number, value, start, check, len(raw))

    def chunks(self) -> Iterator[bytes]:
        """As `Container`."""
        with opened(self.path) as file:
            yield from iter(lambda: file.read(CHUNK), b"")


def parse_lines(path: Path, file: BinaryIO, limits: Limits) -> Iterator[Parsed]:
    """The records of a stream, whose end it reaches."""
    for number, _, raw, text in _lines(path, file, limits):
        yield Parsed(number, _object(path, number, text), len(raw))


def _lines(
    path: Path, file: BinaryIO, limits: Limits, seen: Callable[[bytes], None] = ignore
) -> Iterator[tuple[int, int, bytes, str]]:
    """Lines that are not blank: number, place of the first byte, bytes, text. seen: is shown blank ones too."""
    longest, most = limits.record_bytes, limits.records
    start = rows = 0
    # A bounded read per line: a file without line breaks cannot fill the memory.
    for number, raw in enumerate(iter(lambda: file.readline(longest + 1), b""), start=1):
        if len(raw) > longest:
            raise InputError(path, f"line is longer than {longest // 1024} KiB", number)
        seen(raw)
        text = _decode(path, number, raw)
        filled = bool(text.strip())
        rows += filled
        # As many blank lines may stand between the rows.
        if most is not None and max(rows, number - rows) > most:
            raise InputError(path, f"has more than {most:,} {'rows' if filled else 'blank lines'}", number)
        if filled:
            yield number, start, raw, text
        start += len(raw)


def _decode(path: Path, number: int, raw: bytes) -> str:
    try:
        return raw.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        # The exception itself would carry the line's text.
        raise InputError(path, f"is not UTF-8 (byte {error.start + 1} of the line)", number) from None


def _object(path: Path, number: int, text: str) -> dict[str, Any]:
    try:
        value = parse_json(text)
    except LooseJSONError as error:
        raise InputError(path, str(error), number) from None
    if not isinstance(value, dict):
        raise InputError(path, f"is a JSON {json_type(value)}, expected one object a line", number)
    return value
