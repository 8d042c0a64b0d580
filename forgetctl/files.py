"""Private files, digests and strict JSON: how everything that a run keeps is written and read."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .errors import InputError, RunError, UsageError
from .outside import opened
from .strict_json import read_object

WEIGHTS = ".safetensors"


def now() -> str:
    """UTC time to the second, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def file_digest(path: Path) -> str:
    """SHA-256 of a file, hexadecimal. Raises InputError if it cannot be read."""
    with opened(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def model_digest(directory: Path) -> str:
    """SHA-256 over the names and contents of a model's weight files and its config, hexadecimal."""
    return model_digest_of({path.name: file_digest(path) for path in directory.iterdir() if _counts(path.name)})


def model_digest_of(digests: Mapping[str, str]) -> str:
    """The same from the digests of a model's files by name, of which others than weights and config do not count."""
    return text_digest(f"{name} {digest}\n" for name, digest in sorted(digests.items()) if _counts(name))


def _counts(name: str) -> bool:
    return name.endswith(WEIGHTS) or name == "config.json"


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
        raise RunError(f"{path} cannot be written: {error.strerror or type(error).__name__}") from None


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write strict JSON atomically. Raises as `write_bytes`, ValueError for NaN or infinity, which JSON cannot hold."""
    write_bytes(path, (json.dumps(value, indent=1, allow_nan=False) + "\n").encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Write a private file (0600) atomically: a draft beside it, flushed to disk, then renamed.

    Raises RunError if the file system refuses; what was there before is then still there.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        # A name that nobody can foresee, made anew and 0600: nothing that was put there is written through.
        handle, name = tempfile.mkstemp(prefix=draft_prefix(path), dir=path.parent)
        draft = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
            _flush(path.parent)
        finally:
            draft.unlink(missing_ok=True)


def flush_folder(folder: Path) -> None:
    """Flush a folder of files to disk, with the folder's own name: a power cut takes nothing of it back.

    Raises RunError if the file system refuses.
    """
    with writing(folder):
        for path in (*folder.rglob("*"), folder, folder.parent):
            _flush(path)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def draft_prefix(path: Path) -> str:
    """What the name of a draft of a file begins with; a crash can leave one beside it."""
    return f".{path.name}.draft-"


def write_new(path: Path, data: bytes) -> None:
    """Write a private file (0600) that must not exist yet. Raises UsageError if it does, or cannot be made."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        raise UsageError(f"{path} exists and is not overwritten") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be made: {error.strerror}") from None
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        path.unlink()  # a part of it would be in the way of the next attempt
        raise UsageError(f"{path} cannot be written: {error.strerror}") from None


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
