"""`forgetctl verify`: score the saved artefact against what never saw the rows, and reach a verdict."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
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
    write_bytes,
    write_json,
)
from ..scores import Role, check_rows
from ..stages.judge import Comparison, conclude
from ..stages.neutral import own_answers
from ..stages.pairing import similar_answers
from ..stages.reference import ModelReference, Reference, find_reference
from ..stages.request import Fields, read_rows
from ..stages.verify import Measured, RowSets, Scorer
from .unlearn import UnlearnOptions, check_inputs


@dataclass(frozen=True)
class VerifyOptions:
    """What to verify against what.

    Either `run`, or `model` with `forget` for a model that no run made. reference: a model directory, a score file
    or a TOFU evaluation log. holdout: rows that no model saw. start: the model before, known for a run.
    retain: rows that must be kept, scored as they are; a run brings its own.
    """

    run: Path | None = None
    model: str | None = None
    forget: Path | None = None
    start: str | None = None
    reference: str | None = None
    holdout: Path | None = None
    retain: Path | None = None
    fields: Fields = field(default_factory=Fields)
    out: Path | None = None
    device: str = "auto"
    allow_download: bool = False
    force: bool = False


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


def _measure(subject: Subject, options: VerifyOptions, device: torch.device, progress: Progress) -> dict[str, Any]:
    scorer = Scorer(subject.sets, subject.recipe, device, progress)
    unlearned = scorer.unlearned(subject.model)
    kind: Comparison = "holdout" if subject.sets.holdout else "none"
    if isinstance(subject.reference, ModelReference):
        scorer.reference(subject.reference.path)
        kind = "model"
    elif subject.reference is not None:
        check_rows(subject.reference.path, subject.reference.scores, subject.reference.kind, unlearned.forget)
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
    if options.retain is not None:
        retain, retain_file = read_rows(options.retain, options.fields), options.retain
    else:
        check = read_json(run.pairs_file)["check"]
        rows = read_rows(made.retain, made.fields) if made.retain else _own_rows(start, recipe, device, progress)
        retain, retain_file = [rows[i] for i in check], made.retain or Path("neutral prompts")
    sets = _row_sets(options, recipe, (forget_file, forget), (retain_file, retain))
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
    run = Run.create(
        options.out or new_run_path(DEFAULT_RUNS, "verify"),
        {
            "kind": "verify",
            "versions": versions(),
            "platform": describe(),
            "device": str(choose_device(options.device)),
            "argv": ["forgetctl", *sys.argv[1:]],
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
    write_bytes(run.recipe_file, recipe.to_yaml().encode())
    bounds = Bounds(recipe.verify.delta, recipe.verify.utility_loss)
    write_json(run.plan_file, {"schema": 1, "created": now(), "bounds": asdict(bounds)})
    run.record["inputs"]["forget"]["commitment"] = run.commit(options.forget)
    run.save_record()
    return Subject(run, recipe, model, start, sets, reference)


def _row_sets(
    options: VerifyOptions, recipe: Recipe, forget: tuple[Path, list[Row]], retain: tuple[Path, list[Row]]
) -> RowSets:
    holdout = _unseen(options.holdout, options.fields, forget[1]) if options.holdout else []
    files = {"forget": forget[0], "retain": retain[0], "holdout": options.holdout or Path()}
    rows, origin = _with_perturbed(forget[1], retain[1], recipe.verify.distractors)
    return RowSets(rows, retain[1], holdout, files, origin)


def _unseen(path: Path, fields: Fields, forget: list[Row]) -> list[Row]:
    """Holdout rows. Raises InputError for one that is to be forgotten: a model did see it."""
    rows = read_rows(path, fields)
    seen = {(normalise(row.prompt), normalise(row.response)) for row in forget}
    for row in rows:
        if (normalise(row.prompt), normalise(row.response)) in seen:
            raise InputError(path, "is one of the rows to forget, so it is no holdout", row.line)
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
    return rows, "nearest answers" if all(row.perturbed_responses for row in rows) else None


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
        json.dumps(subject.run.record["versions"]),
    ]
    return text_digest(f"{part}\n" for part in parts)
