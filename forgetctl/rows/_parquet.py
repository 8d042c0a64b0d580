"""Parquet, read by row group and, within one, batch by batch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from ..errors import InputError
from ..files.decompression import RATIO, UNBOUNDED
from ._columns import ROWS, Columns, Kind
from .containers import Asked

if TYPE_CHECKING:
    import pyarrow as pa

BUFFER = 2**20
DICTIONARY_BYTES = 2**28
"""Most that a batch takes if every row of it is the longest text of its dictionary."""
_DICTIONARY_PAGE = 2
_HEADER = 16
"""Bytes of a page's header within which its type and size stand."""


class _Parquet:
    def __init__(self, path: Path, file: BinaryIO, asked: Asked | None) -> None:
        import pyarrow.parquet as pq

        self._file = file
        # Nothing is read ahead: threads would hold whole columns.
        self._parquet = pq.ParquetFile(file, pre_buffer=False, buffer_size=BUFFER)
        self.columns = Columns.of(path, self._parquet.schema_arrow, asked)
        self.groups = self._parquet.num_row_groups
        self._check_ratio(path)

    def batches(self, group: int) -> Iterator[pa.RecordBatch]:
        """As `Table`."""
        if next(self._batches(group, 1), None) is not None:
            yield from self._batches(group, max(1, min(ROWS, DICTIONARY_BYTES // max(1, self._longest(group)))))

    def _batches(self, group: int, rows: int) -> Iterator[pa.RecordBatch]:
        return self._parquet.iter_batches(rows, [group], list(self.columns.read), use_threads=False)  # type: ignore[no-any-return]

    def _check_ratio(self, path: Path) -> None:
        """Raise InputError for a file that holds more than its size can hold of text: pages are decompressed whole."""
        metadata = self._parquet.metadata
        size = sum(metadata.row_group(group).total_byte_size for group in range(self.groups))
        if size > UNBOUNDED and size > RATIO * os.fstat(self._file.fileno()).st_size:
            raise InputError(path, f"holds more than {RATIO} times its own size once it is decompressed")

    def _longest(self, group: int) -> int:
        """Bytes of the largest dictionary of a row group, of which every row may name the one text that it holds.

        Only once a row of the group was read: pyarrow ends the process for what a damaged file says of a column, unless
        reading found it sound.
        """
        schema, metadata = self._parquet.schema, self._parquet.metadata.row_group(group)
        paths = (schema.column(place).path for place in range(metadata.num_columns))
        within = tuple(f"{name}." for name in self.columns.read)
        read = [place for place, path in enumerate(paths) if f"{path}.".startswith(within)]
        return max((self._dictionary(metadata.column(place)) for place in read), default=0)

    def _dictionary(self, chunk: Any) -> int:
        """Bytes of a column's dictionary, as the header of its page has them: pyarrow does not say."""
        if not chunk.has_dictionary_page:
            return 0
        self._file.seek(chunk.dictionary_page_offset or chunk.data_page_offset)
        header = iter(self._file.read(_HEADER))
        kind, size = _field(header), _field(header)
        return size if kind == _DICTIONARY_PAGE else 0


def _field(header: Iterator[int]) -> int:
    """The next field of Thrift's compact protocol, a whole number of 32 bits that follows the field before. Raises
    ValueError for another one."""
    if next(header, None) != 0x15:
        raise ValueError("no header of a page")
    value = shift = 0
    for byte in header:
        value |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return value >> 1 ^ -(value & 1)  # zigzag
    raise ValueError("no header of a page")


PARQUET = Kind("Parquet", _Parquet)
