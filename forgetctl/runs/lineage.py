"""Runs that begin where an earlier one ended: the earlier run's model, checked, and what had been forgotten before.

Lineage is made of ids, digests, commitments and verdicts, never by text.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import RunError, UsageError
from ..files.writing import file_digest
from .layout import RunFiles
from .run import DEFAULT_RUNS, LATEST, Run


@dataclass(frozen=True)
class Lineage:
    """Which runs made a model.

    model: its directory. name: of the model that the first of them began with. runs: what run.json says of them, the
    oldest first.
    """

    model: Path
    name: str
    runs: tuple[dict[str, Any], ...]


def find_lineage(path: Path) -> Lineage | None:
    """The lineage of a run's model, by the directory of either; None for a directory that no run made.

    Raises UsageError or RunError for a run that made no model, has not finished, or whose model is no longer the one
    that it recorded.
    """
    run = _run_at(path)
    if run is None:
        return None
    _check_model(run)
    try:
        runs = (*run.record.get("lineage", ()), _summary(run))
        return Lineage(run.model_dir.resolve(), run.record["inputs"]["model"]["name"], runs)
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


def _summary(run: Run) -> dict[str, Any]:
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
