"""The model that a run begins with: a directory, a model of the hub, or the unlearned model of an earlier run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..files.writing import ModelFiles
from ..model.load import resolve_model
from ..runs.lineage import find_lineage


@dataclass(frozen=True)
class Start:
    """The start model.

    name: what it is called; a run's model has the name of the model that the first run began with. files: as they were
    before any was read. lineage: what run.json says of the runs that made it, the oldest first; empty for a model that
    no run made.
    """

    path: Path
    name: str
    files: ModelFiles
    lineage: tuple[dict[str, Any], ...] = ()


def find_start(name: str, *, allow_download: bool) -> Start:
    """The model that `--model` means.

    Raises ModelError if there is no such model, and as `find_lineage` for a run whose model cannot be used.
    """
    made = find_lineage(Path(name))
    if made is not None:
        return Start(made.model, made.name, ModelFiles.of(made.model), made.runs)
    path = resolve_model(name, allow_download=allow_download)
    return Start(path, (path if path.is_file() else path.resolve()).name, ModelFiles.of(path))
