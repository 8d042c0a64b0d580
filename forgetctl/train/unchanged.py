"""Whether a run still is what it was started with: what must hold before it is resumed or verified."""

from __future__ import annotations

from pathlib import Path

import torch

from ..errors import InputError, RunError, UsageError
from ..files.writing import read_json
from ..model.load import resolve_model
from ..model.processes import Ranks
from ..progress import Progress
from ..rows.formats import Fields
from ..rows.refusals import SHIPPED, read_refusals, refusals_digest
from ..rows.sources import source_digest
from ..runs.run import Run
from .checkpoints import last_checkpoint
from .computing import known_plan
from .job import Job, Sample
from .neutral import rows_digest
from .options import UnlearnOptions


def check_inputs(run: Run, options: UnlearnOptions) -> None:
    """Raise RunError naming the first input, or frozen file, that is not what the run was started with."""
    run.check_frozen()
    for name, path in (("forget", options.forget), ("retain", options.retain)):
        if path is not None:
            run.check_unchanged(name, path, _commitment(run, path, options.fields), field="commitment")
    if options.holdout is not None:
        run.check_unchanged("holdout", options.holdout, _digest(options.holdout, options.fields))
    run.check_unchanged("refusals", options.refusals or SHIPPED, refusals_digest(read_refusals(options.refusals)))
    run.check_start(resolve_model(options.model, allow_download=options.allow_download))


def check_resumable(run: Run, ranks: Ranks) -> None:
    """Raise RunError for a run that has nothing to go on from, that another version of forgetctl began, or whose
    checkpoints these processes cannot read."""
    if run.stage_done("unlearn"):
        raise RunError(f"{run.path} was finished meanwhile")
    if not run.stage_done("pairing"):
        raise RunError(f"{run.path} was stopped before it had begun; start a new run")
    known_plan(run)
    sharded = run.record.get("stages", {}).get("unlearn", {}).get("sharded", False)
    if sharded != ranks.sharded and last_checkpoint(run.checkpoints) is not None:
        before, now = (("with" if spread else "without") for spread in (sharded, ranks.sharded))
        raise RunError(f"{run.path} was computed {before} FSDP, and its checkpoints cannot be continued {now} it")


def check_kind(run: Run) -> None:
    """Raise UsageError for a run that did not unlearn, RunError for one that was given up."""
    if run.record.get("kind") != "unlearn":
        raise UsageError(f"{run.path} verified a model that no run made; there is nothing to resume")
    if run.record.get("stages", {}).get("unlearn", {}).get("status") == "abandoned":
        raise RunError(f"{run.path} was abandoned and purged; start a new run")


def check_sample(run: Run, job: Job, sample: Sample) -> None:
    """Raise RunError where the retain sample is not the one that the run was started with."""
    if job.inputs.retain is None and run.record["inputs"]["retain"]["sha256"] != rows_digest(sample.rows):
        raise RunError(f"{run.path}: the start model answers the neutral prompts differently here; start a new run")
    if read_json(run.pairs_file) != sample.pairing.as_json():
        raise RunError(
            f"{run.path}: the retain sample cannot be chosen again alike, so the run cannot continue exactly"
        )


def say_if_inexact(run: Run, device: torch.device, progress: Progress) -> None:
    """Warn the owner of a device on which the run cannot go on bit by bit."""
    known = known_plan(run)
    if known is not None and not known.repeats(device):
        progress.say("On this device weights may end apart by rounding from those of a run that was not stopped.")


def _commitment(run: Run, path: Path, fields: Fields) -> str:
    try:
        return run.commit(path, fields=fields)
    except InputError:
        raise InputError(path, "cannot be read, but the run needs it") from None


def _digest(path: Path, fields: Fields) -> str:
    try:
        return source_digest(path, fields)
    except InputError:
        raise InputError(path, "cannot be read, but the run needs it") from None
