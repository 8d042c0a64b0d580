"""`forgetctl prove`: show that a row was in the request, to somebody who has the bundle and the request's key."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError, RunError
from ..files.canonical import MalformedError, parse_object, sha256
from ..rows.formats import Fields
from ..rows.reading import read_rows
from ..runs.commitments import CommittedRow, find_row, read_key
from ..runs.run import Run
from .bundle import read_bundle


@dataclass(frozen=True)
class Proof:
    """A row of the given file, by its name, and where it stands in the request; None if it is not there."""

    row: str
    place: CommittedRow | None

    @property
    def proved(self) -> bool:
        """Whether it was in the request."""
        return self.place is not None


def run_prove(bundle_dir: Path, rows: Path, key_file: Path, fields: Fields) -> list[Proof]:
    """One proof for each row of the file.

    Shows that the bundle commits to a row; that the bundle is sound and whose it is, `audit` shows.
    Raises InputError if the bundle's commitments are not those of its manifest, or a file cannot be read.
    """
    name = Run(bundle_dir).commitments_file.name
    try:
        bundle = read_bundle(bundle_dir)
        data = bundle.data(name)
        if bundle.manifest.digests().get(name) != sha256(data):
            raise InputError(bundle_dir / name, "has another digest than the manifest says")
        commitments, key = parse_object(data), _key(key_file)
        return [Proof(row.name, find_row(commitments, key, row)) for row in read_rows(rows, fields)]
    except MalformedError as error:
        raise InputError(bundle_dir, str(error)) from None


def _key(file: Path) -> bytes:
    """Raises InputError for a file that is no key: an error of whoever asks, not of the run."""
    try:
        return read_key(file)
    except RunError:
        raise InputError(file, "is no commitment key") from None
