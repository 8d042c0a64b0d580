"""Read rows from files of any container and format.

Used for the deletion request, the retain file and the holdout alike.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import overload

from ..errors import InputError
from .containers import Container, Limits, Place
from .formats import Fields, field_named, rows_of
from .json_lines import JsonLines
from .row import Row
from .sources import open_source

RETAIN_RECORD_BYTES = 16 * 1024 * 1024
"""Of the owner's retain file, which may have any number of rows."""
KEPT_BYTES = 16 * 1024 * 1024
"""Of records whose rows are held in memory, for about four times as much of it; a larger retain file stays on disk."""


@dataclass(frozen=True, kw_only=True, repr=False)
class FileRows:
    """The rows of a source as they were read. sha256: of exactly what was read, hexadecimal; revision: of a data set of
    the hub its commit. unused: names of fields that were given, and that no record has."""

    path: Path
    rows: list[Row]
    sha256: str
    revision: str | None = None
    unused: tuple[str, ...] = ()

    def check_names(self) -> None:
        """Raise InputError for such a name: in a request, what it misspells would be missed without a word."""
        if self.unused:
            raise InputError(self.path, f"has no field '{self.unused[0]}', which --map names")


def read_rows(path: Path, fields: Fields | None = None) -> list[Row]:
    """All rows of a file.

    Raises InputError, which names file and record, for anything that is not a valid row, and for more than `fields`
    allows.
    """
    return read_file(path, fields).rows


def read_file(path: Path, fields: Fields | None = None) -> FileRows:
    """The same with the digest of what was read."""
    fields, digest = fields or Fields(), hashlib.sha256()
    source = open_source(path, fields)
    limits = Limits(fields.max_line, fields.max_rows)
    source.check_size(limits)  # a file of more than may be held is refused before any of it is
    rows: list[Row] = []
    unused = tuple(theirs for _, theirs in fields.names if theirs)
    for record in source.records(limits, digest.update):
        rows += rows_of(path, record, fields)
        unused = tuple(name for name in unused if field_named(record, name) is None)
        if len(rows) > fields.max_rows:
            raise InputError(path, f"has more than {fields.max_rows:,} rows", record.name)
    if not rows:
        raise InputError(path, "holds no row")
    return FileRows(path=path, rows=rows, sha256=digest.hexdigest(), revision=source.revision, unused=unused)


class RowReader:
    """Reads files of rows, each of them once however often it is asked for in the same way."""

    def __init__(self) -> None:
        self._known: dict[tuple[Path, Fields], FileRows] = {}
        self._retain: dict[tuple[Path, Fields, int | None], RowFile] = {}

    def read(self, path: Path, fields: Fields) -> FileRows:
        """As `read_file`."""
        key = (path.absolute(), fields)
        if key not in self._known:
            self._known[key] = read_file(path, fields)
        return replace(self._known[key], path=path)

    def retain(self, path: Path, fields: Fields, most: int | None = None) -> RowFile:
        """As `RowFile`."""
        key = (path.absolute(), fields, most)
        if key not in self._retain:
            self._retain[key] = RowFile(path, fields, most)
        return self._retain[key]


class RowFile(Sequence[Row]):
    """The rows of a file as a sequence, which leaves them in the file if it is large.

    Every row is read and checked once when this is made. Up to `kept` bytes of them (of JSONL, of the file) are held
    from then on; those of a larger file are read again, from their place, whenever they are asked for.
    Records may be longer than a request's (RETAIN_RECORD_BYTES), and there may be any number of them, or `most`. Their
    spans are not read, since nothing of them is forgotten.
    sha256: of the file as it was checked. Raises InputError as `read_rows` does, and later if a file that the rows were
    left in is no longer what was checked.
    """

    def __init__(
        self, path: Path, fields: Fields | None = None, most: int | None = None, *, kept: int = KEPT_BYTES
    ) -> None:
        self.path, self.fields = path, (fields or Fields()).kept
        self._source = open_source(path, self.fields)
        # 24 bytes a row; `_ordinals` says which of its record's rows it is.
        self._offsets, self._numbers, self._checks, self._ordinals = array("q"), array("q"), array("I"), array("I")
        # Rows that cannot stay are not held even for a while: the garbage collector would look at them again and again.
        self._rows: list[Row] | None = None if _is_larger(self._source, kept) else []
        digest, size = hashlib.sha256(), 0
        for record in self._source.records(Limits(RETAIN_RECORD_BYTES, most), digest.update):
            size += record.size
            if size > kept:
                self._rows = None
            for ordinal, row in enumerate(rows_of(path, record, self.fields)):
                self._offsets.append(record.offset)
                self._numbers.append(record.number)
                self._checks.append(record.check)
                self._ordinals.append(ordinal)
                if self._rows is not None:
                    self._rows.append(row)
            if most is not None and len(self) > most:
                raise InputError(path, f"has more than {most:,} rows", record.name)
        if not self._offsets:
            raise InputError(path, "holds no row")
        self.sha256, self.revision = digest.hexdigest(), self._source.revision

    def __len__(self) -> int:
        return len(self._offsets)

    def __iter__(self) -> Iterator[Row]:
        return self._read(range(len(self)))

    def pick(self, positions: Sequence[int]) -> list[Row]:
        """The rows at some positions, for which the file is opened once at most."""
        return list(self._read(positions))

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        if isinstance(index, slice):
            return self.pick(range(len(self))[index])
        return next(self._read([range(len(self))[index]]))

    def _read(self, positions: Sequence[int]) -> Iterator[Row]:
        if self._rows is not None:
            yield from (self._rows[position] for position in positions)
            return
        records = self._source.again(self._places(positions))
        rows: list[Row] = []
        last = None
        for position in positions:
            if (offset := self._offsets[position]) != last:
                rows, last = rows_of(self.path, next(records), self.fields), offset
            yield rows[self._ordinals[position]]

    def _places(self, positions: Sequence[int]) -> Iterator[Place]:
        """Where the rows' records stand; once for rows of one record that are asked for one after another."""
        last = None
        for position in positions:
            if (offset := self._offsets[position]) != last:
                yield Place(self._numbers[position], offset, self._checks[position])
                last = offset


def _is_larger(source: Container, size: int) -> bool:
    """Whether a source is known to hold more text before it is read: as much as its file, if that is JSONL."""
    return isinstance(source, JsonLines) and source.path.stat().st_size > size


def pick(rows: Sequence[Row], positions: Sequence[int]) -> list[Row]:
    """The rows at some positions, wherever they are."""
    return rows.pick(positions) if isinstance(rows, RowFile) else [rows[position] for position in positions]
