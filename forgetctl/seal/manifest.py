"""The list of everything in a bundle, with sizes and digests, in canonical JSON."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

from ..files.canonical import MAX_BYTES, MalformedError, canonical, parse_canonical
from ..files.entries import Entry, can_be_recorded
from ..files.writing import model_digest_of

SCHEMA = 1
_TEXTS = ("run", "created", "forgetctl")
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
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
        return cls(run=run, created=created, forgetctl=version, files=files, model=model)

    def digests(self) -> dict[str, str]:
        """Digests of the bundle's files by path."""
        return {entry.path: entry.sha256 for entry in self.files}

    @property
    def model_digest(self) -> str | None:
        """The digest by which verdict and events name the model; None without its files."""
        top = {entry.path: entry.sha256 for entry in self.model if "/" not in entry.path}
        return model_digest_of(top) if self.model else None


def _entries(values: object) -> Iterable[Entry]:
    if not isinstance(values, list):
        raise MalformedError("lists no files")
    listed = [_entry(value) for value in values]
    if listed != sorted(listed) or len({entry.path for entry in listed}) != len(listed):
        raise MalformedError("lists files twice or out of order")
    return listed


def _entry(value: object) -> Entry:
    if not isinstance(value, Mapping) or value.keys() != {"path", "size", "sha256"}:
        raise MalformedError("has an entry that is none")
    path, size, digest = value["path"], value["size"], value["sha256"]
    if not isinstance(path, str) or not all(map(can_be_recorded, path.split("/"))):
        raise MalformedError("names a file that cannot be in a bundle")
    # bool is an int in Python, and true is no size.
    if type(size) is not int or size < 0 or not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise MalformedError("has an entry without size or digest")
    return Entry(path, size, digest)
