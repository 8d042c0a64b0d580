"""What a verification was given, by name and digest, for the record."""

from __future__ import annotations

from ..rows.formats import Fields
from ..rows.reading import FileRows, RowFile
from ..runs.run import Run
from ._source import ModelSource, Source
from ._subject import Subject
from .options import VerifyOptions
from .reading import GivenFiles
from .record import Given

PERSONAL = ("forget", "rephrased", "retain")
"""Files that hold the request, or may: a plain digest would let anybody test guesses about their text."""


def model_inputs(subject: Subject) -> list[Given]:
    """Models and scores, each with its role, name and digest."""
    models: list[tuple[str, Source]] = [("start", subject.start)] if subject.start else []
    models += [("reference", reference) for reference in subject.references]
    return [_model(role, source) for role, source in models]


def row_inputs(run: Run, options: VerifyOptions, files: GivenFiles) -> list[Given]:
    """Files of rows besides the run's own request: the SHA-256 of what was read, or the run's keyed commitment to a
    file that holds the request. Raises InputError for such a one that has changed since it was read."""
    return [_rows(run, name, files.given(name, path, options), options.fields) for name, path in options.files]


def _model(role: str, source: Source) -> Given:
    kind = "model" if isinstance(source, ModelSource) else source.kind
    return Given(role=role, name=source.path.resolve().name, kind=kind, sha256=source.content)


def _rows(run: Run, name: str, file: FileRows | RowFile, fields: Fields) -> Given:
    if name in PERSONAL:
        return Given(role=name, name=file.path.name, kind="rows", commitment=run.commit(file.path, file.sha256, fields))
    return Given(role=name, name=file.path.name, kind="rows", sha256=file.sha256)
