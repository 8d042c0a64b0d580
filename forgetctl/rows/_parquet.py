"""Parquet, read by row group and, within one, batch by batch.

What a page holds is looked up in its header before pyarrow decompresses it as a whole (Apache Parquet format 2.11,
parquet.thrift).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from ..errors import InputError
from ..files.decompression import RATIO, UNBOUNDED
from ._columns import ROWS, Columns, Kind
from ._thrift import Struct, read_struct
from .containers import Asked

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

BUFFER = 2**20
LARGEST_PAGE = 2**28
"""Bytes of a page once it is decompressed. Writers cut pages at 1 MiB, some at 100."""
DICTIONARY_BYTES = 2**28
"""Most that a batch takes if every row of it is the longest text of its dictionary."""
LIST_BYTES = 2**29
"""Most that a row group takes if every text in its lists that a dictionary holds is the longest of it."""
MOST_VALUES = 2**26
"""In a column of a row group. Writers cut row groups at a million rows, and at 64 million at the latest."""
DICTIONARY = 2
"""A type of page."""
BY_DICTIONARY, BY_PREFIX = (2, 8), 7
"""Encodings of texts that take no room of their own: those of a dictionary, and those that begin as the text before."""
_DATA_HEADERS = {0: (5, 2), 3: (8, 4)}
"""By a data page's type: where its header says more, and where this names the encoding."""
_HEADER, _LONGEST_HEADER = 2**10, 2**24
"""Bytes within which the header of a page ends if it quotes no long text, and in any case."""
_FOOTER = 8
"""Bytes behind the metadata: its length, and what all files end with."""


class _Chunk(NamedTuple):
    """A column of a row group. start, end: of its pages in the file. codec: what they are compressed with. nested:
    whether its values are within lists or objects."""

    start: int
    end: int
    codec: int
    nested: bool


class _Page(NamedTuple):
    """What the header of a page says. place: where its content begins in the file. packed, size: its bytes before and
    after it is decompressed. values, encoding: of a page of data."""

    kind: int
    place: int
    packed: int
    size: int
    values: int
    encoding: int


@dataclass(frozen=True)
class _Plan:
    """How a row group is read. rows: at once. by_dictionary: texts in lists as places in their dictionary."""

    rows: int
    by_dictionary: bool


class _Parquet:
    def __init__(self, path: Path, file: BinaryIO, asked: Asked | None) -> None:
        self._path, self._file = path, file
        self._parquet = _opened(file)
        self.columns = Columns.of(path, self._parquet.schema_arrow, asked)
        self.groups = self._parquet.num_row_groups
        self._chunks = _chunks(file, frozenset(self.columns.read))
        if len(self._chunks) != self.groups:
            raise ValueError("another number of row groups")
        self._sizes: dict[int, int] = {}
        self._plans: dict[int, _Plan] = {}

    def batches(self, group: int) -> Iterator[pa.RecordBatch]:
        """As `Table`. Raises InputError for a group that holds more than it may."""
        plan = self._plan(group)
        columns = list(self.columns.read)
        if not plan.by_dictionary:
            yield from self._parquet.iter_batches(plan.rows, [group], columns, use_threads=False)
            return
        by_dictionary = _opened(self._file, [path for path in self._leaves() if "." in path])
        yield from by_dictionary.iter_batches(plan.rows, [group], columns, use_threads=False)

    def _leaves(self) -> list[str]:
        schema = self._parquet.schema
        return [schema.column(place).path for place in range(len(schema))]

    def _plan(self, group: int) -> _Plan:
        if group not in self._plans:
            self._plans[group] = self._planned(group)
        return self._plans[group]

    def _planned(self, group: int) -> _Plan:
        """Looks at every page. Raises InputError for more than a group may hold."""
        longest = lists = self._sizes[group] = 0
        for chunk in self._chunks[group]:
            pages = list(self._checked(chunk))
            self._sizes[group] += sum(page.size for page in pages)
            self._check_ratio()
            shared = [page for page in pages if page.kind == DICTIONARY or page.encoding == BY_PREFIX]
            if not chunk.nested:
                longest = max(longest, *(page.size for page in shared), 0)
            elif shared:
                values = sum(page.values for page in pages if page.encoding in BY_DICTIONARY)
                lists = max(lists, values * max(_longest_text(self._file, chunk.codec, page) for page in shared))
        return _Plan(max(1, min(ROWS, DICTIONARY_BYTES // max(1, longest))), lists > LIST_BYTES)

    def _checked(self, chunk: _Chunk) -> Iterator[_Page]:
        values = 0
        for page in _pages(self._file, chunk):
            values += page.values
            if page.size > LARGEST_PAGE:
                raise InputError(self._path, f"has a page of more than {LARGEST_PAGE // 2**20} MiB")
            if values > MOST_VALUES:
                raise InputError(self._path, f"has more than {MOST_VALUES:,} values in a column of a row group")
            if page.encoding == BY_PREFIX and chunk.nested:
                raise InputError(self._path, "has lists of texts in the encoding DELTA_BYTE_ARRAY; write another one")
            yield page

    def _check_ratio(self) -> None:
        """Raise InputError for a file that holds more than its size can hold of text."""
        size = sum(self._sizes.values())
        if size > UNBOUNDED and size > RATIO * os.fstat(self._file.fileno()).st_size:
            raise InputError(self._path, f"holds more than {RATIO} times its own size once it is decompressed")


def _opened(file: BinaryIO, by_dictionary: list[str] | None = None) -> pq.ParquetFile:
    import pyarrow.parquet as pq

    # Nothing is read ahead: threads would hold whole columns.
    return pq.ParquetFile(file, pre_buffer=False, buffer_size=BUFFER, read_dictionary=by_dictionary)


def _chunks(file: BinaryIO, names: frozenset[str]) -> list[list[_Chunk]]:
    """The columns of some names, by row group. From the file itself: pyarrow ends the process for what a damaged file
    says of a column. Raises ValueError for what is damaged."""
    end = file.seek(-_FOOTER, os.SEEK_END)
    length = int.from_bytes(file.read(4), "little")
    file.seek(end - length)
    try:
        metadata, _ = read_struct(file.read(length))
    except EOFError:
        raise ValueError("no metadata") from None
    columns = [[column.struct(3) for column in group.structs(1)] for group in metadata.structs(4)]
    return [[_chunk(column) for column in group if _name(column) in names] for group in columns]


def _name(column: Struct) -> str:
    """The outermost name of a column."""
    return b"".join(column.texts(3)[:1]).decode()


def _chunk(column: Struct) -> _Chunk:
    start, dictionary = column.whole(9), column.whole(11, 0)
    start = dictionary if 0 < dictionary < start else start
    # Of a column without values nobody reads pages.
    end = start + column.whole(7) if column.whole(5) else start
    return _Chunk(start, end, column.whole(4), len(column.texts(3)) > 1)


def _pages(file: BinaryIO, chunk: _Chunk) -> Iterator[_Page]:
    place = chunk.start
    while place < chunk.end:
        header, begin = _header(file, place)
        kind, size, packed = header.whole(1), header.whole(2), header.whole(3)
        if size < 0 or packed < 0:
            raise ValueError("a page of less than nothing")
        values, encoding = 0, -1
        if kind in _DATA_HEADERS:
            said, number = _DATA_HEADERS[kind]
            values, encoding = header.struct(said).whole(1), header.struct(said).whole(number)
        if values < 0:
            raise ValueError("fewer values than none")
        yield _Page(kind, begin, packed, size, values, encoding)
        place = begin + packed


def _header(file: BinaryIO, place: int) -> tuple[Struct, int]:
    """The header of a page, and where its content begins."""
    for length in (_HEADER, _LONGEST_HEADER):
        file.seek(place)
        data = file.read(length)
        try:
            header, size = read_struct(data)
        except EOFError:
            if len(data) < length:
                break
        else:
            return header, place + size
    raise ValueError("no header of a page")


def _longest_text(file: BinaryIO, codec: int, page: _Page) -> int:
    """Bytes of the longest text of a dictionary, or of its page where that cannot be seen."""
    import pyarrow as pa

    name = _CODECS.get(codec)
    if name is None:
        return page.size
    file.seek(page.place)
    data = file.read(page.packed)
    if name:
        data = pa.decompress(data, page.size, codec=name, asbytes=True)
    place = longest = 0
    while place + 4 <= len(data):
        size = int.from_bytes(data[place : place + 4], "little")
        longest, place = max(longest, size), place + 4 + size
    return min(longest, page.size)


_CODECS = {0: "", 1: "snappy", 2: "gzip", 4: "brotli", 6: "zstd", 7: "lz4_raw"}
"""Of pages, by their numbers; the older LZ4 has frames of its own."""

PARQUET = Kind("Parquet", _Parquet)
