"""What a verification was given, by name and digest, for the record."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ..files.writing import file_digest
from ..runs.run import Run
from ..train.options import VerifyOptions
from .record import Given
from .source import ModelSource, Source
from .subject import Subject

PERSONAL = ("forget", "rephrased", "retain")
"""Files that hold the request, or may: a plain digest would let anybody test guesses about their text."""


def verification_inputs(subject: Subject, options: VerifyOptions) -> list[Given]:
    """Models, scores and files of rows besides the run's own request, each with its role, name and digest."""
    models: list[tuple[str, Source]] = [("start", subject.start)] if subject.start else []
    models += [("reference", reference) for reference in subject.references]
    return [*(_model(role, source) for role, source in models), *_files(subject.run, options)]


def row_file_digest(run: Run, name: str, path: Path) -> str:
    """SHA-256 of a file of rows, or the run's keyed commitment to one that holds the request."""
    return run.commit(path) if name in PERSONAL else file_digest(path)


def _model(role: str, source: Source) -> Given:
    kind = "model" if isinstance(source, ModelSource) else source.kind
    return Given(role=role, name=source.path.resolve().name, kind=kind, sha256=source.content)


def _files(run: Run, options: VerifyOptions) -> Iterator[Given]:
    for name, path in options.files:
        field = "commitment" if name in PERSONAL else "sha256"
        yield Given(role=name, name=path.name, kind="rows", **{field: row_file_digest(run, name, path)})
