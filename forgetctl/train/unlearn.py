"""`forgetctl unlearn`: from a request to an unlearned model in a run directory."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import torch

from ..cli.binding import bind
from ..errors import InputError, RunError, UsageError
from ..files.writing import file_digest, read_json, write_json
from ..model.host import undisturbed
from ..model.load import choose_device, load_for_training, resolve_model
from ..model.memory import memory_within
from ..model.processes import Ranks, join
from ..model.protocol import Model
from ..model.row_scorer import RowScorer
from ..model.scores import Scores, ScoreSet
from ..progress import Progress
from ..recipe.recipe import Recipe, read_recipe
from ..report.write_card import write_card
from ..rows.pairing import with_perturbed
from ..rows.refusals import SHIPPED, read_refusals, refusals_digest
from ..runs.run import DEFAULT_RUNS, Run, new_run_path
from .bystander import shared, told_by
from .checkpoints import last_checkpoint
from .computing import find_plan, refuse_beyond
from .levels import levels_of
from .neutral import rows_digest
from .options import UnlearnOptions
from .plan import ComputePlan, training_dtype, usable_memory
from .precheck import look_at_scores, look_at_texts
from .prepare import (
    Job,
    Sample,
    encode,
    encode_retain,
    encode_unseen,
    own_sample,
    prepare,
    refuse_full_disk,
    rows_by_role,
)
from .record import first_record
from .term_inputs import OtherAnswers
from .trainer import check_shardable
from .training import Material, ModelFiles, unlearn


@undisturbed()
def run_unlearn(options: UnlearnOptions, recipe: Recipe, progress: Progress | None = None) -> Run:
    """Unlearn the request and return the finished run. Raises as `prepare`, and Interrupted, DivergedError or
    MemoryExceeded.

    Where a launcher started several processes, each of them must call this. In those after the first, EndedElsewhere
    means that another one raises the reason.
    """
    ranks = join(choose_device(options.device))
    device = _device(options, ranks)
    with memory_within(device, options.max_memory):
        return _run(options, recipe, ranks, told_by(ranks, progress, device))


def _run(options: UnlearnOptions, recipe: Recipe, ranks: Ranks, progress: Progress) -> Run:
    with ranks.agreed():
        check_shardable(recipe, ranks)
        job = prepare(options, recipe)
        looked = look_at_texts(job, job.sample) if job.sample else None
        unseen = encode_unseen(job)
        refuse_beyond(job, _device(options, ranks), ranks)
        refuse_full_disk(job)
        model = _start(job, ranks)
    for note in job.notes:
        progress.say(note)
    sample = job.sample or ranks.from_first(lambda: own_sample(job, model, progress))
    with ranks.agreed():
        looked = looked or look_at_texts(job, sample)
    looked = look_at_scores(job, looked, unseen, model, ranks, progress)
    with ExitStack() as held:

        def begin() -> Run:
            record = first_record(job, sample)
            job.start.files.check()  # the digest in the record is of what was loaded
            run = Run.create(options.out or new_run_path(DEFAULT_RUNS, recipe.name), record)
            held.enter_context(run.lock())
            run.stage("precheck", "done", **looked.as_json())
            _freeze(run, job, sample)
            return run

        run = shared(ranks, begin)
        _train(run, job, sample, model, ranks, progress)
    return run


@undisturbed()
def resume_unlearn(path: Path, progress: Progress | None = None) -> Run:
    """Finish an interrupted run. Raises RunError if it, or what it started from, has changed; several processes as in
    `run_unlearn`, and not necessarily as many as before."""
    run = Run.open(path)
    if run.record.get("kind") != "unlearn":
        raise UsageError(f"{run.path} verified a model that no run made; there is nothing to resume")
    if run.record.get("stages", {}).get("unlearn", {}).get("status") == "abandoned":
        raise RunError(f"{run.path} was abandoned and purged; start a new run")
    options = UnlearnOptions.from_json(run.record["options"])
    ranks = join(choose_device(options.device))
    progress = told_by(ranks, progress, _device(options, ranks))
    if run.stage_done("unlearn"):
        progress.say(f"{run.path} is finished already.")
        if ranks.first:
            _tidy(run)
        return run
    with memory_within(_device(options, ranks), options.max_memory):
        return _resume(run, options, ranks, progress)


def _resume(run: Run, options: UnlearnOptions, ranks: Ranks, progress: Progress) -> Run:
    with ExitStack() as held:

        def begin() -> Run:
            held.enter_context(run.lock())
            if run.stage_done("unlearn"):
                raise RunError(f"{run.path} was finished meanwhile")
            if not run.stage_done("pairing"):
                raise RunError(f"{run.path} was stopped before it had begun; start a new run")
            check_inputs(run, options)
            _check_engine(run, ranks)
            return run

        run = shared(ranks, begin)
        with ranks.agreed():
            job = prepare(options, read_recipe(run.recipe_file))
            model = _start(job, ranks)
            run.check_start(job.facts.path)
            job.start.files.check()
            _tell_if_inexact(run, model.device, progress)
        sample = job.sample or ranks.from_first(lambda: own_sample(job, model, progress))
        with ranks.agreed():
            if ranks.first:
                _check_sample(run, job, sample)
        _train(run, job, sample, model, ranks, progress)
    return run


def _tell_if_inexact(run: Run, device: torch.device, progress: Progress) -> None:
    known = run.record.get("stages", {}).get("unlearn", {}).get("computing")
    if known is not None and not ComputePlan.from_json(known).repeats(device):
        progress.say("On this device weights may end apart by rounding from those of a run that was not stopped.")


def _tidy(run: Run) -> None:
    """Do what is left if the last moment of a run was a kill."""
    if run.checkpoints.exists() or not run.card_file.exists():
        with run.lock():
            shutil.rmtree(run.checkpoints, ignore_errors=True)
            write_card(run)


def _check_engine(run: Run, ranks: Ranks) -> None:
    sharded = run.record.get("stages", {}).get("unlearn", {}).get("sharded", False)
    if sharded != ranks.sharded and last_checkpoint(run.checkpoints) is not None:
        before, now = (("with" if spread else "without") for spread in (sharded, ranks.sharded))
        raise RunError(f"{run.path} was computed {before} FSDP, and its checkpoints cannot be continued {now} it")


def check_inputs(run: Run, options: UnlearnOptions) -> None:
    """Raise RunError naming the first input, or frozen file, that is not what the run was started with."""
    run.check_frozen()
    for name, path in (("forget", options.forget), ("retain", options.retain)):
        if path is not None:
            _check_rows(run, name, path)
    if options.holdout is not None:
        run.check_unchanged("holdout", options.holdout, _digest_of(options.holdout))
    run.check_unchanged("refusals", options.refusals or SHIPPED, refusals_digest(read_refusals(options.refusals)))
    model = resolve_model(options.model, allow_download=options.allow_download)
    run.check_start(model)


def _digest_of(path: Path) -> str:
    try:
        return file_digest(path)
    except OSError:
        raise InputError(path, "cannot be read, but the run needs it") from None


def _check_rows(run: Run, name: str, path: Path) -> None:
    try:
        if "commitment" in run.record["inputs"][name]:
            run.check_unchanged(name, path, run.commit(path), field="commitment")
        else:  # the retain file of a run by forgetctl 0.1
            run.check_unchanged(name, path, file_digest(path))
    except InputError:
        raise InputError(path, "cannot be read, but the run needs it") from None


def _train(run: Run, job: Job, sample: Sample, model: Model, ranks: Ranks, progress: Progress) -> None:
    with ranks.agreed():
        encoded = job.retained if job.sample else encode_retain(job, sample, sample.pairing.train)
    free = min(ranks.gather(usable_memory(model, ranks)))
    plan = ranks.from_first(lambda: find_plan(run, job, encoded, model, free, ranks))
    progress.say(f"Computing with {plan.why}.")
    if ranks.count > 1:
        progress.say(f"{ranks.count} processes compute a share of every step each.")
    material = Material(
        model=model,
        files=ModelFiles(
            facts=job.facts,
            reload=lambda: _load(job, torch.device("cpu"), model.device),
            check=lambda: run.check_start(job.facts.path),
            adapter_of=_base_name(job) if job.options.keep_adapter else None,
        ),
        rows=rows_by_role(job, encoded),
        answers=OtherAnswers(job.forget, job.refusals, lambda rows: encode(job, rows, job.options.forget)),
        plan=plan,
        levels=levels_of(run, model, encode_unseen(job), job.encoded, encoded, ranks) if job.unseen else None,
        measure=_measure(job, sample) if job.options.track else None,
        ranks=ranks,
    )
    with ranks.spoken_once(), progress.logged(run.progress_file):
        unlearn(run, material, job.recipe, progress)
    with ranks.agreed():
        if ranks.first:
            write_card(run)


def _base_name(job: Job) -> str:
    """What the start model is called where others read it: its id on the hub, or the name of its directory."""
    given = job.options.model
    return job.start.name if Path(given).exists() else given


def _start(job: Job, ranks: Ranks) -> Model:
    device = _device(job.options, ranks)
    return _load(job, device, device)


def _device(options: UnlearnOptions, ranks: Ranks) -> torch.device:
    return ranks.device or choose_device(options.device)


def _load(job: Job, where: torch.device, computed_on: torch.device) -> Model:
    return load_for_training(job.facts, where, job.recipe, training_dtype(job.recipe, job.facts, computed_on))


def _measure(job: Job, sample: Sample) -> Callable[[Model], Scores]:
    """What scores the model in training, as `verify` will score it but for generated answers."""
    check = [sample.rows[position] for position in sample.pairing.check]
    forget, perturbed = with_perturbed(job.forget, check, job.recipe.verify.distractors)
    sets = {"forget": forget, "retain": check}

    def measure(model: Model) -> Scores:
        scorer = RowScorer(
            model=model,
            encoder=job.encoder,
            encode=lambda rows: encode(job, rows, job.options.forget),
            settings=job.recipe.verify,
            context=job.facts.context,
            seed=job.recipe.seed,
            advance=lambda _: None,
        )
        scored: dict[str, ScoreSet] = {
            name: scorer.scores(rows, tokens=False, truth=name == "forget") for name, rows in sets.items()
        }
        return Scores(role="unlearned", name="in training", perturbed=perturbed, sets=scored)

    return measure


def _freeze(run: Run, job: Job, sample: Sample) -> None:
    """Write what must be fixed before training: recipe, bounds of the verdict, pairs, commitments, requests served."""
    run.freeze(job.recipe.to_yaml(), job.recipe.verify.bounds.model_dump())
    write_json(run.pairs_file, sample.pairing.as_json())
    run.commit_rows(job.parts)
    run.record["inputs"]["forget"]["commitment"] = run.commit(job.options.forget)
    if job.options.retain is not None:
        run.record["inputs"]["retain"]["commitment"] = run.commit(job.options.retain)
    bind(run, job.parts, job.options.register, job.recipe.name)
    run.stage(
        "pairing",
        "done",
        retain_rows=len(sample.pairing.train),
        check_rows=len(sample.pairing.check),
        excluded=asdict(sample.pairing.excluded),
    )


def _check_sample(run: Run, job: Job, sample: Sample) -> None:
    if job.options.retain is None and run.record["inputs"]["retain"]["sha256"] != rows_digest(sample.rows):
        raise RunError(f"{run.path}: the start model answers the neutral prompts differently here; start a new run")
    if read_json(run.pairs_file) != sample.pairing.as_json():
        raise RunError(
            f"{run.path}: the retain sample cannot be chosen again alike, so the run cannot continue exactly"
        )
