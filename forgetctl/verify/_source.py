"""Find out where a model's scores come from, and so what kind of evidence a comparison with them is."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ..errors import InputError
from ..files.writing import ModelFiles, file_digest, model_digest
from ..model.gguf import is_gguf
from ..model.load import inspect_model, model_place
from ..model.score_files import FileKind
from ..model.scores import Role, Scores
from .reading import GivenFiles


@dataclass(frozen=True)
class ModelSource:
    """A model directory or a GGUF file, to be scored. files: as they were when it was found."""

    path: Path
    files: ModelFiles = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "files", ModelFiles.of(self.path))  # the class is frozen

    @property
    def digest(self) -> str:
        """Digest of the model."""
        return model_digest(self.path)

    @property
    def content(self) -> str:
        """Digest of everything that was given."""
        return self.digest


@dataclass(frozen=True)
class ScoreSource:
    """A model's scores, from a file."""

    path: Path
    scores: Scores
    kind: FileKind

    @property
    def digest(self) -> str:
        """Digest of the model if the file names one, else of the file."""
        return self.scores.sha256 or file_digest(self.path)

    @property
    def content(self) -> str:
        """Digest of everything that was given."""
        return file_digest(self.path)


Source = ModelSource | ScoreSource


def find_source(name: str, role: Role, files: GivenFiles) -> Source:
    """Check what was given as the model in a role: a directory, a GGUF file, or a file with scores.

    Raises InputError or ModelError if it is neither.
    """
    path = model_place(Path(name))
    if path.is_dir() or is_gguf(path):
        inspect_model(path)
        return ModelSource(path)
    if path.is_file():
        return ScoreSource(path, *files.scores(path, role))
    raise InputError(path, "no such model directory or score file")
