"""Arrow's IPC formats: the file, also known as Feather, and the stream, in which the library `datasets` saves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from ._columns import Columns, Kind
from .containers import Asked

if TYPE_CHECKING:
    import pyarrow as pa


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
        self._options = _options(self.columns, schema)

    def batches(self, group: int) -> Iterator[pa.RecordBatch]:
        """As `Table`: there is one part, which is read from its beginning."""
        from pyarrow import ipc

        self._file.seek(0)
        yield from ipc.open_stream(self._file, options=self._options)


ARROW_FILE, ARROW_STREAM = Kind("an Arrow file", _File), Kind("an Arrow stream", _Stream)
