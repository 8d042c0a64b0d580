"""`forgetctl verify`: score the saved artefact against what never saw the rows, and reach a verdict."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, get_args

import torch

from ..engine.encoding import Encoder
from ..engine.hardware import describe, versions
from ..engine.models import choose_device, inspect_model, load_model, load_tokenizer, resolve_model
from ..errors import InputError, RunError, UsageError
from ..maths.verdict import Bounds
from ..progress import Progress, Silent
from ..recipe import Recipe, load_recipe, parse_recipe
from ..rows import Row, normalise
from ..run import (
    DEFAULT_RUNS,
    LATEST,
    Run,
    file_digest,
    model_digest,
    new_run_path,
    now,
    read_json,
    text_digest,
    write_json,
)
from ..scores import Role, check_rows
from ..stages.judge import Comparison, conclude
from ..stages.neutral import own_answers
from ..stages.pairing import similar_answers
from ..stages.reference import ModelReference, Reference, find_reference
from ..stages.request import Fields, read_rows
from ..stages.verify import Measured, RowSets, Scorer, check_fit
from .options import UnlearnOptions, VerifyOptions
from .unlearn import check_inputs, read_retain


@dataclass(frozen=True, repr=False)
class Subject:
    """A run with everything that its verification reads."""

    run: Run
    recipe: Recipe
    model: Path
    start: Path | None
    sets: RowSets
    reference: Reference


def run_verify(
    options: VerifyOptions, recipe: Recipe | None = None, progress: Progress | None = None
) -> dict[str, Any]:
    """Verify and return the content of verdict.json.

    Raises UsageError for options or files that do not fit, RunError for a run that is unfinished or has changed.
    """
    progress = progress or Silent()
    device = choose_device(options.device)
    reference = find_reference(options.reference)
    if options.model is None:
        subject = _of_run(options, reference, device, progress)
    else:
        subject = _of_model(options, options.model, reference, recipe or load_recipe())
    with subject.run.lock():
        digest = _digest(subject, options)
        if not options.force and subject.run.stage_done("verify"):
            stored = read_json(subject.run.verdict_file)
            if stored.get("digest") == digest:
                progress.say(
                    "Nothing has changed since the last verification; this is its verdict (--force repeats it)."
                )
                return stored
        subject.run.stage("verify", "running")
        verdict = {**_measure(subject, options, device, progress), "created": now(), "digest": digest}
        write_json(subject.run.verdict_file, verdict)
        subject.run.stage("verify", "done", verdict=verdict["verdict"])
    return verdict


def _refuse_own_model(model: Path, start: Path | None, reference: Reference) -> None:
    """Raise InputError if the reference is the verified model, or the start model, which did see the rows."""
    if reference is None:
        return
    if isinstance(reference, ModelReference):
        found: str | None = model_digest(reference.path)
    else:
        found = reference.scores.sha256
    for path, name in ((model, "verified"), (start, "start")):
        if path is not None and found == model_digest(path):
            raise InputError(reference.path, f"is the {name} model itself, so it is no reference")


def _measure(subject: Subject, options: VerifyOptions, device: torch.device, progress: Progress) -> dict[str, Any]:
    scorer = Scorer(subject.sets, subject.recipe, device, progress)
    unlearned = scorer.unlearned(subject.model)
    kind: Comparison = "holdout" if subject.sets.holdout else "none"
    if isinstance(subject.reference, ModelReference):
        scorer.reference(subject.reference.path)
        kind = "model"
    elif subject.reference is not None:
        check_rows(subject.reference.path, subject.reference.scores, subject.reference.kind, unlearned)
        scorer.measured.scores["reference"] = subject.reference.scores
        kind = subject.reference.kind
    if subject.start is not None:
        scorer.start(subject.start)
    _write_scores(subject.run, scorer.measured)
    bounds = Bounds(**read_json(subject.run.plan_file)["bounds"])
    return conclude(scorer.measured.scores, scorer.measured.kl, scorer.measured.skipped, kind, bounds)


def _write_scores(run: Run, measured: Measured) -> None:
    for role in get_args(Role):
        scores = measured.scores.get(role)
        if scores is None:
            run.scores_file(role).unlink(missing_ok=True)
        else:
            write_json(run.scores_file(role), scores.model_dump(mode="json"))


def _of_run(options: VerifyOptions, reference: Reference, device: torch.device, progress: Progress) -> Subject:
    """What a run left to verify: its saved model, its request, its untouched retain rows."""
    run = Run.open(options.run or DEFAULT_RUNS / LATEST)
    if run.record["kind"] == "verify":
        raise UsageError(f"{run.path} verified a model that no run made; repeat it with --model and --forget")
    if not run.stage_done("unlearn"):
        raise RunError(f"{run.path} is not finished; continue it with: forgetctl unlearn --resume {run.path}")
    made = UnlearnOptions.from_json(run.record["options"])
    check_inputs(run, made)
    recipe = parse_recipe(run.recipe_file.read_text(encoding="utf-8"))
    forget = read_rows(made.forget, made.fields)
    forget_file = made.forget
    if options.forget is not None:
        forget, forget_file = _same_rows(options.forget, options.fields, forget), options.forget
    start = resolve_model(made.model, allow_download=made.allow_download)
    rows = read_retain(made) if made.retain else _own_rows(start, recipe, device, progress)
    if options.retain is not None:
        retain, retain_file = read_rows(options.retain, options.fields), options.retain
    else:
        check = read_json(run.pairs_file)["check"]
        retain, retain_file = [rows[i] for i in check], made.retain or Path("neutral prompts")
    sets = _row_sets(options, recipe, (forget_file, forget), (retain_file, retain), seen=rows)
    _fit(sets, recipe, run.model_dir, start, reference)
    return Subject(run, recipe, run.model_dir, start, sets, reference)


def _of_model(options: VerifyOptions, name: str, reference: Reference, recipe: Recipe) -> Subject:
    """A model that no run made: a run directory is made for its verification."""
    if options.forget is None:
        raise UsageError("--model needs --forget, the rows to check")
    forget = read_rows(options.forget, options.fields)
    retain = read_rows(options.retain, options.fields) if options.retain else []
    model = resolve_model(name, allow_download=options.allow_download)
    facts = inspect_model(model)
    start = resolve_model(options.start, allow_download=options.allow_download) if options.start else None
    sets = _row_sets(options, recipe, (options.forget, forget), (options.retain or Path(), retain))
    _fit(sets, recipe, model, start, reference)
    run = Run.create(
        options.out or new_run_path(DEFAULT_RUNS, "verify"),
        {
            "kind": "verify",
            "versions": versions(),
            "platform": describe(),
            "device": str(choose_device(options.device)),
            "argv": list(options.argv),
            "seed": recipe.seed,
            "inputs": {
                "model": {
                    "name": model.resolve().name,
                    "path": str(model),
                    "sha256": model_digest(model),
                    "bytes": facts.bytes,
                },
                "forget": {"path": str(options.forget), "rows": len(forget)},
            },
        },
    )
    run.freeze(recipe.to_yaml(), asdict(Bounds(recipe.verify.delta, recipe.verify.utility_loss)))
    run.record["inputs"]["forget"]["commitment"] = run.commit(options.forget)
    run.save_record()
    return Subject(run, recipe, model, start, sets, reference)


def _fit(sets: RowSets, recipe: Recipe, model: Path, start: Path | None, reference: Reference) -> None:
    """Check the reference, and that all rows fit all models, before anything is written or scored."""
    _refuse_own_model(model, start, reference)
    models = [model, start, reference.path if isinstance(reference, ModelReference) else None]
    for path in models:
        if path is not None:
            check_fit(sets, recipe, path)


def _row_sets(
    options: VerifyOptions,
    recipe: Recipe,
    forget: tuple[Path, list[Row]],
    retain: tuple[Path, list[Row]],
    seen: Sequence[Row] = (),
) -> RowSets:
    holdout = _unseen(options.holdout, options.fields, [*forget[1], *retain[1], *seen]) if options.holdout else []
    files = {"forget": forget[0], "retain": retain[0], "holdout": options.holdout or Path()}
    rows, origin = _with_perturbed(forget[1], retain[1], recipe.verify.distractors)
    return RowSets(rows, retain[1], holdout, files, origin)


def _unseen(path: Path, fields: Fields, known: list[Row]) -> list[Row]:
    """Holdout rows. Raises InputError for one that is to be forgotten or retained: a model did see it."""
    rows = read_rows(path, fields)
    seen = {(normalise(row.prompt), normalise(row.response)) for row in known}
    for row in rows:
        if (normalise(row.prompt), normalise(row.response)) in seen:
            raise InputError(path, "is one of the rows to forget or to retain, so it is no holdout", row.line)
    return rows


def _with_perturbed(forget: list[Row], others: Sequence[Row], count: int) -> tuple[list[Row], str | None]:
    """Forget rows with perturbed answers: the request's own, else the answers of the most similar other rows."""
    if all(row.perturbed_responses for row in forget):
        return forget, "request"
    made = similar_answers(forget, others, count)
    rows = [
        row if row.perturbed_responses else replace(row, perturbed_responses=answers)
        for row, answers in zip(forget, made, strict=True)
    ]
    if not all(row.perturbed_responses for row in rows):
        return rows, None
    return rows, "request and nearest answers" if any(row.perturbed_responses for row in forget) else "nearest answers"


def _same_rows(path: Path, fields: Fields, known: list[Row]) -> list[Row]:
    """The rows of a file that says more about the same request, such as perturbed answers."""
    rows = read_rows(path, fields)
    if len(rows) != len(known):
        raise InputError(path, f"has {len(rows)} rows, the run's request has {len(known)}")
    for row, other in zip(rows, known, strict=True):
        if (row.context, row.response) != (other.context, other.response):
            raise InputError(path, "is not a row of the run's request", row.line)
    return rows


def _own_rows(start: Path, recipe: Recipe, device: torch.device, progress: Progress) -> list[Row]:
    """The start model's answers to the neutral prompts, made again."""
    facts = inspect_model(start)
    encoder = Encoder(load_tokenizer(start), recipe.prompt_format)
    model = load_model(start, device, torch.float32)
    with progress.bar("Asking the start model", 300) as bar:
        return own_answers(model, encoder, recipe.retain.answer_tokens, facts.context, bar.advance)


def _digest(subject: Subject, options: VerifyOptions) -> str:
    """Digest of everything that the verdict depends on."""
    files = [options.forget, options.retain, options.holdout]
    reference = subject.reference.path if subject.reference else None
    parts = [
        model_digest(subject.model),
        model_digest(subject.start) if subject.start else "",
        subject.run.record["inputs"]["forget"]["commitment"],
        *(file_digest(path) if path else "" for path in files),
        "" if reference is None else model_digest(reference) if reference.is_dir() else file_digest(reference),
        json.dumps(subject.recipe.model_dump(mode="json")),
        file_digest(subject.run.plan_file),
        repr((options.fields, options.device)),
        json.dumps(subject.run.record["versions"]),
    ]
    return text_digest(f"{part}\n" for part in parts)
