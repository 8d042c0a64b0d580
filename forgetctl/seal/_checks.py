"""What an auditor checks of a bundle without knowing what its figures mean: files, digests, signatures, events.

Each check gives findings; nothing is believed that an earlier check did not hold.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rfc3161_client import VerificationError
from securesystemslib.signer import SSlibKey

from ..files.canonical import MalformedError, sha256
from ..files.entries import Entry, model_entries
from ..files.writing import CARD, file_digest
from ..runs.events import ChainError, Event, read_chain
from .bundle import MANIFEST, MODEL, OPTIONAL, SEAL, TIMESTAMP, Bundle, model_subjects, walk
from .timestamp import check_timestamp, read_timestamp

Status = Literal["ok", "note", "broken", "malformed", "policy"]


@dataclass(frozen=True)
class Finding:
    """One line of an audit. note: worth knowing, and no fault."""

    check: str
    status: Status
    text: str


def check_files(bundle: Bundle) -> Iterator[Finding]:
    """Exactly the files of the manifest are there, as regular files, with their sizes and digests."""
    listed = {entry.path: entry for entry in bundle.manifest.files}
    beside = {name for name in OPTIONAL if name in bundle.subjects}
    present: set[str] = set()
    for name, path in walk(bundle.path):
        present.add(name)
        if path.is_symlink() or not path.is_file():
            yield Finding("files", "broken", f"{name} is a link, an empty folder or a special file")
        elif name in listed:
            yield from _differs(bundle, listed[name])
        elif name not in {MANIFEST, SEAL, *beside}:
            yield Finding("files", "broken", f"{name} is not in the manifest")
    for name in sorted({*listed, *beside} - present):
        yield Finding("files", "broken", f"{name} is missing")


def _differs(bundle: Bundle, expected: Entry) -> Iterator[Finding]:
    size = (bundle.path / expected.path).stat().st_size
    if size != expected.size:
        yield Finding("files", "broken", f"{expected.path} has {size} bytes, the manifest says {expected.size}")
    elif Entry.of(bundle.path, bundle.path / expected.path) != expected:
        yield Finding("files", "broken", f"{expected.path} has another digest than the manifest says")


def check_statement(bundle: Bundle) -> Iterator[Finding]:
    """The statement is about this manifest, the files beside it and the model that the manifest names."""
    expected = {MANIFEST: sha256(bundle.raw), **model_subjects(bundle.manifest)}
    for name, digest in expected.items():
        if bundle.subjects.get(name) != digest:
            yield Finding("statement", "broken", f"{SEAL} is about another {name}")
    for name, digest in bundle.subjects.items():
        if name in OPTIONAL:
            file = bundle.path / name
            if file.is_file() and not file.is_symlink() and file_digest(file) != digest:
                yield Finding("statement", "broken", f"{name} is not the one that was signed")
        elif name not in expected:
            yield Finding("statement", "broken", f"{SEAL} is about something else as well")
    said = dict(bundle.predicate)
    said.pop("verdict", None)  # compared with the verdict itself, once that is read
    if said != {"run": bundle.manifest.run, "forgetctl": bundle.manifest.forgetctl}:
        yield Finding("statement", "broken", f"{SEAL} is about another run, or says more than it should")


def check_signers(
    bundle: Bundle, signed: tuple[list[str], list[str]], keys: Sequence[SSlibKey], threshold: int
) -> Iterator[Finding]:
    """Enough of the keys that the auditor trusts have signed. signed: ids of good and of bad signatures."""
    good, bad = signed
    for keyid in bad:
        yield Finding("signatures", "broken", f"the signature of key {keyid[:16]} does not belong to this statement")
    for keyid in good:
        yield Finding("signatures", "ok", f"signed with key {keyid[:16]}")
    known = {key.keyid for key in keys}
    for keyid in bundle.envelope.signatures:
        if keyid not in known:
            why = "you did not give that key, so it cannot be verified and counts for nothing"
            yield Finding("signatures", "note", f"an unverified signature in the name of key {keyid[:16]}: {why}")
    if len(good) < threshold:
        yield Finding("signatures", "policy", f"{len(good)} of your keys have signed, {threshold} must")


def check_time(bundle: Bundle, root: Path | None) -> Iterator[Finding]:
    """The time stamp is one of this manifest, and of an authority that the auditor trusts if a root is given."""
    if TIMESTAMP not in bundle.subjects:
        if root is not None:
            yield Finding("time stamp", "policy", "there is none")
        return
    try:
        token = bundle.data(TIMESTAMP)
        stamped = read_timestamp(token)
        if stamped.tst_info.message_imprint.message.hex() != sha256(bundle.raw):
            yield Finding("time stamp", "broken", "it is one of another manifest")
        elif root is None:
            when = stamped.tst_info.gen_time.isoformat(timespec="seconds")
            yield Finding("time stamp", "note", f"{when}, by an authority that was not checked (give --tsa-root)")
        else:
            when = check_timestamp(token, bundle.raw, root).isoformat(timespec="seconds")
            yield Finding("time stamp", "ok", when)
    except MalformedError as error:
        yield Finding("time stamp", "malformed", f"{TIMESTAMP}: {error}")
    except VerificationError:
        yield Finding("time stamp", "broken", "it is not signed under the certificate given")


def check_model(bundle: Bundle, directory: Path) -> Iterator[Finding]:
    """A model directory is the model that was sealed: every file with its digest, none missing, none more."""
    there = {entry.path: entry for entry in model_entries(directory)}
    sealed = {entry.path: entry for entry in bundle.manifest.model}
    if os.path.lexists(directory / CARD):
        yield Finding("model", "note", f"{MODEL}{CARD}, the card, is not sealed and was not compared with anything")
    if not sealed:
        yield Finding("model", "policy", "the bundle names no model: only scores were verified")
    for name in sorted(there.keys() | sealed.keys()):
        if there.get(name) != sealed.get(name):
            how = "is missing" if name not in there else "is not in the manifest" if name not in sealed else "differs"
            yield Finding("model", "broken", f"{MODEL}{name} {how}")


def read_events(bundle: Bundle, name: str) -> tuple[list[Event], list[Finding]]:
    """The run's events, or what is wrong with them."""
    try:
        return read_chain(bundle.data(name)), []
    except MalformedError as error:
        return [], [Finding("events", "malformed", f"{name}: {error}")]
    except ChainError as error:
        return [], [Finding("events", "broken", f"{name}: {error}")]
