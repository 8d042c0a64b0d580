"""`forgetctl unlearn`: from a request to an unlearned model in a run directory."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from ..engine.encoding import Encoded
from ..engine.estimate import static_bytes
from ..engine.fit import DTYPES, Fit, choose_fit, free_memory, training_precision
from ..engine.models import choose_device, load_for_training, resolve_model
from ..engine.row_scorer import RowScorer
from ..errors import InputError, RunError
from ..files import file_digest, model_digest, read_json, write_json
from ..maths.objectives import WeightedSum
from ..progress import Progress, Silent
from ..recipe import Recipe, parse_recipe
from ..run import DEFAULT_RUNS, Run, new_run_path
from ..scores import Scores, ScoreSet
from ..stages.neutral import rows_digest
from ..stages.pairing import with_perturbed
from ..stages.refusals import SHIPPED, read_refusals, refusals_digest
from ..stages.unlearn import Material, unlearn
from .binding import bind
from .card import write_card
from .options import UnlearnOptions
from .prepare import Job, Sample, encode, encode_retain, own_sample, prepare
from .record import first_record


def run_unlearn(options: UnlearnOptions, recipe: Recipe, progress: Progress | None = None) -> Run:
    """Unlearn the request and return the finished run. Raises as `prepare`, and Interrupted or DivergedError."""
    job = prepare(options, recipe)
    progress = progress or Silent()
    if job.cut:
        progress.say(f"{job.cut} of {len(job.forget)} forget rows are cut at {recipe.max_length} tokens.")
    model = _start(job)
    sample = job.sample or own_sample(job, model, progress)
    run = Run.create(options.out or new_run_path(DEFAULT_RUNS, recipe.name), first_record(job, sample))
    with run.lock():
        _freeze(run, job, sample)
        _train(run, job, sample, model, progress)
    return run


def resume_unlearn(path: Path, progress: Progress | None = None) -> Run:
    """Finish an interrupted run. Raises RunError if it, or what it started from, has changed."""
    run = Run.open(path)
    progress = progress or Silent()
    if run.stage_done("unlearn"):
        progress.say(f"{run.path} is finished already.")
        shutil.rmtree(run.checkpoints, ignore_errors=True)  # left if the last moment of the run was a kill
        return run
    if run.record.get("stages", {}).get("unlearn", {}).get("status") == "abandoned":
        raise RunError(f"{run.path} was abandoned and purged; start a new run")
    with run.lock():
        if not run.stage_done("pairing"):
            raise RunError(f"{run.path} was stopped before it had begun; start a new run")
        options = UnlearnOptions.from_json(run.record["options"])
        check_inputs(run, options)
        job = prepare(options, parse_recipe(run.recipe_file.read_text(encoding="utf-8")))
        model = _start(job)
        sample = job.sample or own_sample(job, model, progress)
        _check_sample(run, job, sample)
        _train(run, job, sample, model, progress)
    return run


def check_inputs(run: Run, options: UnlearnOptions) -> None:
    """Raise RunError naming the first input, or frozen file, that is not what the run was started with."""
    run.check_frozen()
    for name, path in (("forget", options.forget), ("retain", options.retain)):
        if path is not None:
            _check_rows(run, name, path)
    run.check_unchanged("refusals", options.refusals or SHIPPED, refusals_digest(read_refusals(options.refusals)))
    model = resolve_model(options.model, allow_download=options.allow_download)
    run.check_unchanged("model", model, model_digest(model))


def _check_rows(run: Run, name: str, path: Path) -> None:
    try:
        if "commitment" in run.record["inputs"][name]:
            run.check_unchanged(name, path, run.commit(path), field="commitment")
        else:  # the retain file of a run by forgetctl 0.1
            run.check_unchanged(name, path, file_digest(path))
    except OSError:
        raise InputError(path, "cannot be read, but the run needs it") from None


def _train(run: Run, job: Job, sample: Sample, model: Any, progress: Progress) -> None:
    encoded = encode_retain(job, sample, sample.pairing.train)
    fit = _fit(run, job, encoded, model)
    progress.say(f"Computing with {fit.why}.")
    material = Material(
        model=model,
        tokenizer=job.encoder.tokenizer,
        facts=job.facts,
        forget=job.encoded,
        retain=encoded,
        forget_rows=job.forget,
        refusals=job.refusals,
        encode=lambda rows: encode(job, rows, job.options.forget),
        fit=fit,
        measure=_measure(job, sample) if job.options.track else None,
    )
    unlearn(run, material, job.recipe, progress)
    write_card(run)


def _start(job: Job) -> Any:
    device = choose_device(job.options.device)
    precision, _ = training_precision(job.recipe, job.facts, device)
    return load_for_training(job.facts, device, job.recipe, DTYPES.get(precision, torch.float32))


def _fit(run: Run, job: Job, retain: Sequence[Encoded], model: Any) -> Fit:
    """How the run was computed before it was interrupted, else what suits the machine."""
    known = run.record.get("stages", {}).get("unlearn", {}).get("computing")
    if known is not None:
        try:
            return Fit.from_json(known)
        except (TypeError, KeyError):
            raise RunError(f"{run.record_file} is damaged: it does not say how the run was computed") from None
    if not WeightedSum(job.recipe.weighted_terms(), {}).needs_retain:
        retain = []
    static = static_bytes(job.facts, job.recipe, model.device)
    free = free_memory(model.device) + model.get_memory_footprint()  # the weights are counted in `static`
    return choose_fit(job.facts, job.encoded, retain, job.recipe, model.device, static=static, free=free)


def _measure(job: Job, sample: Sample) -> Callable[[Any], Scores]:
    """What scores the model in training, as `verify` will score it but for generated answers."""
    check = [sample.rows[position] for position in sample.pairing.check]
    forget, perturbed = with_perturbed(job.forget, check, job.recipe.verify.distractors)
    sets = {"forget": forget, "retain": check}

    def measure(model: Any) -> Scores:
        scorer = RowScorer(
            model,
            job.encoder,
            lambda rows: encode(job, rows, job.options.forget),
            job.recipe.verify,
            job.facts.context,
            job.recipe.seed,
            lambda _: None,
        )
        scored: dict[str, ScoreSet] = {
            name: scorer.scores(rows, tokens=False, truth=name == "forget") for name, rows in sets.items()
        }
        return Scores(role="unlearned", name="in training", perturbed=perturbed, sets=scored)

    return measure


def _freeze(run: Run, job: Job, sample: Sample) -> None:
    """Write what must be fixed before training: recipe, bounds of the verdict, pairs, commitments, requests served."""
    run.freeze(job.recipe.to_yaml(), asdict(job.recipe.verify.bounds))
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
