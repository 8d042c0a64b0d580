"""Arrow's IPC formats: the file, also known as Feather, and the stream, in which the library `datasets` saves.

What a compressed batch holds stands before each of its buffers, and is looked up there before pyarrow decompresses it
as a whole (Apache Arrow columnar format 1.5, Message.fbs and File.fbs).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from ..errors import InputError
from ..files.decompression import RATIO, UNBOUNDED
from ._columns import Columns, Kind
from ._flatbuffers import Table, root_of
from .containers import Asked

if TYPE_CHECKING:
    import pyarrow as pa

LARGEST_BATCH = 2**30
"""Bytes of a compressed batch once it is decompressed. `datasets` writes a thousand rows, Feather 65,536."""
_MAGIC, _CONTINUED = b"ARROW1", 0xFFFFFFFF
_DICTIONARY, _BATCH = 2, 3
"""Kinds of messages."""
_V5 = 4
"""Version of the metadata before which a message may say beside its batch that it is compressed."""
_BLOCK, _BUFFER = 24, 16
"""Bytes of structs."""


def _options(columns: Columns, schema: pa.Schema) -> Any:
    from pyarrow import ipc

    # Nothing to be read means everything here; there is at least one column then, which nobody looks at.
    fields = [schema.get_field_index(name) for name in columns.read] or [0] * bool(schema.names)
    return ipc.IpcReadOptions(included_fields=fields, use_threads=False)


class _File:
    def __init__(self, path: Path, file: BinaryIO, asked: Asked | None) -> None:
        from pyarrow import ipc

        schema = ipc.open_file(file).schema
        self.columns = Columns.of(path, schema, asked)
        _check_sizes(path, file, _blocks(file))
        self._reader = ipc.open_file(file, options=_options(self.columns, schema))
        self.groups = self._reader.num_record_batches

    def batches(self, group: int) -> Iterator[pa.RecordBatch]:
        """As `Table`."""
        yield self._reader.get_batch(group)


class _Stream:
    groups = 1

    def __init__(self, path: Path, file: BinaryIO, asked: Asked | None) -> None:
        from pyarrow import ipc

        self._file = file
        schema = ipc.open_stream(file).schema
        self.columns = Columns.of(path, schema, asked)
        _check_sizes(path, file, _messages(file))
        self._options = _options(self.columns, schema)

    def batches(self, group: int) -> Iterator[pa.RecordBatch]:
        """As `Table`: there is one part, which is read from its beginning."""
        from pyarrow import ipc

        self._file.seek(0)
        yield from ipc.open_stream(self._file, options=self._options)


def _check_sizes(path: Path, file: BinaryIO, messages: Iterator[tuple[Table, int]]) -> None:
    """Raise InputError for compressed batches that hold more than they may. messages: each with the place of its
    body."""
    whole, size = 0, os.fstat(file.fileno()).st_size
    for message, body in messages:
        batch = _decompressed_size(file, message, body)
        whole += batch
        if batch > LARGEST_BATCH:
            why = f"has a compressed batch of more than {LARGEST_BATCH // 2**20:,} MiB; write smaller batches"
            raise InputError(path, why)
        if whole > UNBOUNDED and whole > RATIO * size:
            raise InputError(path, f"holds more than {RATIO} times its own size once it is decompressed")


def _decompressed_size(file: BinaryIO, message: Table, body: int) -> int:
    """Bytes that a message takes once it is decompressed, 0 for one that is not compressed."""
    kind = message.byte(1)
    if kind not in (_DICTIONARY, _BATCH):
        return 0
    batch = message.table(2)
    batch = batch.table(1) if kind == _DICTIONARY else batch
    if not (batch.has(3) or (message.byte(0) < _V5 and message.has(4))):
        return 0
    size = 0
    for buffer in batch.structs(2, _BUFFER):
        if int.from_bytes(buffer[8:], "little"):
            file.seek(body + int.from_bytes(buffer[:8], "little"))
            size += max(0, int.from_bytes(file.read(8), "little", signed=True))  # -1: it is as it is
    return size


def _messages(file: BinaryIO) -> Iterator[tuple[Table, int]]:
    """The messages of a stream."""
    place = 0
    while message := _message(file, place):
        table, body = message
        yield table, body
        place = body + table.whole(3)


def _blocks(file: BinaryIO) -> Iterator[tuple[Table, int]]:
    """The messages of a file that have dictionaries or rows, from where its end says that they are."""
    tail = 4 + len(_MAGIC)
    end = file.seek(-tail, os.SEEK_END)
    length = int.from_bytes(file.read(4), "little")
    file.seek(end - length)
    footer = root_of(file.read(length))
    for block in (*footer.structs(2, _BLOCK), *footer.structs(3, _BLOCK)):
        offset, length = int.from_bytes(block[:8], "little"), int.from_bytes(block[8:12], "little")
        if message := _message(file, offset):
            yield message[0], offset + length


def _message(file: BinaryIO, place: int) -> tuple[Table, int] | None:
    """A message and the place behind it, None at the end of a stream."""
    file.seek(place)
    length = int.from_bytes(file.read(4), "little")
    if length == _CONTINUED:
        length, place = int.from_bytes(file.read(4), "little"), place + 4
    return (root_of(file.read(length)), place + 4 + length) if length else None


ARROW_FILE, ARROW_STREAM = Kind("an Arrow file", _File), Kind("an Arrow stream", _Stream)
