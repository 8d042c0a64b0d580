"""`forgetctl purge`: destroy what must not outlive the request, and say what only the owner can delete."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import RunError
from ..run import Run


@dataclass(frozen=True)
class PurgeOptions:
    """What to purge besides checkpoints and the start model's scores.

    keys: the commitment keys too, after which nobody can show that a row was in the request. scores: the scores by row
    too, after which the verdict cannot be reached again. abandon: a run that was not finished, which then never can be.
    """

    path: Path
    keys: bool = False
    scores: bool = False
    abandon: bool = False


@dataclass(frozen=True)
class Purge:
    """What will be destroyed, and what the owner must still see to: each a name or place, with the reason."""

    run: Run
    targets: tuple[Path, ...]
    remaining: tuple[tuple[str, str], ...]


def plan_purge(options: PurgeOptions) -> Purge:
    """What a purge would do. Raises RunError for a run that is not finished and is not to be abandoned."""
    run = Run.open(options.path)
    if run.record["kind"] == "unlearn" and not run.stage_done("unlearn") and not options.abandon:
        raise RunError(
            f"{run.path} is not finished; without its checkpoints it never can be (--abandon destroys them anyway)"
        )
    return Purge(run, tuple(_targets(run, options)), tuple(_remaining(run)))


def run_purge(options: PurgeOptions) -> Purge:
    """Destroy, and record it in the run's events. Links are removed, never followed. Raises as `plan_purge`."""
    purge = plan_purge(options)
    run = purge.run
    with run.lock():
        if options.abandon and not run.stage_done("unlearn"):
            run.stage("unlearn", "abandoned")
        removed = [_name(run, target) for target in purge.targets]
        earlier = run.record.get("stages", {}).get("purge", {}).get("removed", [])
        # Written first: after a crash in between the record says too much rather than too little, and a repeated
        # purge finds what is left.
        run.stage("purge", "done", removed=[*earlier, *(name for name in removed if name not in earlier)])
        for target in purge.targets:
            _destroy(target)
    return purge


def _targets(run: Run, options: PurgeOptions) -> Iterator[Path]:
    """Only what forgetctl made, by the names that it gave."""
    kept_only_with_keys = [run.key_file, *_files(run.row_keys)] if options.keys else []
    scores = [*run.score_files().values(), *run.tracked_files().values()] if options.scores else []
    for path in (run.checkpoints, run.model_draft, run.start_file, *scores, *kept_only_with_keys):
        if path.exists() or path.is_symlink():
            yield path


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("request-*.key")) if folder.is_dir() and not folder.is_symlink() else []


def _destroy(path: Path) -> None:
    """Remove a file, a link itself, or a folder of ours with all in it."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _name(run: Run, path: Path) -> str:
    """A name for the record: below the run, or beside it."""
    return str(path.relative_to(run.path) if path.is_relative_to(run.path) else path.relative_to(run.path.parent))


def _remaining(run: Run) -> Iterator[tuple[str, str]]:
    """What forgetctl did not make and therefore does not touch."""
    inputs = run.record["inputs"]
    if path := inputs["forget"].get("path"):
        yield path, "the request, with the rows in plain text"
    model = inputs["model"]
    if run.record["kind"] == "unlearn":
        yield model["path"], "the model from before, which knows the rows"
    if (retain := inputs.get("retain", {}).get("path")) and retain != path:
        yield retain, "the retain rows: a whole training set holds the forget rows too"
    yield "backups and copies", "of these files, of the earlier model, and of adapters or quantised models made from it"
    yield "indexes and caches", "that were built from the same rows, such as for retrieval"
    if not run.record.get("requests"):
        return
    yield run.record["register"], "the register lists the affected artefacts of " + ", ".join(run.record["requests"])
