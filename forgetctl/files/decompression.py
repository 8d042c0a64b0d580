"""Compressed files, read as a stream and within bounds: a few bytes could stand for any amount.

gzip, bzip2 and xz are read by Python's own modules, zstd by pyarrow, which is imported for such a file alone. Members
that follow one another are one file, and whatever else follows is damage: Python's file objects would leave it out.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator
from io import BufferedReader, RawIOBase
from pathlib import Path
from typing import BinaryIO, Protocol

from ..errors import InputError

CHUNK = 2**18
LARGEST = 64 * 2**30
"""Bytes that a file may hold once it is decompressed."""
RATIO, UNBOUNDED = 250, 64 * 2**20
"""How often a file may hold its own size, beyond the first bytes of it. Text is held some 3 to 10 times, and the same
rows over and over 100 times."""
XZ_MEMORY = 256 * 2**20
"""Bytes that a file may ask for to be decompressed; xz -9 takes 65 MiB."""


class _Decompressor(Protocol):
    """Of one member, as bz2 and lzma have it."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class _Gzip:
    """zlib's decompressor in the shape of the others."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, max_length)


_NEW: dict[str, Callable[[], _Decompressor]] = {
    "gzip": _Gzip,
    "bzip2": bz2.BZ2Decompressor,
    "xz": lambda: lzma.LZMADecompressor(memlimit=XZ_MEMORY),
}
KINDS = frozenset((*_NEW, "zstd"))
"""What can be decompressed, by the names of `outside.compression`."""


def decompressed(path: Path, file: BinaryIO, kind: str) -> BufferedReader:
    """What a compressed file holds, to be read from its beginning on.

    Reading raises InputError for a file that is damaged, cut off or holds more than it may.
    """
    return BufferedReader(_Decompressed(path, file, kind), CHUNK)


class _Decompressed(RawIOBase):
    def __init__(self, path: Path, file: BinaryIO, kind: str) -> None:
        self._path, self._file, self._kind = path, _Counted(file), kind
        self._parts = _zstd(self._file) if kind == "zstd" else _members(self._file, _NEW[kind])
        self._part = memoryview(b"")
        self._size = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if not self._part:
            self._part = memoryview(self._next())
        count = min(len(buffer), len(self._part))
        buffer[:count] = self._part[:count]
        self._part = self._part[count:]
        return count

    def _next(self) -> bytes:
        try:
            part = next(self._parts, b"")
        except (zlib.error, lzma.LZMAError, OSError, EOFError):
            raise InputError(self._path, f"is damaged, and cannot be decompressed ({self._kind})") from None
        self._size += len(part)
        if self._size > UNBOUNDED and self._size > RATIO * self._file.count:
            raise InputError(self._path, f"holds more than {RATIO} times its own size once it is decompressed")
        if self._size > LARGEST:
            raise InputError(self._path, f"holds more than {LARGEST // 2**20:,} MiB once it is decompressed")
        return part


class _Counted:
    """A file of which is known how much of it was read."""

    closed = False

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.count = 0

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self.count += len(data)
        return data

    def close(self) -> None:
        """pyarrow would close the file, which is whose it was."""


def _members(file: _Counted, new: Callable[[], _Decompressor]) -> Iterator[bytes]:
    data = file.read(CHUNK)
    while data:
        member = new()
        while not member.eof:
            if part := member.decompress(data, CHUNK):
                yield part
            data = b""
            if not member.eof and member.needs_input and not (data := file.read(CHUNK)) and not part:
                raise EOFError
        data = member.unused_data or file.read(CHUNK)


def _zstd(file: _Counted) -> Iterator[bytes]:
    import pyarrow as pa

    stream = pa.CompressedInputStream(pa.PythonFile(file, mode="r"), "zstd")
    while part := stream.read(CHUNK):
        yield part
