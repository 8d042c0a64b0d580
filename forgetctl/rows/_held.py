"""Files of text whose records can be read in order only: read once, and held in compressed blocks from then on.

Never in a temporary file: rows are personal data. A sixth to two fifths of their text stays in memory.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterable, Iterator
from io import BufferedReader, RawIOBase
from pathlib import Path
from typing import Any, Literal, NamedTuple

from ..errors import InputError
from ..files.decompression import decompressed
from ..files.outside import opened
from .containers import Limits, Place, Record, ignore

CHUNK = 2**18
BLOCK = 2**15
"""Characters that are compressed together: as many are decompressed for one record."""
LEVEL = 1
"""Of zlib: takes a third of the usual level's time."""
_INSIDE = 20
"""Bits of an offset that say which record of its block it is."""


class Parsed(NamedTuple):
    """A record as a parser gives it. number: line or row, from 1. size: bytes that it takes in the file, about."""

    number: int
    value: dict[str, Any]
    size: int

    def __repr__(self) -> str:
        return f"Parsed(number={self.number})"


def check_count(path: Path, count: int, limits: Limits, number: int, what: str = "rows") -> None:
    """Raise InputError for more records, or blank lines between them, than may be."""
    if limits.records is not None and count > limits.records:
        raise InputError(path, f"has more than {limits.records:,} {what}", number)


def check_length(path: Path, size: int, limits: Limits, number: int, hint: str = "") -> None:
    """Raise InputError for a record of more bytes than it may have."""
    if size > limits.record_bytes:
        raise InputError(path, f"is longer than {limits.record_bytes // 1024} KiB{hint}", number)


Parser = Callable[[Path, BufferedReader, Limits], Iterator[Parsed]]
"""Reads a stream to its end. Raises InputError, naming the path that it is given and the record."""


class Held:
    """A container of one file of text, which may be compressed. compression: of `files.decompression.KINDS`."""

    revision: None = None

    def __init__(self, path: Path, parse: Parser, unit: Literal["line", "row"], compression: str | None) -> None:
        self.path, self.unit = path, unit
        self._parse, self._compression = parse, compression
        self._blocks = Blocks()

    def check_size(self, limits: Limits) -> None:
        """As `Container`."""
        for _ in self._parsed(limits, ignore):
            pass

    def records(self, limits: Limits, seen: Callable[[bytes], None] = ignore) -> Iterator[Record]:
        """As `Container`."""
        self._blocks = Blocks()
        for number, value, size in self._parsed(limits, seen):
            yield Record(number, value, self._blocks.add(value), 0, size)

    def again(self, places: Iterable[Place]) -> Iterator[Record]:
        """As `Container`: they cannot have changed, since they are no longer read from the file."""
        for number, offset, _ in places:
            value, size = self._blocks.get(offset)
            yield Record(number, value, offset, 0, size)

    def chunks(self) -> Iterator[bytes]:
        """As `Container`."""
        with opened(self.path) as file:
            yield from iter(lambda: file.read(CHUNK), b"")

    def _parsed(self, limits: Limits, seen: Callable[[bytes], None]) -> Iterator[Parsed]:
        with opened(self.path) as file:
            text: BufferedReader[Any] = BufferedReader(_Shown(file, seen), CHUNK)
            if self._compression:
                text = decompressed(self.path, text, self._compression)
            yield from self._parse(self.path, text, limits)


class Blocks:
    """Values of JSON as compressed text, in memory."""

    def __init__(self) -> None:
        self._packed: list[bytes] = []
        self._open: list[str] = []
        self._size = 0
        self._last: tuple[int, list[str]] = (-1, [])

    def add(self, value: Any) -> int:
        """Hold a value, and say where it is."""
        text = json.dumps(value, ensure_ascii=False)
        if self._size >= BLOCK:
            self._packed.append(zlib.compress("\n".join(self._open).encode(), LEVEL))
            self._open, self._size = [], 0
        self._open.append(text)
        self._size += len(text)
        return len(self._packed) << _INSIDE | len(self._open) - 1

    def get(self, offset: int) -> tuple[Any, int]:
        """What `add` held there, and the size of its text."""
        block, place = offset >> _INSIDE, offset & (1 << _INSIDE) - 1
        if block != self._last[0]:
            self._last = block, self._texts(block)
        text = self._last[1][place]
        return json.loads(text), len(text)

    def texts(self) -> Iterator[str]:
        """All that is held, in order, as text."""
        for block in range(len(self._packed) + 1):
            yield from self._texts(block)

    def _texts(self, block: int) -> list[str]:
        if block == len(self._packed):
            return self._open
        return zlib.decompress(self._packed[block]).decode().split("\n")


class _Shown(RawIOBase):
    """Bytes of a file, shown to somebody else as they are read."""

    def __init__(self, file: BufferedReader, seen: Callable[[bytes], None]) -> None:
        self._file, self._seen = file, seen

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        count = self._file.readinto(buffer)
        self._seen(bytes(buffer[:count]))
        return count
