"""A checked job and a loaded start model -> all that training needs."""

from __future__ import annotations

from pathlib import Path

import torch

from ..model.load import load_for_training
from ..model.processes import Ranks
from ..model.protocol import Model
from ..progress import Progress
from ..runs.run import Run
from ._tracked_scores import score_in_training
from .computing import find_plan, rows_by_role
from .job import Job, Sample
from .levels import levels_of
from .plan import training_dtype, usable_memory
from .term_inputs import OtherAnswers
from .training import Material, StartModelFiles


def load_start(job: Job, where: torch.device, computed_on: torch.device) -> Model:
    """The start model as it is trained on the device `computed_on`, in the memory of `where`."""
    return load_for_training(job.facts, where, job.recipe, training_dtype(job.recipe, job.facts, computed_on))


def gather_material(run: Run, job: Job, sample: Sample, model: Model, ranks: Ranks, progress: Progress) -> Material:
    """Find out how to compute and where forgetting ends, or read both from a run that began before.

    Every process must call this. Raises RunError for what the run does not say of this job, MemoryExceeded.
    """
    free = min(ranks.gather(usable_memory(model, ranks)))
    plan = ranks.from_first(lambda: find_plan(run, job, sample, model, free, ranks))
    progress.say(f"Computing with {plan.why}.")
    if ranks.count > 1:
        progress.say(f"{ranks.count} processes compute a share of every step each.")
    unseen = job.unseen.encoded
    return Material(
        model=model,
        files=StartModelFiles(
            facts=job.facts,
            reload=lambda: load_start(job, torch.device("cpu"), model.device),
            check=lambda: run.check_start(job.facts.path),
            adapter_of=_base_name(job) if job.options.keep_adapter else None,
        ),
        rows=rows_by_role(job, sample.train),
        answers=OtherAnswers(job.forget, job.inputs.refusals, lambda rows: job.encode(rows, job.options.forget)),
        plan=plan,
        levels=levels_of(run, model, unseen, job.encoded, sample.train, ranks) if unseen else None,
        measure=score_in_training(job, sample) if job.options.track else None,
        ranks=ranks,
    )


def _base_name(job: Job) -> str:
    """What the start model is called where others read it: its id on the hub, or the name of its directory."""
    given = job.options.model
    return job.start.name if Path(given).exists() else given
