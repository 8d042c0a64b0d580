"""Tables in columns, Parquet and Arrow: rows are left in the file, and read again from it by their row group.

Read with pyarrow. The library `datasets` would copy them into its cache, or map them into memory, where a file that
somebody cuts off meanwhile ends the process.
"""

from __future__ import annotations

import os
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from io import BufferedReader
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, Protocol

from ..errors import InputError
from ..files.outside import opened
from ._held import CHUNK, check_count, check_length
from ._values import Other, Unread, object_bytes, other_kind, size_of, values
from .containers import Asked, Limits, Place, Record, ignore

if TYPE_CHECKING:
    import pyarrow as pa

ROWS, WINDOW = 1024, 4096
"""Rows that are made objects at once, and that are looked for at once."""
WHOLE = 8
"""A batch of which one row in so many is wanted is made objects as a whole: one by one takes that much longer."""
OBJECT_BYTES = 2**29
"""Most that the objects of rows take which are made at once."""
MOST_COLUMNS = 1000
CHANGED = "has changed since it was checked"


@dataclass(frozen=True)
class Columns:
    """The columns of a table. read: those that rows need, whose values are JSON's. rest: what stands for a value of
    each of the others."""

    read: tuple[str, ...]
    rest: Mapping[str, Other | Unread]

    @classmethod
    def of(cls, path: Path, schema: pa.Schema, asked: Asked | None) -> Columns:
        """asked: None for all. Raises InputError for more columns than may be, or two of one name."""
        check_names(path, schema.names)
        rest: dict[str, Other | Unread] = {}
        for field in schema:
            if asked is not None and field.name not in asked.fields:
                rest[field.name] = Unread()
            elif kind := other_kind(field.type):
                rest[field.name] = Other(kind)
        return cls(tuple(name for name in schema.names if name not in rest), rest)

    def objects(self, batch: pa.RecordBatch) -> list[dict[str, Any]]:
        """The rows of a batch that holds at least the columns to be read."""
        if not self.read:
            return [dict(self.rest) for _ in range(batch.num_rows)]
        columns = [values(batch.column(name)) for name in self.read]
        rows = [dict(zip(self.read, row, strict=True)) for row in zip(*columns, strict=True)]
        return [{**row, **self.rest} for row in rows] if self.rest else rows


def check_names(path: Path, names: Sequence[str]) -> None:
    """Raise InputError for more columns than a table of rows has, or for two of one name."""
    if len(names) > MOST_COLUMNS:
        raise InputError(path, f"has {len(names):,} columns; a table of rows has at most {MOST_COLUMNS:,}")
    for place, name in enumerate(names):
        if name in names[:place]:
            raise InputError(path, f"columns {names.index(name) + 1} and {place + 1} have the same name")


class Table(Protocol):
    """An open file of one kind. groups: how many parts of it can be read by themselves."""

    columns: Columns
    groups: int

    def batches(self, group: int) -> Iterator[pa.RecordBatch]:
        """The rows of a part in order, no more of them at once than the memory has room for. Raises what pyarrow
        does."""


@dataclass(frozen=True)
class Kind:
    """A kind of file. open: makes a table of an open file. asked: as in `Columns.of`."""

    name: str
    open: Callable[[Path, BinaryIO, Asked | None], Table]


class Columnar:
    """A container of one table in columns. The offset of a record is its place in the table, from 0."""

    unit: Literal["row"] = "row"
    revision: None = None

    def __init__(self, path: Path, kind: Kind, asked: Asked | None) -> None:
        self.path = path
        self._kind, self._asked = kind, asked
        self._starts: list[int] = []
        self._stamp: tuple[int, ...] = ()

    def check_size(self, limits: Limits) -> None:
        """As `Container`: counts rows."""
        with opened(self.path) as file:
            table, count = self._table(file), 0
            for group in range(table.groups):
                for batch in self._slices(table, group, count):
                    count += batch.num_rows
                    check_count(self.path, count, limits, count)

    def records(self, limits: Limits, seen: Callable[[bytes], None] = ignore) -> Iterator[Record]:
        """As `Container`."""
        with opened(self.path) as file:
            self._stamp, self._starts = _stamp(file), []
            for chunk in _chunks(file):
                seen(chunk)
            table, place = self._table(file), 0
            for group in range(table.groups):
                self._starts.append(place)
                for batch in self._slices(table, group, place):
                    for value in self._objects(table, batch):
                        size = size_of(value)
                        check_count(self.path, place + 1, limits, place + 1)
                        check_length(self.path, size, limits, place + 1)
                        yield Record(place + 1, value, place, 0, size)
                        place += 1
            self._check_unchanged(file)

    def again(self, places: Iterable[Place]) -> Iterator[Record]:
        """As `Container`."""
        with opened(self.path) as file:
            self._check_unchanged(file)
            table, places = self._table(file), iter(places)
            cursor = _Cursor(self.path, self._starts, partial(self._slices, table))
            while window := list(islice(places, WINDOW)):
                known = self._objects_at(table, cursor, sorted({place.offset for place in window}))
                self._check_unchanged(file)
                for number, offset, check in window:
                    yield Record(number, known[offset], offset, check, size_of(known[offset]))

    def chunks(self) -> Iterator[bytes]:
        """As `Container`."""
        with opened(self.path) as file:
            yield from _chunks(file)

    def _objects_at(self, table: Table, cursor: _Cursor, offsets: Sequence[int]) -> dict[int, dict[str, Any]]:
        """Rows by their offsets, which grow."""
        known: dict[int, dict[str, Any]] = {}
        while offsets:
            first, batch = cursor.slice(offsets[0])
            count = bisect_left(offsets, first + batch.num_rows)
            if count * WHOLE >= batch.num_rows:
                objects = self._objects(table, batch)
                known |= ((one, objects[one - first]) for one in offsets[:count])
            else:  # pyarrow cannot pick rows out of every type
                known |= ((one, self._objects(table, batch.slice(one - first, 1))[0]) for one in offsets[:count])
            offsets = offsets[count:]
        return known

    def _table(self, file: BufferedReader) -> Table:
        file.seek(0)
        with self._readable():
            return self._kind.open(self.path, file, self._asked)

    def _slices(self, table: Table, group: int, first: int) -> Iterator[pa.RecordBatch]:
        """The rows of a part, of which the first is number `first` of the table, checked and in short batches."""
        batches = table.batches(group)
        while (batch := self._next(batches)) is not None:
            self._check_values(batch, first)
            for start in range(0, batch.num_rows, ROWS):
                yield from self._bounded(batch.slice(start, ROWS), first + start)
            first += batch.num_rows

    def _bounded(self, batch: pa.RecordBatch, first: int) -> Iterator[pa.RecordBatch]:
        """The rows in so short batches that the memory has room for their objects."""
        if sum(map(object_bytes, batch.columns)) <= OBJECT_BYTES:
            yield batch
            return
        if batch.num_rows == 1:
            raise InputError(self.path, f"takes more than {OBJECT_BYTES // 2**20} MiB", first + 1)
        half = batch.num_rows // 2
        yield from self._bounded(batch.slice(0, half), first)
        yield from self._bounded(batch.slice(half), first + half)

    def _next(self, batches: Iterator[pa.RecordBatch]) -> pa.RecordBatch | None:
        with self._readable():
            return next(batches, None)

    def _objects(self, table: Table, batch: pa.RecordBatch) -> list[dict[str, Any]]:
        with self._readable():
            return table.columns.objects(batch)

    def _check_values(self, batch: pa.RecordBatch, first: int) -> None:
        """Raise InputError for text that is not UTF-8, and for lists that lead out of the file: both are taken on trust
        otherwise."""
        if not _is_valid(batch):
            rows = (row for row in range(batch.num_rows) if not _is_valid(batch.slice(row, 1)))
            raise InputError(self.path, "is damaged, or holds text that is not UTF-8", first + next(rows, 0) + 1)

    @contextmanager
    def _readable(self) -> Iterator[None]:
        """Turn what pyarrow raises, which may quote rows, into InputError."""
        import pyarrow as pa

        try:
            yield
        except (pa.ArrowException, OSError, ValueError, MemoryError):
            raise InputError(self.path, f"is damaged or encrypted: it cannot be read as {self._kind.name}") from None

    def _check_unchanged(self, file: BufferedReader) -> None:
        if _stamp(file) != self._stamp:
            raise InputError(self.path, CHANGED)


class _Cursor:
    """The rows of a table, at places that grow: going back takes reading a part of it anew.

    starts: place of the first row of each part. slices: the rows of a part, from its place on.
    """

    def __init__(
        self, path: Path, starts: Sequence[int], slices: Callable[[int, int], Iterator[pa.RecordBatch]]
    ) -> None:
        self._path, self._starts, self._slices = path, starts, slices
        self._group, self._first = -1, 0
        self._batches: Iterator[pa.RecordBatch] = iter(())
        self._batch: pa.RecordBatch | None = None

    def slice(self, place: int) -> tuple[int, pa.RecordBatch]:
        """The batch that a row is in, and the place of its first row."""
        group = bisect_right(self._starts, place) - 1
        if group != self._group or place < self._first:
            self._group, self._first, self._batch = group, self._starts[group], None
            self._batches = self._slices(group, self._first)
        while self._batch is None or place >= self._first + self._batch.num_rows:
            self._first += 0 if self._batch is None else self._batch.num_rows
            if (batch := next(self._batches, None)) is None:
                raise InputError(self._path, CHANGED)
            self._batch = batch
        return self._first, self._batch


def _is_valid(batch: pa.RecordBatch) -> bool:
    import pyarrow as pa

    try:
        batch.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    file.seek(0)
    return iter(lambda: file.read(CHUNK), b"")


def _stamp(file: BinaryIO) -> tuple[int, ...]:
    """What tells without reading that a file is the one that it was."""
    status = os.fstat(file.fileno())
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
