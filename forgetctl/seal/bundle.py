"""A sealed bundle: a copy of what a run recorded, its manifest, and the signed statement about it.

<run>.bundle/
  manifest.json    path, size and SHA-256 of every file here and of the model's files, which stay where they are
  seal.json        in-toto Statement v1 about the manifest in a DSSE envelope, one signature or two
  timestamp.tsr    RFC 3161 time stamp of the manifest, if one was asked for
  weights.sig      OpenSSF model signature of the weights, if one was asked for
  run.json ...     the files themselves, as the run directory has them
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from securesystemslib.dsse import Envelope

from ..errors import InputError, UsageError
from ..files.canonical import MAX_BYTES, MalformedError, sha256
from ..files.entries import Entry, entries
from ..files.outside import read_bytes
from ..files.writing import MANIFEST as MANIFEST  # these are part of this module's own interface
from ..files.writing import SEAL as SEAL
from ..files.writing import refuse_in_bundle, write_bytes
from .keys import Signer
from .manifest import Manifest
from .statement import make_statement, read_envelope, read_statement, sign_statement

TIMESTAMP, WEIGHTS_SIGNATURE = "timestamp.tsr", "weights.sig"
OPTIONAL = (TIMESTAMP, WEIGHTS_SIGNATURE)
MODEL = "model/"
"""What the names of the model's files begin with where they are subjects of the statement."""


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """A bundle that was read: its shape is right, nothing else has been checked. raw: the manifest's bytes."""

    path: Path
    manifest: Manifest
    raw: bytes
    envelope: Envelope
    subjects: Mapping[str, str]
    predicate: Mapping[str, Any]

    def data(self, name: str) -> bytes:
        """A file's bytes. Raises MalformedError naming a file that cannot be read."""
        return _bytes(self.path / name)


class BadFileError(MalformedError):
    """A file of a bundle that is not what it must be; the message begins with its name."""

    def __init__(self, name: str, why: object) -> None:
        super().__init__(f"{name} {why}")


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What goes into a bundle: files of the run directory, the model's entries, and what the statement says."""

    run: str
    created: str
    forgetctl: str
    root: Path
    files: Sequence[Path]
    model: tuple[Entry, ...]
    predicate: Mapping[str, Any]


def copy_files(contents: Contents, draft: Path) -> None:
    """Copy the files to a private directory."""
    for file in contents.files:
        copy = draft / file.relative_to(contents.root)
        write_bytes(copy, read_bytes(file))


def list_files(contents: Contents, draft: Path) -> Manifest:
    """Write the manifest of what is in a draft by now, from the digests of the copies."""
    copied = [path for _, path in walk(draft)]
    manifest = Manifest(
        run=contents.run,
        created=contents.created,
        forgetctl=contents.forgetctl,
        files=entries(draft, copied),
        model=contents.model,
    )
    write_bytes(draft / MANIFEST, manifest.to_bytes())
    return manifest


def seal_draft(draft: Path, manifest: Manifest, predicate: Mapping[str, Any], signer: Signer) -> None:
    """Sign the manifest, what stands beside it, and the model's files."""
    beside = {name: sha256((draft / name).read_bytes()) for name in OPTIONAL if (draft / name).is_file()}
    subjects = {MANIFEST: sha256(manifest.to_bytes()), **beside, **model_subjects(manifest)}
    write_bytes(draft / SEAL, sign_statement(make_statement(subjects, predicate), signer))


def model_subjects(manifest: Manifest) -> dict[str, str]:
    """The model's files as subjects of the statement, so that tools that know in-toto find them by digest."""
    return {MODEL + entry.path: entry.sha256 for entry in manifest.model}


def refuse_used_place(bundle: Path) -> None:
    """Raise UsageError if there is something at the place of a new bundle."""
    refuse_in_bundle(bundle.parent)
    if bundle.exists() or bundle.is_symlink():
        raise UsageError(f"{bundle} exists; a sealed bundle is never overwritten, choose another --out")


def read_bundle(path: Path) -> Bundle:
    """Read a bundle's manifest and statement. Raises UsageError if there is none, BadFileError if they are no such."""
    if not path.is_dir():
        raise UsageError(f"{path} is no bundle: not a directory")
    raw, sealed = _bytes(path / MANIFEST), _bytes(path / SEAL)
    try:
        manifest = Manifest.from_bytes(raw)
    except MalformedError as error:
        raise BadFileError(MANIFEST, error) from None
    try:
        envelope = read_envelope(sealed)
        subjects, predicate = read_statement(envelope)
    except MalformedError as error:
        raise BadFileError(SEAL, error) from None
    return Bundle(path=path, manifest=manifest, raw=raw, envelope=envelope, subjects=subjects, predicate=predicate)


def walk(root: Path) -> Iterator[tuple[str, Path]]:
    """Everything in a bundle by relative name: files, and the files in its folders, which hold no further folders.

    Links are not followed. Raises BadFileError for a folder that cannot be read.
    """
    for path in _listed(root):
        inside = _listed(path) if path.is_dir() and not path.is_symlink() else []
        yield from ((inner.relative_to(root).as_posix(), inner) for inner in inside or [path])


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise BadFileError(folder.name, f"cannot be read: {error.strerror}") from None


def _bytes(path: Path) -> bytes:
    if path.is_symlink() or not path.is_file():
        raise BadFileError(path.name, "is missing, or is no regular file")
    try:
        return read_bytes(path, MAX_BYTES)
    except InputError as error:
        raise BadFileError(path.name, error.why) from None
