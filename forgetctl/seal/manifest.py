"""The list of everything in a bundle, with sizes and digests, in canonical JSON."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from ..errors import InputError
from ..files.canonical import MAX_BYTES, MalformedError, canonical, parse_canonical, sha256
from ..files.writing import file_digest, known_digest, model_digest_of, model_files

SCHEMA = 1
_TEXTS = ("run", "created", "forgetctl")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, order=True)
class Entry:
    """A file. path: relative, with forward slashes; size in bytes; sha256 hexadecimal."""

    path: str
    size: int
    sha256: str

    @classmethod
    def of(cls, root: Path, file: Path) -> Entry:
        """The entry of a file below `root`. Raises InputError if it cannot be read."""
        return cls(file.relative_to(root).as_posix(), file.stat().st_size, file_digest(file))


@dataclass(frozen=True)
class Manifest:
    """What a bundle holds.

    run: the run's id. created: when the manifest was made. files: in the bundle. model: files of the verified model,
    which are not; empty where only its scores were verified.
    """

    run: str
    created: str
    forgetctl: str
    files: tuple[Entry, ...]
    model: tuple[Entry, ...]

    def to_bytes(self) -> bytes:
        """The canonical spelling."""
        return canonical({"schema": SCHEMA, **asdict(self)})

    @classmethod
    def from_bytes(cls, data: bytes) -> Manifest:
        """Read and check one. Raises MalformedError."""
        value = parse_canonical(data)
        if value.get("schema") != SCHEMA:
            raise MalformedError(f"has another schema than {SCHEMA}")
        texts = [value.get(key) for key in _TEXTS]
        if value.keys() != {"schema", "files", "model", *_TEXTS} or not all(isinstance(text, str) for text in texts):
            raise MalformedError("has keys that no manifest has, or lacks some")
        run, created, version = map(str, texts)
        files, model = tuple(_entries(value["files"])), tuple(_entries(value["model"]))
        if large := [entry.path for entry in files if entry.size > MAX_BYTES]:
            raise MalformedError(f"lists {large[0]} as larger than {MAX_BYTES // 2**20} MiB")
        return cls(run, created, version, files, model)

    def digests(self) -> dict[str, str]:
        """Digests of the bundle's files by path."""
        return {entry.path: entry.sha256 for entry in self.files}

    @property
    def model_digest(self) -> str | None:
        """The digest by which verdict and events name the model; None without its files."""
        top = {entry.path: entry.sha256 for entry in self.model if "/" not in entry.path}
        return model_digest_of(top) if self.model else None


def entries(root: Path, files: Iterable[Path]) -> tuple[Entry, ...]:
    """Entries of files below `root`, sorted by path."""
    return tuple(sorted(Entry.of(root, file) for file in files))


def _entries(values: object) -> Iterable[Entry]:
    if not isinstance(values, list):
        raise MalformedError("lists no files")
    found = [_entry(value) for value in values]
    if found != sorted(found) or len({entry.path for entry in found}) != len(found):
        raise MalformedError("lists files twice or out of order")
    return found


def _entry(value: object) -> Entry:
    if not isinstance(value, Mapping) or value.keys() != {"path", "size", "sha256"}:
        raise MalformedError("has an entry that is none")
    path, size, digest = value["path"], value["size"], value["sha256"]
    if not isinstance(path, str) or not all(map(_is_name, path.split("/"))):
        raise MalformedError("names a file that cannot be in a bundle")
    # bool is an int in Python, and true is no size.
    if type(size) is not int or size < 0 or not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise MalformedError("has an entry without size or digest")
    return Entry(path, size, digest)


def _is_name(part: str) -> bool:
    return part not in ("", ".", "..") and part.isprintable() and "\\" not in part


def model_entries(directory: Path) -> tuple[Entry, ...]:
    """Entries of a model's files but its card, which says what was found later.

    Raises InputError as `model_files`, and for a name that no manifest can hold.
    """
    found = list(model_files(directory))
    for path in found:
        if not all(map(_is_name, path.relative_to(directory).parts)):
            raise InputError(path, "has a name that no record can hold")
    return tuple(
        sorted(Entry(path.relative_to(directory).as_posix(), path.stat().st_size, known_digest(path)) for path in found)
    )


def files_digest(files: Iterable[Entry]) -> str:
    """One SHA-256 over names and digests of files, hexadecimal."""
    return sha256(canonical([[entry.path, entry.sha256] for entry in sorted(files)]))
