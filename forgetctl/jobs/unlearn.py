"""`forgetctl unlearn`: from a request to an unlearned model in a run directory."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ..engine.encoding import Encoded, Encoder, encode_rows, marked
from ..engine.estimate import estimate
from ..engine.hardware import describe, versions
from ..engine.models import (
    ModelFacts,
    choose_device,
    inspect_model,
    load_model,
    load_tokenizer,
    resolve_model,
)
from ..errors import InputError, RunError, UsageError
from ..files import file_digest, model_digest, read_json, write_json
from ..maths.objectives import OBJECTIVES, WeightedSum
from ..progress import Progress, Silent
from ..recipe import Recipe, parse_recipe
from ..rows import Row
from ..run import DEFAULT_RUNS, Run, new_run_path, refuse_used
from ..stages.neutral import ORIGIN, own_answers, rows_digest
from ..stages.pairing import Pairing, choose_retain
from ..stages.refusals import SHIPPED, read_refusals, refusals_digest
from ..stages.request import RETAIN_LINE_BYTES, read_rows
from ..stages.requirements import check_lora, check_terms
from ..stages.unlearn import Material, unlearn
from .options import UnlearnOptions


@dataclass(frozen=True, repr=False)
class Sample:
    """The retain rows and which of them were chosen."""

    rows: list[Row]
    pairing: Pairing


@dataclass(frozen=True, repr=False)
class Job:
    """A checked request: everything that can be known before the model is loaded.

    sample is None where the start model has yet to make it.
    """

    options: UnlearnOptions
    recipe: Recipe
    facts: ModelFacts
    encoder: Encoder
    forget: list[Row]
    encoded: list[Encoded]
    cut: int
    refusals: list[str]
    sample: Sample | None

    @property
    def refusals_file(self) -> Path:
        """Where the refusals came from."""
        return self.options.refusals or SHIPPED


def prepare(options: UnlearnOptions, recipe: Recipe) -> Job:
    """Validate the whole request, without loading weights and without writing anything.

    Raises UsageError (InputError, ModelError) naming the file, and the line, of whatever is wrong.
    """
    if options.out is not None:
        refuse_used(options.out)
    forget = read_rows(options.forget, options.fields)
    facts = inspect_model(resolve_model(options.model, allow_download=options.allow_download))
    choose_device(options.device)
    encoder = Encoder(load_tokenizer(facts.path), recipe.prompt_format)
    encoded, cut = encode_rows(encoder, forget, options.forget, facts.context, recipe.max_length)
    job = Job(options, recipe, facts, encoder, forget, encoded, cut, read_refusals(options.refusals), None)
    check_lora(facts, recipe)
    check_terms(facts, recipe, forget, job.refusals, partial(_encode, job), job.refusals_file, options.forget)
    if options.retain is None:
        return job
    sample = _choose(job, read_retain(options), str(options.retain))
    _encode_retain(job, sample, (*sample.pairing.train, *sample.pairing.check))
    return replace(job, sample=sample)


def dry_run(options: UnlearnOptions, recipe: Recipe) -> tuple[dict[str, Any], tuple[str, str]]:
    """Check everything, train nothing: the facts of the job with its cost, and its first row decoded.

    The row comes as what the model is given and what is scored. Memory is in bytes. Raises as `prepare`.
    """
    job = prepare(options, recipe)
    retain: Sequence[Encoded] = []
    if WeightedSum(recipe.weighted_terms(), {}).needs_retain:
        # A sample that has yet to be made is taken to be like the request.
        retain = _encode_retain(job, job.sample, job.sample.pairing.train) if job.sample else job.encoded
    cost = estimate(job.facts, job.encoded, retain, recipe, choose_device(options.device))
    facts = {
        "forget_rows": len(job.forget),
        "rows_cut": job.cut,
        "retain_rows": len(job.sample.pairing.train) if job.sample else None,
        "method": recipe.name,
        "prompt_format": "chat template" if job.encoder.uses_template else "plain, from the recipe",
        "parameters": cost.parameters,
        "optimizer_steps": cost.steps,
        "longest_row_tokens": cost.longest,
        "peak_memory_bytes": cost.memory,
        "seconds": round(cost.seconds, 1),
    }
    return facts, marked(job.encoder, job.encoded[0])


def run_unlearn(options: UnlearnOptions, recipe: Recipe, progress: Progress | None = None) -> Run:
    """Unlearn the request and return the finished run. Raises as `prepare`, and Interrupted or DivergedError."""
    job = prepare(options, recipe)
    progress = progress or Silent()
    if job.cut:
        progress.say(f"{job.cut} of {len(job.forget)} forget rows are cut at {recipe.max_length} tokens.")
    model = load_model(job.facts.path, choose_device(options.device), torch.float32)
    sample = job.sample or _own_sample(job, model, progress)
    run = Run.create(options.out or new_run_path(DEFAULT_RUNS, recipe.name), _record(job, sample))
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
    with run.lock():
        if not run.stage_done("pairing"):
            raise RunError(f"{run.path} was stopped before it had begun; start a new run")
        options = UnlearnOptions.from_json(run.record["options"])
        check_inputs(run, options)
        job = prepare(options, parse_recipe(run.recipe_file.read_text(encoding="utf-8")))
        model = load_model(job.facts.path, choose_device(options.device), torch.float32)
        sample = job.sample or _own_sample(job, model, progress)
        _check_sample(run, job, sample)
        _train(run, job, sample, model, progress)
    return run


def read_retain(options: UnlearnOptions) -> list[Row]:
    """The rows of the retain file, whose lines may be longer than a request's. Empty without a file."""
    return read_rows(options.retain, options.fields, max_line=RETAIN_LINE_BYTES) if options.retain else []


def check_inputs(run: Run, options: UnlearnOptions) -> None:
    """Raise RunError naming the first input, or frozen file, that is not what the run was started with."""
    run.check_frozen()
    try:
        run.check_unchanged("forget", options.forget, run.commit(options.forget), field="commitment")
    except OSError:
        raise InputError(options.forget, "cannot be read, but the run needs it") from None
    if options.retain is not None:
        run.check_unchanged("retain", options.retain, file_digest(options.retain))
    run.check_unchanged("refusals", options.refusals or SHIPPED, refusals_digest(read_refusals(options.refusals)))
    model = resolve_model(options.model, allow_download=options.allow_download)
    run.check_unchanged("model", model, model_digest(model))


def _choose(job: Job, rows: list[Row], origin: str) -> Sample:
    try:
        return Sample(rows, choose_retain(job.forget, rows, job.recipe.retain, job.recipe.seed))
    except UsageError as error:
        raise UsageError(f"{origin}: {error}") from None


def _own_sample(job: Job, model: Any, progress: Progress) -> Sample:
    """The start model's answers to neutral prompts, for an owner who has no retain file."""
    progress.say("No --retain given: holding the model to its own answers to 300 neutral prompts.")
    with progress.bar("Asking the start model", 300) as bar:
        rows = own_answers(model, job.encoder, job.recipe.retain.answer_tokens, job.facts.context, bar.advance)
    return _choose(job, rows, ORIGIN)


def _encode_retain(job: Job, sample: Sample, positions: Sequence[int]) -> list[Encoded]:
    rows = [sample.rows[position] for position in positions]
    return _encode(job, rows, job.options.retain or Path("neutral prompts"))


def _encode(job: Job, rows: Sequence[Row], origin: Path) -> list[Encoded]:
    return encode_rows(job.encoder, rows, origin, job.facts.context, job.recipe.max_length)[0]


def _train(run: Run, job: Job, sample: Sample, model: Any, progress: Progress) -> None:
    encoded = _encode_retain(job, sample, sample.pairing.train)
    material = Material(
        model=model,
        tokenizer=job.encoder.tokenizer,
        facts=job.facts,
        forget=job.encoded,
        retain=encoded,
        forget_rows=job.forget,
        refusals=job.refusals,
        encode=lambda rows: _encode(job, rows, job.options.forget),
    )
    unlearn(run, material, job.recipe, progress)


def _freeze(run: Run, job: Job, sample: Sample) -> None:
    """Write what must be fixed before training: recipe, bounds of the verdict, pairs, commitment."""
    run.freeze(job.recipe.to_yaml(), asdict(job.recipe.verify.bounds))
    write_json(run.pairs_file, sample.pairing.as_json())
    run.record["inputs"]["forget"]["commitment"] = run.commit(job.options.forget)
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


def _record(job: Job, sample: Sample) -> dict[str, Any]:
    """The first content of run.json."""
    terms = job.recipe.weighted_terms()
    retain_path = job.options.retain
    return {
        "kind": "unlearn",
        "versions": versions(),
        "platform": describe(),
        "device": str(choose_device(job.options.device)),
        "argv": list(job.options.argv),
        "options": job.options.as_json(),
        "seed": job.recipe.seed,
        "objective": {
            "method": job.recipe.name,
            "formula": " + ".join(f"{weight:g} * {name}" for name, weight in terms.items()),
            "terms": [
                {
                    "name": name,
                    "weight": weight,
                    "formula": OBJECTIVES[name].formula,
                    "source": OBJECTIVES[name].source,
                }
                for name, weight in terms.items()
            ],
        },
        "inputs": {
            "model": {
                "name": job.facts.path.resolve().name,
                "path": str(job.facts.path),
                "sha256": model_digest(job.facts.path),
                "bytes": job.facts.bytes,
            },
            "forget": {"path": str(job.options.forget), "rows": len(job.forget), "cut": job.cut},
            "refusals": {"path": str(job.refusals_file), "sha256": refusals_digest(job.refusals)},
            "retain": {
                "path": str(retain_path) if retain_path else None,
                "rows": len(sample.rows),
                "origin": "file" if retain_path else ORIGIN,
                "sha256": file_digest(retain_path) if retain_path else rows_digest(sample.rows),
            },
        },
    }
