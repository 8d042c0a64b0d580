"""Several files as one source: a folder, or what a pattern names, in the order of their names."""

from __future__ import annotations

import glob
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from fnmatch import fnmatch
from itertools import groupby, islice, takewhile
from pathlib import Path
from typing import Literal

from ..errors import InputError
from ..files.strict_json import read_object
from ._files import is_known, open_file
from .containers import Asked, Container, Limits, Place, Record, ignore
from .row import SourceFile

MOST_FILES, DEEPEST = 10_000, 32
_INSIDE = 48
"""Bits of an offset that are the file's own; the others say which file it is."""
_MAGIC = frozenset("*?[")
_STATE, _INFO, _SPLITS = "state.json", "dataset_info.json", "dataset_dict.json"
"""What the library `datasets` writes beside the rows that it saves."""
_CACHED = "cache-*.arrow"
"""What it keeps there later."""


class Files:
    """A container of several files, each with its name."""

    unit: Literal["row"] = "row"
    revision: None = None

    def __init__(self, path: Path, files: Sequence[tuple[str, Container]]) -> None:
        self.path, self._files = path, files

    def check_size(self, limits: Limits) -> None:
        """As `Container`: looks at each file by itself, since `records` counts those of all."""
        for _, file in self._files:
            file.check_size(limits)

    def records(self, limits: Limits, seen: Callable[[bytes], None] = ignore) -> Iterator[Record]:
        """As `Container`."""
        count = 0
        for number, (name, file) in enumerate(self._files, start=1):
            digest = hashlib.sha256()
            for record in file.records(limits, digest.update):
                count += 1
                named = record._replace(offset=number << _INSIDE | record.offset, file=SourceFile(number, name))
                if limits.records is not None and count > limits.records:
                    raise InputError(self.path, f"has more than {limits.records:,} rows", named.name)
                yield named
            seen(_line(name, digest.hexdigest()))

    def again(self, places: Iterable[Place]) -> Iterator[Record]:
        """As `Container`: a file is opened for every stretch of records that are its own."""
        for number, part in groupby(places, lambda place: place.offset >> _INSIDE):
            name, file = self._files[number - 1]
            inside = (place._replace(offset=place.offset & (1 << _INSIDE) - 1) for place in part)
            for record in file.again(inside):
                yield record._replace(offset=number << _INSIDE | record.offset, file=SourceFile(number, name))

    def chunks(self) -> Iterator[bytes]:
        """As `Container`: a line for each file, its name and the SHA-256 of its own chunks."""
        for name, file in self._files:
            digest = hashlib.sha256()
            for chunk in file.chunks():
                digest.update(chunk)
            yield _line(name, digest.hexdigest())


def open_folder(path: Path, asked: Asked | None) -> Container:
    """All files of rows in a folder. Hidden ones are left out, and nothing else is: raises InputError for a file that
    is not read, for a link that leads out of the folder, and for a folder without a file."""
    return _open_all(path, path, _files_in(path, path.resolve()), asked)


def is_pattern(path: Path) -> bool:
    """Whether a source names files by a pattern."""
    return not _MAGIC.isdisjoint(str(path)) and not path.exists()


def open_pattern(path: Path, asked: Asked | None) -> Container:
    """All files of rows that a pattern names, and those in folders that it names. Raises InputError as
    `open_folder`."""
    root = Path(*takewhile(_MAGIC.isdisjoint, path.parts))
    named = (Path(name) for name in glob.glob(str(path), recursive=True))  # noqa: PTH207 (Path.glob finds hidden files)
    files = (file for one in named for file in _expanded(one, root.resolve()))
    return _open_all(path, root, files, asked)


def _open_all(path: Path, root: Path, files: Iterable[Path], asked: Asked | None) -> Container:
    distinct = sorted({*islice(files, MOST_FILES + 1)})
    if len(distinct) > MOST_FILES:
        raise InputError(path, f"holds more than {MOST_FILES:,} files")
    if not distinct:
        raise InputError(path, "holds no file of rows")
    return Files(path, [(file.relative_to(root).as_posix(), open_file(file, asked)) for file in distinct])


def _expanded(path: Path, root: Path, depth: int = 0) -> Iterator[Path]:
    """A file, or the files of a folder. root: out of which no link may lead."""
    if path.is_symlink() and (path.is_dir() or not path.resolve().is_relative_to(root)):
        raise InputError(path, "is a link to a folder, or out of the folder that is read")
    if path.is_dir():
        yield from _files_in(path, root, depth + 1)
    elif not path.is_file():
        raise InputError(path, "is not a regular file")
    elif is_known(path.name):
        yield path
    else:
        raise InputError(path, "is no file of rows, as far as its name says; name the others by a pattern")


def _files_in(folder: Path, root: Path, depth: int = 0) -> Iterator[Path]:
    if depth > DEEPEST:
        raise InputError(folder, f"lies more than {DEEPEST} folders deep")
    try:
        inside = [path for path in folder.iterdir() if not path.name.startswith(".")]
    except OSError as error:
        raise InputError(folder, f"cannot be read: {error.strerror}") from None
    for path in sorted(_saved(folder, inside) if _is_saved(folder) else inside):
        if path.name != _SPLITS:
            yield from _expanded(path, root, depth)


def _is_saved(folder: Path) -> bool:
    """Whether `save_to_disk` of the library `datasets` wrote a folder."""
    return (folder / _STATE).is_file() and (folder / _INFO).is_file()


def _saved(folder: Path, inside: Iterable[Path]) -> Iterator[Path]:
    """The files of rows in a folder that `save_to_disk` wrote; the library keeps what it works out later beside them.

    Raises InputError for any other file, and for one that is missing.
    """
    names = _names(folder / _STATE)
    for path in inside:
        if path.name not in {*names, _STATE, _INFO} and not fnmatch(path.name, _CACHED):
            raise InputError(path, "is no part of the data set that was saved here")
    for name in names:
        if not (folder / name).is_file():
            raise InputError(folder / name, "no such file")
        yield folder / name


def _names(state: Path) -> list[str]:
    """The names of the files of a data set that was saved."""
    value = read_object(state)
    parts = value.get("_data_files")
    names = [part.get("filename") for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []
    plain = [name for name in names if isinstance(name, str) and Path(name).name == name]
    if not plain or plain != names:
        raise InputError(state, "does not name the files of a data set")
    if value.get("_indices_data_files"):
        raise InputError(state, "says that only some rows are meant, as an old library saved it; save it again")
    return plain


def _line(name: str, digest: str) -> bytes:
    return json.dumps([name, digest]).encode() + b"\n"
