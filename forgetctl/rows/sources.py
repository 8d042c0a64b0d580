"""Which container reads a source: a file, a folder, a pattern, or a data set of the hub."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ..errors import InputError
from ._files import open_file
from ._folder import is_pattern, open_folder, open_pattern
from ._hub import DataSet, open_data_set
from .containers import Container
from .formats import Fields, asked_of


def open_source(path: Path, fields: Fields | None = None) -> Container:
    """The container that reads `path`. fields: what is read of its records; without, all of it, and nothing of the hub.

    Raises InputError for what none reads, and for a data set of the hub that may not be downloaded.
    """
    if data_set := DataSet.named(path):
        return open_data_set(path, data_set, allow_download=fields is not None and fields.allow_download)
    asked = asked_of(fields) if fields else None
    try:
        open_ = open_folder if path.is_dir() else open_pattern if is_pattern(path) else open_file
    except OSError as error:
        raise InputError(path, f"cannot be read: {error.strerror}") from None
    return open_(path, asked)


def source_digest(path: Path, fields: Fields | None = None) -> str:
    """SHA-256 of a source, hexadecimal: of a file's content, of several files' names and digests, of a data set's
    commit and rows. Raises InputError as `open_source`, and if it cannot be read."""
    digest = hashlib.sha256()
    for chunk in open_source(path, fields).chunks():
        digest.update(chunk)
    return digest.hexdigest()


def absolute_source(path: Path) -> Path:
    """The same source whatever the current directory is."""
    return path if DataSet.named(path) else path.resolve()
