"""Private files, digests and strict JSON: how everything that a run keeps is written and read."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from ..errors import InputError, RunError, UsageError
from .disk import refusal, unmade
from .outside import opened
from .strict_json import read_object

WEIGHTS = ".safetensors"
CARD = "README.md"
"""Of a model: says what was found of it later, so it is none of the files that are scored and sealed."""
MANIFEST, SEAL = "manifest.json", "seal.json"
"""Of a sealed bundle, which nothing but another signature may ever change."""
MOST_FILES, DEEPEST = 100_000, 32
"""Files of a model and folders in one another; links could make any number of both out of a few."""
SETTLED = 1.0
"""Seconds after which the next change of a file gets another time from the file system."""


def now() -> str:
    """UTC time to the second, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def file_digest(path: Path) -> str:
    """SHA-256 of a file, hexadecimal. Raises InputError if it cannot be read."""
    with opened(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def model_digest(model: Path) -> str:
    """SHA-256 over the names and contents of a model's weight files and its config, or of the one file that it is,
    hexadecimal."""
    if model.is_file():
        return model_digest_of({model.name: known_digest(model)})
    return model_digest_of({path.name: known_digest(path) for path in model.iterdir() if _counts(path.name)})


def model_digest_of(digests: Mapping[str, str]) -> str:
    """The same from the digests of a model's files by name, of which others than weights and config do not count,
    unless the model is a file that is both."""
    counted = {name: digest for name, digest in digests.items() if _counts(name)} or digests
    return text_digest(f"{name} {digest}\n" for name, digest in sorted(counted.items()))


def _counts(name: str) -> bool:
    return name.endswith(WEIGHTS) or name == "config.json"


class Stamp(NamedTuple):
    """What tells without reading that a file is the one that it was. entry, entry_time: inode and ctime of the name,
    which may be a link; the rest is of the file. Times in nanoseconds."""

    entry: int
    entry_time: int
    device: int
    inode: int
    size: int
    mtime: int
    ctime: int


def stamp(path: Path) -> Stamp:
    """The stamp of a file. Raises InputError if there is none."""
    try:
        entry, file = path.lstat(), path.stat()
    except OSError as error:
        raise InputError(path, f"cannot be read: {error.strerror}") from None
    times = (file.st_size, file.st_mtime_ns, file.st_ctime_ns)
    return Stamp(entry.st_ino, entry.st_ctime_ns, file.st_dev, file.st_ino, *times)


_KNOWN: dict[tuple[str, Stamp], str] = {}
"""Digests of models' files that this process has read: a command names the digest of a model in several places."""


def known_digest(path: Path) -> str:
    """`file_digest`, worked out once in a process for as long as the file's stamp stays.

    Raises InputError as `file_digest`, and if the file was changed while it was read.
    """
    before, begun = stamp(path), time.time_ns()
    key = (str(path.absolute()), before)
    if key in _KNOWN:
        return _KNOWN[key]
    digest = file_digest(path)
    if stamp(path) != before:
        raise InputError(path, "was changed while it was read")
    if begun - max(before.mtime, before.ctime) > SETTLED * 1e9:
        _KNOWN[key] = digest
    return digest


def model_files(directory: Path) -> Iterator[Path]:
    """Every file of a model but its card, sorted: hidden ones too, and those that links lead to, since transformers
    reads them all. A snapshot in the hub's cache is nothing but links. A model may be a file itself.

    Raises InputError for a directory that cannot be read, that holds something else than files and folders, or in which
    links lead round in a circle.
    """
    if directory.is_file():
        yield directory
        return
    if not directory.is_dir():
        raise InputError(directory, "no such model directory")
    for count, path in enumerate(_below(directory, ()), start=1):
        if count > MOST_FILES:
            raise InputError(directory, f"holds more than {MOST_FILES} files")
        if not path.is_file():
            raise InputError(path, "is no regular file")
        if path != directory / CARD:
            yield path


def _below(folder: Path, above: tuple[tuple[int, int], ...]) -> Iterator[Path]:
    try:
        status, inside = folder.stat(), sorted(folder.iterdir())
    except OSError as error:
        raise InputError(folder, f"cannot be read: {error.strerror}") from None
    here = (status.st_dev, status.st_ino)
    if here in above:
        raise InputError(folder, "is a link to a folder that it lies in")
    if len(above) > DEEPEST:
        raise InputError(folder, f"lies more than {DEEPEST} folders deep")
    for path in inside:
        if path.is_dir():
            yield from _below(path, (*above, here))
        else:
            yield path


@dataclass(frozen=True, repr=False)
class ModelFiles:
    """A model's files as they were before they were read, so that it can be told whether they stayed so."""

    directory: Path
    stamps: Mapping[Path, Stamp]

    @classmethod
    def of(cls, directory: Path) -> ModelFiles:
        """The files as they are now. Raises InputError as `model_files`."""
        return cls(directory, {path: stamp(path) for path in model_files(directory)})

    def check(self) -> None:
        """Raise RunError naming the first file that was changed, added or removed since. Reads none of them."""
        now = ModelFiles.of(self.directory).stamps
        changed = sorted(path for path in self.stamps.keys() | now.keys() if self.stamps.get(path) != now.get(path))
        if changed:
            raise RunError(
                f"{changed[0]} was changed while the model was in use, so nobody knows what was read; "
                "repeat the command when nothing else writes there"
            )


def is_bundle(path: Path) -> bool:
    """Whether a directory is a sealed bundle."""
    return os.path.lexists(path / SEAL) and os.path.lexists(path / MANIFEST)


def refuse_in_bundle(place: Path) -> None:
    """Raise UsageError if `place` is a bundle or lies in one: whatever is written there breaks it."""
    named, real = place.absolute(), Path(os.path.realpath(place))
    for folder in (named, *named.parents, real, *real.parents):
        if is_bundle(folder):
            raise UsageError(f"{folder} is a sealed bundle, in which nothing may be written; choose another place")


def text_digest(parts: Iterable[str]) -> str:
    """SHA-256 of the concatenated parts, hexadecimal."""
    return hashlib.sha256("".join(parts).encode()).hexdigest()


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file of a run. Raises RunError naming the file if it is damaged."""
    try:
        return read_object(path, surrogates=True)
    except InputError as error:
        raise RunError(f"{path} is missing or damaged: {error.why}") from None


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what a file system refuses into RunError naming `path`: the error of a full disk itself names no file."""
    try:
        yield
    except OSError as error:
        raise RunError(f"{path} cannot be written: {refusal(error)}") from None


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write strict JSON atomically. Raises as `write_bytes`, ValueError for NaN or infinity, which JSON cannot hold."""
    write_bytes(path, (json.dumps(value, indent=1, allow_nan=False) + "\n").encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Write a private file (0600) atomically. Raises as `whole_file`."""
    with whole_file(path) as file:
        file.write(data)


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A private file (0600) to be filled that becomes `path` if all goes well: a draft beside it, flushed to disk, then
    renamed.

    Raises RunError if the file system refuses; what was there before is then still there.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # A name that nobody can foresee, made anew and 0600: nothing that was put there is written through.
        handle, name = tempfile.mkstemp(prefix=draft_prefix(path), dir=path.parent)
        draft = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
            flush(path.parent)
        finally:
            draft.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Flush a file, or the names in a folder, to disk: a power cut takes nothing of it back."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def draft_prefix(path: Path) -> str:
    """What the name of a draft of a file or folder begins with; a crash can leave one beside it."""
    return f".{path.name}.draft-"


def write_new(path: Path, data: bytes) -> None:
    """Write a private file (0600) that must not exist yet. Raises UsageError if it does, or cannot be made, RunError if
    the disk is full."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        raise UsageError(f"{path} exists and is not overwritten") from None
    except OSError as error:
        raise unmade(path, error) from None
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        path.unlink()  # a part of it would be in the way of the next attempt
        raise unmade(path, error, "cannot be written") from None


@contextmanager
def private_files() -> Iterator[None]:
    """Let whatever this process makes meanwhile, libraries included, be for its user alone: 0600, folders 0700."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
