"""Files by name, size and digest: what a verdict and a seal say they are about."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from .canonical import canonical, sha256
from .writing import file_digest, known_digest, model_files


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


def entries(root: Path, files: Iterable[Path]) -> tuple[Entry, ...]:
    """Entries of files below `root`, sorted. Raises InputError if one cannot be read."""
    return tuple(sorted(Entry.of(root, file) for file in files))


def model_entries(model: Path) -> tuple[Entry, ...]:
    """Entries of a model's files but its card, which says what was measured later.

    Raises InputError as `model_files`, and for a name that no record can hold.
    """
    paths, root = list(model_files(model)), model.parent if model.is_file() else model
    for path in paths:
        if not all(map(can_be_recorded, path.relative_to(root).parts)):
            raise InputError(path, "has a name that no record can hold")
    return tuple(
        sorted(Entry(path.relative_to(root).as_posix(), path.stat().st_size, known_digest(path)) for path in paths)
    )


def can_be_recorded(part: str) -> bool:
    """Whether a part of a path may stand in a record."""
    return part not in ("", ".", "..") and part.isprintable() and "\\" not in part


def files_digest(files: Iterable[Entry]) -> str:
    """One SHA-256 over names and digests of files, hexadecimal."""
    return sha256(canonical([[entry.path, entry.sha256] for entry in sorted(files)]))
