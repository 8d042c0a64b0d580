"""Find out what the unlearned model is to be compared with, and record which kind of evidence that is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..engine.models import inspect_model
from ..errors import InputError
from ..scores import FileKind, Scores, read_scores


@dataclass(frozen=True)
class ModelReference:
    """A model that never saw the forget rows."""

    path: Path


@dataclass(frozen=True)
class ScoreReference:
    """Such a model's scores, from a file."""

    path: Path
    scores: Scores
    kind: FileKind


Reference = ModelReference | ScoreReference | None


def find_reference(name: str | None) -> Reference:
    """Check what was given as reference, None if nothing was.

    Raises InputError or ModelError if it is neither a usable model directory nor a file with scores.
    """
    if name is None:
        return None
    path = Path(name)
    if path.is_dir():
        inspect_model(path)
        return ModelReference(path)
    if path.is_file():
        return ScoreReference(path, *read_scores(path))
    raise InputError(path, "no such model directory or score file")
