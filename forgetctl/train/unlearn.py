"""`forgetctl unlearn`: from a request to an unlearned model in a run directory."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from ..files.writing import write_json
from ..model.host import undisturbed
from ..model.load import choose_device
from ..model.memory import memory_within
from ..model.processes import Ranks, join
from ..model.protocol import Model
from ..progress import Progress
from ..recipe.recipe import Recipe, read_recipe
from ..runs.hooks import RunHooks
from ..runs.run import DEFAULT_RUNS, Run, new_run_path
from ._material import gather_material, load_start
from ._record import first_record
from .computing import refuse_beyond, refuse_full_disk
from .distributed import broadcast_run, main_progress
from .inputs import Inputs, read
from .job import Job, Sample
from .options import UnlearnOptions
from .precheck import precheck_scores, precheck_texts
from .prepare import own_sample, prepare
from .trainer import check_shardable
from .training import unlearn
from .unchanged import check_inputs, check_kind, check_resumable, check_sample, say_if_inexact


@undisturbed()
def run_unlearn(
    options: UnlearnOptions,
    recipe: Recipe,
    progress: Progress | None = None,
    inputs: Inputs | None = None,
    hooks: RunHooks | None = None,
) -> Run:
    """Unlearn the request and return the finished run. Raises as `prepare`, and Interrupted, DivergedError or
    MemoryExceeded.

    inputs: what the files hold, where they were read before. hooks: for whoever else has to do with the run.
    Where a launcher started several processes, each of them must call this. In those after the first, EndedElsewhere
    means that another one raises the reason.
    """
    work = _begin(options, progress, hooks)
    with memory_within(work.device, options.max_memory):
        return _run(work, options, recipe, inputs)


@undisturbed()
def resume_unlearn(path: Path, progress: Progress | None = None, hooks: RunHooks | None = None) -> Run:
    """Finish an interrupted run. Raises RunError if it, or what it started from, has changed; several processes as in
    `run_unlearn`, and not necessarily as many as before."""
    run = Run.open(path)
    check_kind(run)
    options = UnlearnOptions.from_json(run.record["options"])
    work = _begin(options, progress, hooks)
    if run.stage_done("unlearn"):
        work.progress.say(f"{run.path} is finished already.")
        if work.ranks.first:
            _tidy(run, options, work.hooks)
        return run
    with memory_within(work.device, options.max_memory):
        return _resume(work, run, options)


@dataclass(frozen=True)
class _Work:
    """Where a run is computed, and who watches. ranks: the processes that do it together."""

    ranks: Ranks
    device: torch.device
    progress: Progress
    hooks: RunHooks


def _begin(options: UnlearnOptions, progress: Progress | None, hooks: RunHooks | None) -> _Work:
    asked = choose_device(options.device)
    ranks = join(asked)
    device = ranks.device or asked
    return _Work(ranks, device, main_progress(ranks, progress, device), hooks or RunHooks())


def _run(work: _Work, options: UnlearnOptions, recipe: Recipe, inputs: Inputs | None) -> Run:
    ranks = work.ranks
    with ranks.agreed():
        check_shardable(recipe, ranks)
        inputs = inputs or read(options)
        work.hooks.check(options.requests, options.register)
        job = prepare(options, recipe, inputs)
        texts = precheck_texts(job, job.sample) if job.sample else None
        refuse_beyond(job, work.device, ranks)
        refuse_full_disk(job)
        model = load_start(job, work.device, work.device)
    for note in job.notes:
        work.progress.say(note)
    sample = _sample(work, job, model)
    with ranks.agreed():
        texts = texts or precheck_texts(job, sample)
    precheck = precheck_scores(job, texts, model, ranks, work.progress)
    with ExitStack() as held:

        def begin() -> Run:
            record = first_record(job, sample)
            job.start.files.check()  # the digest in the record is of what was loaded
            run = Run.create(options.out or new_run_path(DEFAULT_RUNS, recipe.name), record)
            held.enter_context(run.lock())
            run.stage("precheck", "done", **precheck.as_json())
            _freeze(run, job, sample, work.hooks)
            return run

        run = broadcast_run(ranks, begin)
        _train(work, run, job, sample, model)
    return run


def _resume(work: _Work, run: Run, options: UnlearnOptions) -> Run:
    ranks = work.ranks
    with ExitStack() as held:

        def begin() -> Run:
            held.enter_context(run.lock())
            check_resumable(run, ranks)
            check_inputs(run, options)
            return run

        run = broadcast_run(ranks, begin)
        with ranks.agreed():
            work.hooks.check(options.requests, options.register)
            job = prepare(options, read_recipe(run.recipe_file))
            model = load_start(job, work.device, work.device)
            run.check_start(job.facts.path)
            job.start.files.check()
            say_if_inexact(run, model.device, work.progress)
        sample = _sample(work, job, model)
        with ranks.agreed():
            if ranks.first:
                check_sample(run, job, sample)
        _train(work, run, job, sample, model)
    return run


def _tidy(run: Run, options: UnlearnOptions, hooks: RunHooks) -> None:
    """Do what is left if the last moment of a run was a kill."""
    if run.checkpoints.exists() or not run.card_file.exists():
        with run.lock():
            shutil.rmtree(run.checkpoints, ignore_errors=True)
            hooks.finished(run, options.register)


def _sample(work: _Work, job: Job, model: Model) -> Sample:
    """The retain sample, which the start model makes where there is no file."""
    return job.sample or work.ranks.from_first(lambda: own_sample(job, model, work.progress))


def _freeze(run: Run, job: Job, sample: Sample, hooks: RunHooks) -> None:
    """Write what must be fixed before training: recipe, bounds of the verdict, pairs, commitments, requests served."""
    run.freeze(job.recipe.to_yaml(), job.recipe.verify.bounds.model_dump())
    write_json(run.pairs_file, sample.pairing.as_json())
    run.commit_rows(job.inputs.parts)
    for name, file in (("forget", job.inputs.forget), ("retain", job.inputs.retain)):
        if file is not None:
            run.record["inputs"][name]["commitment"] = run.commit(file.path, file.sha256, job.options.fields)
    hooks.created(run, job.inputs.parts, job.options.register, job.recipe.name)
    run.bind()
    facts = {"retain_rows": len(sample.pairing.train), "check_rows": len(sample.pairing.check)}
    run.stage("pairing", "done", **facts, excluded=asdict(sample.pairing.excluded))


def _train(work: _Work, run: Run, job: Job, sample: Sample, model: Model) -> None:
    material = gather_material(run, job, sample, model, work.ranks, work.progress)
    with work.ranks.spoken_once(), work.progress.logged(run.progress_file):
        unlearn(run, material, job.recipe, work.progress)
    with work.ranks.agreed():
        if work.ranks.first:
            work.hooks.finished(run, job.options.register)
