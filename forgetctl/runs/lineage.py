"""Runs that begin where an earlier one ended: the earlier run's model, checked, and what had been forgotten before.

Lineage is told by ids, digests, commitments and verdicts, never by text.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import RunError, UsageError
from ..files.writing import ModelFiles, file_digest
from ..model.load import resolve_model
from .layout import RunFiles
from .run import DEFAULT_RUNS, LATEST, Run


@dataclass(frozen=True)
class Start:
    """The model to begin with.

    name: what it is called; a run's model has the name of the model that the first run began with. lineage: what
    run.json says of the runs that made it, the oldest first; empty for a model that no run made. files: as they were
    before any was read.
    """

    path: Path
    name: str
    files: ModelFiles
    lineage: tuple[dict[str, Any], ...] = ()


def find_start(name: str, *, allow_download: bool) -> Start:
    """The model that `--model` means: a directory, a hub id, or the unlearned model of an earlier run.

    Raises ModelError if there is no such model, UsageError or RunError for a run that made none, has not finished, or
    whose model is no longer the one that it recorded.
    """
    run = _run_at(Path(name))
    if run is None:
        path = resolve_model(name, allow_download=allow_download)
        return Start(path, (path if path.is_file() else path.resolve()).name, ModelFiles.of(path))
    _check_model(run)
    path = run.model_dir.resolve()
    try:
        lineage = (*run.record.get("lineage", ()), _told(run))
        return Start(path, run.record["inputs"]["model"]["name"], ModelFiles.of(path), lineage)
    except (KeyError, TypeError):
        raise RunError(f"{run.record_file} is damaged: it does not say what was forgotten") from None


def _run_at(path: Path) -> Run | None:
    """The run that a directory is, or whose model it is."""
    if path == DEFAULT_RUNS / LATEST or RunFiles(path).record_file.is_file():
        return Run.open(path)
    above = path.resolve().parent
    made = RunFiles(above).model_dir == path.resolve() and RunFiles(above).record_file.is_file()
    return Run.open(above) if made else None


def _check_model(run: Run) -> None:
    if run.record.get("kind") != "unlearn":
        raise UsageError(f"{run.path} verified a model that no run made; give the directory of that model")
    if not run.stage_done("unlearn"):
        raise RunError(f"{run.path} is not finished; continue it with: forgetctl unlearn --resume {run.path}")
    run.check_model()


def _told(run: Run) -> dict[str, Any]:
    """What the runs that follow say of a run."""
    record, verified = run.record, run.record["stages"].get("verify", {})
    done = verified.get("status") == "done"
    forget = record["inputs"]["forget"]
    return {
        "run": record["id"],
        "created": record["created"],
        "method": record["objective"]["method"],
        "requests": list(record.get("requests", ())),
        "rows": forget["rows"],
        "commitment": forget.get("commitment"),
        "commitments_sha256": file_digest(run.commitments_file) if run.commitments_file.is_file() else None,
        "model_sha256": record["stages"]["unlearn"]["model_sha256"],
        "verdict": verified.get("verdict") if done else None,
        "verdict_sha256": verified.get("verdict_sha256") if done else None,
    }
