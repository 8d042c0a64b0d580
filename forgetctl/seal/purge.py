"""`forgetctl purge`: destroy what must not outlive the request, and say what only the owner can delete."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import RunError
from ..files.folders import drafts_of
from ..files.plain_text import one_line
from ..files.writing import draft_prefix, read_json
from ..runs.events import read_chain
from ..runs.run import Run


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
    abandoned: bool = False


def plan_purge(options: PurgeOptions) -> Purge:
    """What a purge would do. Raises RunError for a run that is not finished and is not to be abandoned."""
    run = Run.open(options.path)
    unfinished = run.record.get("kind") == "unlearn" and not run.stage_done("unlearn")
    if unfinished and not options.abandon:
        raise RunError(
            f"{run.path} is not finished; without its checkpoints it never can be (--abandon destroys them anyway)"
        )
    wanted = [path for path in _wanted(run, options) if path.exists() or path.is_symlink()]
    # A link is nothing that forgetctl makes: neither it nor what it leads to is ours to destroy.
    links = [path for path in wanted if path.is_symlink() or path.parent.is_symlink()]
    targets = tuple(path for path in wanted if path not in links)
    return Purge(run, targets, (*_linked(links), *_remaining(run, options)), unfinished)


def run_purge(purge: Purge) -> Purge:
    """Destroy what was planned, no more, and record in the run's events what was begun and what is gone.

    Raises RunError if another command holds the run or finished it meanwhile, OSError for what cannot be removed.
    """
    run = purge.run
    with run.lock():
        if purge.abandoned:
            if run.stage_done("unlearn"):
                raise RunError(f"{run.path} was finished meanwhile; nothing was destroyed")
            run.stage("unlearn", "abandoned")
        names = [_name(run, target) for target in purge.targets]
        earlier = run.record.get("stages", {}).get("purge", {}).get("removed", [])
        run.stage("purge", "running", targets=names)
        for target in purge.targets:
            _destroy(target)
        if run.row_keys.is_dir() and not any(run.row_keys.iterdir()):
            run.row_keys.rmdir()
        run.stage("purge", "done", removed=[*earlier, *(name for name in names if name not in earlier)])
    return purge


def _wanted(run: Run, options: PurgeOptions) -> Iterator[Path]:
    """What forgetctl made, by the names that it gave, with the drafts that a crash can have left."""
    files = [run.start_file, run.levels_file]
    if options.scores:
        files += [*run.score_files().values(), *run.tracked_files().values()]
    if options.keys:
        files += [run.key_file, *_matching(run.row_keys, "request-*.key")]
    yield run.checkpoints
    for folder in (run.model_dir, run.adapter_dir, run.bundle):
        yield from drafts_of(folder)
    yield from _matching(run.path, ".*-draft")  # of the model and the adapter, as 0.1 called them
    for file in files:
        yield file
        yield from drafts_of(file)
    if options.keys:
        yield from _matching(run.row_keys, draft_prefix(run.row_keys / "request-*.key") + "*")


def _matching(folder: Path, pattern: str) -> list[Path]:
    return sorted(folder.glob(pattern)) if folder.is_dir() and not folder.is_symlink() else []


def _destroy(path: Path) -> None:
    """Remove a file, or a folder with all in it; links in it are removed and not followed."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _name(run: Run, path: Path) -> str:
    """A name for the record: below the run, or beside it."""
    return one_line(path.relative_to(run.path if path.is_relative_to(run.path) else run.path.parent).as_posix())


def _linked(links: list[Path]) -> Iterator[tuple[str, str]]:
    for path in links:
        yield str(path), f"a link that forgetctl did not make, to {path.resolve()}; neither was touched"


def _remaining(run: Run, options: PurgeOptions) -> Iterator[tuple[str, str]]:
    """What forgetctl did not make, or made to be kept, and therefore does not touch."""
    inputs: dict[str, dict[str, Any]] = run.record.get("inputs", {})
    request = inputs.get("forget", {}).get("path")
    if request:
        yield request, "the request, with the rows in plain text"
    for name in _verified_with(run):
        yield name, "given to verify, with the rows in other words or with more about them"
    if run.record.get("kind") == "unlearn" and (start := inputs.get("model", {}).get("path")):
        yield start, "the model from before, which knows the rows"
    if (retain := inputs.get("retain", {}).get("path")) and retain != request:
        yield retain, "the retain rows: a whole training set holds the forget rows too"
    for bundle in dict.fromkeys(_bundles(run)):
        yield bundle, "sealed: made to be kept, and it holds the scores by row"
    if run.adapter_dir.exists():
        yield str(run.adapter_dir), "taken off the unlearned model again it leaves the model from before"
    if not options.keys and run.row_keys.exists():
        yield str(run.row_keys), "keys of the commitments; with --keys they go too"
    yield "backups and copies", "of these files, of the earlier model, and of adapters or quantised models made from it"
    yield "indexes and caches", "that were built from the same rows, such as for retrieval"
    if served := run.record.get("requests"):
        yield str(run.record.get("register")), "the register lists the affected artefacts of " + ", ".join(served)


def _verified_with(run: Run) -> list[str]:
    """Names of further files with text of the request, as the verdict has them."""
    if not run.verdict_file.is_file():
        return []
    given = read_json(run.verdict_file).get("inputs", [])
    return [str(part["name"]) for part in given if part.get("role") in ("forget", "rephrased")]


def _bundles(run: Run) -> list[str]:
    """Names of the bundles that were sealed from the run."""
    events = read_chain(run.events_file.read_bytes()) if run.events_file.is_file() else []
    return [str(event.facts.get("bundle")) for event in events if event.event == "seal"]
