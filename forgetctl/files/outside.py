"""Files that somebody else made, read so that none can stall a command or fill its memory.

Only regular files are opened, and nothing is ever waited for. What is read whole has a largest size. Text is UTF-8,
with or without a byte order mark, holds no NUL byte and is not compressed: a few bytes could stand for any amount.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

from ..errors import InputError

LARGEST_BYTES = 256 * 2**20
"""Of a file that is read whole."""

_COMPRESSED = {
    "gzip": rb"\x1f\x8b",
    "bzip2": rb"BZh[1-9](1AY&SY|\x17rE8P\x90)",
    "xz": rb"\xfd7zXZ\x00",
    "zstd": rb"\x28\xb5\x2f\xfd",
    "zip": rb"PK\x03\x04",
}
"""How compressed files begin."""
_FIRST_BYTES = 10
_GGUF = ".gguf"


def is_gguf(path: Path) -> bool:
    """Whether a path names a GGUF file, a model in one file, by its suffix."""
    return path.name.lower().endswith(_GGUF) and not path.is_dir()


@contextmanager
def opened(path: Path) -> Iterator[BufferedReader]:
    """A regular file, open to be read as bytes. Raises InputError for anything else, and where reading fails."""
    try:
        with os.fdopen(_regular(path), "rb") as file:
            yield file
    except FileNotFoundError:
        raise InputError(path, "no such file") from None
    except OSError as error:
        raise InputError(path, f"cannot be read: {error.strerror}") from None


def _regular(path: Path) -> int:
    """A descriptor of a regular file."""
    try:
        # A FIFO, a device or a socket is not even opened: that can wait for ever, or set something off.
        if stat.S_ISREG(path.stat().st_mode):
            handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
            if stat.S_ISREG(os.fstat(handle).st_mode):  # something else may have taken its place meanwhile
                return handle
            os.close(handle)
    except ValueError:  # a NUL in the name, which no file has
        raise InputError(path, "is no name that a file can have") from None
    raise InputError(path, "is not a regular file")


@contextmanager
def opened_text(path: Path) -> Iterator[BufferedReader]:
    """The same for a file that must hold text. Raises InputError also if it is compressed."""
    with opened(path) as file:
        refuse_compressed(path, file.read(_FIRST_BYTES))
        file.seek(0)
        yield file


def refuse_compressed(path: Path, data: bytes) -> None:
    """Raise InputError if these are the first bytes of a compressed file."""
    if kind := compression(data):
        raise InputError(path, f"is compressed ({kind}); give the text itself")


def compression(data: bytes) -> str | None:
    """How a file that begins with these bytes is compressed, if it is."""
    return next((kind for kind, beginning in _COMPRESSED.items() if re.match(beginning, data)), None)


def read_bytes(path: Path, largest: int = LARGEST_BYTES) -> bytes:
    """A whole file of at most `largest` bytes. Raises InputError, before anything is read if it is larger."""
    with opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > largest:
            raise InputError(path, f"is larger than {_size(largest)}")
        data = file.read(size + 1)
    if len(data) != size:
        raise InputError(path, "was changed while it was read")
    return data


def read_text(path: Path, largest: int = LARGEST_BYTES) -> str:
    """The text of a whole file, with its line breaks as they are. Raises InputError as `read_bytes`, and for no text.

    It names the line where that is known, and never quotes anything.
    """
    data = read_bytes(path, largest)
    refuse_compressed(path, data)
    if (place := data.find(b"\0")) >= 0:
        raise InputError(path, "holds a NUL byte", _line_at(data, place))
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:  # which would carry the whole text
        raise InputError(path, "is not UTF-8", _line_at(data, error.start)) from None


def _line_at(data: bytes, place: int) -> int:
    return data.count(b"\n", 0, place) + 1


def _size(count: int) -> str:
    return f"{count // 2**20} MiB" if count >= 2**20 else f"{count // 2**10} KiB"
