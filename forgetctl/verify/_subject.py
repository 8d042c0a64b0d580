"""What a verification is about: a run's model, any model, or scores of one, with everything that is read for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..errors import InputError, RunError, UsageError, source_name
from ..files.writing import file_digest, read_json
from ..model.encoders import Encoders
from ..model.hardware import describe, versions
from ..model.load import choose_device, inspect_model, load_model, resolve_model
from ..model.scores import REPHRASED
from ..progress import Progress
from ..recipe.recipe import Recipe, read_recipe
from ..rows.holdout import check_apart, check_marked, check_unseen, for_calibration, for_verdict
from ..rows.pairing import with_perturbed
from ..rows.reading import FileRows, pick
from ..rows.row import Key, Row
from ..runs.commitments import split_requests
from ..runs.hooks import RunHooks
from ..runs.run import DEFAULT_RUNS, LATEST, Run, new_run_path
from ..train.neutral import own_answers
from ..train.options import UnlearnOptions
from ..train.unchanged import check_inputs
from ._attack_sets import with_attacks
from ._secret_places import with_places
from ._source import ModelSource, Source, find_source
from .measuring import RowSets, check_length
from .options import VerifyOptions
from .reading import GivenFiles
from .registry import work_asked_for


@dataclass(frozen=True, kw_only=True, repr=False)
class Subject:
    """A run with everything that its verification reads. sets: None where the model is given by scores."""

    run: Run
    recipe: Recipe
    model: Source
    start: Source | None
    references: tuple[Source, ...]
    sets: RowSets | None

    @property
    def models(self) -> tuple[ModelSource, ...]:
        """Every model that is given by its directory."""
        return tuple(one for one in (self.model, self.start, *self.references) if isinstance(one, ModelSource))


@dataclass(frozen=True, kw_only=True, repr=False)
class _Asked:
    """What is to be verified, and what was given for it."""

    options: VerifyOptions
    recipe: Recipe
    files: GivenFiles
    references: tuple[Source, ...]
    encoders: Encoders

    def subject(self, run: Run, model: Source, sets: RowSets | None, start: Source | None) -> Subject:
        """All of it together. Raises InputError for a reference that is no reference, UsageError for rows that do not
        fit a model."""
        subject = Subject(run=run, recipe=self.recipe, model=model, start=start, references=self.references, sets=sets)
        _check(subject, self.encoders)
        if sets is None:
            return subject
        models = [source.path for source in subject.models]
        attacked = with_attacks(sets, self.options.attacks, models, self.recipe, self.encoders)
        return replace(subject, sets=with_places(attacked, self.options.attacks))


@dataclass(frozen=True, repr=False)
class _Retained:
    """Retain rows to score. rehearsed: what the run trained on to keep it, None where no run says."""

    file: Path
    rows: list[Row]
    rehearsed: frozenset[Key] | None = None

    @property
    def unrehearsed(self) -> list[Row]:
        """Rows that were not trained on, as far as is known."""
        return [row for row in self.rows if row.key not in (self.rehearsed or ())]


def find_subject(
    options: VerifyOptions,
    recipe: Recipe,
    device: torch.device,
    progress: Progress,
    files: GivenFiles,
    hooks: RunHooks,
    encoders: Encoders,
) -> Subject:
    """Read and check everything before anything is written or scored.

    recipe: for what no run made; a run brings its own. files: those that were given, as they were read. encoders: of
    the command's models, which keep what is encoded here.
    Raises UsageError or InputError for options and files that do not fit, RunError for a run that has changed.
    """
    references = tuple(find_source(name, "reference", files) for name in options.references)
    asked = _Asked(options=options, recipe=recipe, files=files, references=references, encoders=encoders)
    if options.scores is not None:
        return _of_scores(asked, options.scores)
    if options.model is not None:
        return _of_model(asked, options.model, hooks)
    return _of_run(asked, device, progress)


def _of_run(asked: _Asked, device: torch.device, progress: Progress) -> Subject:
    """What a run left to verify: its saved model, its request, its untouched retain rows."""
    options, files = asked.options, asked.files
    run = Run.open(options.run or DEFAULT_RUNS / LATEST)
    if run.record["kind"] == "verify":
        raise UsageError(f"{run.path} verified a model that no run made; repeat it with --model and --forget")
    if not run.stage_done("unlearn"):
        raise RunError(f"{run.path} is not finished; continue it with: forgetctl unlearn --resume {run.path}")
    run.check_model()
    model = ModelSource(run.model_dir)
    made = UnlearnOptions.from_json(run.record["options"])
    check_inputs(run, made)
    asked = replace(asked, recipe=(recipe := read_recipe(run.recipe_file)))
    forget = files.read(made.forget, made.fields)
    if options.forget is not None:
        forget = _same_rows(files.read(options.forget, options.fields), forget.rows)
    start = resolve_model(made.model, allow_download=made.allow_download)
    rows = files.retain(made.retain, made.fields) if made.retain else _own_rows(start, asked, device, progress)
    pairs = read_json(run.pairs_file)
    rehearsed = frozenset(row.key for row in pick(rows, pairs["train"]))
    if options.retain is not None:
        retain = _Retained(options.retain, _retained(asked), rehearsed)
    else:
        chosen = sorted([*pairs["check"], *_evenly(pairs["train"], recipe.verify.rehearsed_rows)])
        retain = _Retained(made.retain or Path("neutral prompts"), pick(rows, chosen), rehearsed)
    calibrated = _calibrated(made, recipe, files)
    sets = _row_sets(asked, (forget.path, forget.rows), retain, rows, calibrated)
    return asked.subject(run, model, sets, ModelSource(start))


def _of_model(asked: _Asked, name: str, hooks: RunHooks) -> Subject:
    """A model that no run made: a run directory is made for its verification."""
    options = asked.options
    if options.forget is None:
        raise UsageError("--model needs --forget, the rows to check")
    given = asked.files.read(options.forget, options.fields)
    given.check_names()
    forget = given.rows
    retain = _retained(asked)
    model = resolve_model(name, allow_download=options.allow_download)
    parts = split_requests(forget, options.requests, options.forget)
    hooks.check(options.requests, options.register)
    sets = _row_sets(asked, (options.forget, forget), _Retained(options.retain or Path(), retain))
    subject = asked.subject(_unmade(options), ModelSource(model), sets, _start(asked))
    facts = inspect_model(model)
    inputs = {
        "model": {
            "name": (model if model.is_file() else model.resolve()).name,
            "path": str(model),
            "sha256": subject.model.digest,
            "bytes": facts.bytes,
            "notes": list(facts.notes),
        },
        "forget": {
            "path": source_name(options.forget),
            "rows": len(forget),
            "marked": sum(bool(row.spans) for row in forget),
        },
    }
    run = _create(asked, subject.run.path, inputs)
    run.commit_rows(parts)
    run.record["inputs"]["forget"]["commitment"] = run.commit(options.forget, fields=options.fields)
    hooks.created(run, parts, options.register, "verify")
    run.bind()
    return replace(subject, run=run)


def _of_scores(asked: _Asked, file: Path) -> Subject:
    """Scores of a model, without the model: statistics and verdict only."""
    options = asked.options
    needing = (
        *(path for _, path in options.files),
        *options.precisions,
        *(["--sampling"] if options.sampling else []),
        *(option for option, _ in work_asked_for(options)),
    )
    if needing:
        raise UsageError(f"{needing[0]} needs a model, and --scores brings none")
    model = find_source(str(file), "unlearned", asked.files)
    if isinstance(model, ModelSource):
        raise UsageError(f"{file} is a model directory; verify it with --model and --forget")
    subject = asked.subject(_unmade(options), model, None, _start(asked))
    for source in (subject.start, *asked.references):
        if isinstance(source, ModelSource):
            raise UsageError(f"{source.path} is a model directory; against --scores it must be given by scores too")
    inputs = {
        "model": {"name": model.scores.name, "path": str(file), "sha256": model.scores.sha256},
        "scores": {"name": file.name, "path": str(file), "sha256": file_digest(file)},
        "forget": {"rows": len(model.scores.forget.names)},
    }
    run = _create(asked, subject.run.path, inputs)
    run.commit_rows([])  # nobody knows the rows
    run.bind()
    return replace(subject, run=run)


def _evenly(positions: Sequence[int], count: int) -> list[int]:
    """At most so many of them, evenly spread."""
    last = len(positions) - 1
    return [positions[int(place)] for place in np.linspace(0, last, min(count, last + 1))]


def _retained(asked: _Asked) -> list[Row]:
    """The rows of --retain, which are scored as they are; none without it."""
    options = asked.options
    return list(asked.files.retain(options.retain, options.fields, options.fields.max_rows)) if options.retain else []


def _start(asked: _Asked) -> Source | None:
    options = asked.options
    if options.start is None:
        return None
    if Path(options.start).is_file():
        return find_source(options.start, "start", asked.files)
    return ModelSource(resolve_model(options.start, allow_download=options.allow_download))


def _unmade(options: VerifyOptions) -> Run:
    """The run directory that will be made once everything is known to fit."""
    return Run(options.out or new_run_path(DEFAULT_RUNS, "verify"))


def _create(asked: _Asked, path: Path, inputs: dict[str, Any]) -> Run:
    options, recipe = asked.options, asked.recipe
    record = {
        "kind": "verify",
        "versions": versions(),
        "platform": describe(),
        "device": str(choose_device(options.device)),
        "argv": list(options.argv),
        "seed": recipe.seed,
        "inputs": inputs,
    }
    run = Run.create(path, record)
    run.freeze(recipe.to_yaml(), recipe.verify.bounds.model_dump())
    run.save_record()
    return run


def _check(subject: Subject, encoders: Encoders) -> None:
    """Raise InputError for a reference that is no reference, UsageError for rows that do not fit a model."""
    known = {subject.model.digest: "the verified model itself"}
    if subject.start is not None:
        known.setdefault(subject.start.digest, "the start model itself")
    for reference in subject.references:
        if reference.digest in known:
            raise InputError(reference.path, f"is {known[reference.digest]}, so it is no reference")
        known[reference.digest] = "the same as another reference"
    if subject.sets is not None:
        for source in (subject.model, subject.start, *subject.references):
            if isinstance(source, ModelSource):
                check_length(subject.sets, subject.recipe, source.path, encoders)


def _row_sets(
    asked: _Asked,
    forget: tuple[Path, list[Row]],
    retain: _Retained,
    seen: Sequence[Row] = (),
    calibrated: Sequence[Row] = (),
) -> RowSets:
    options, files = asked.options, asked.files
    rows, origin = with_perturbed(forget[1], retain.unrehearsed, asked.recipe.verify.distractors)
    sets: dict[str, tuple[Path, Sequence[Row]]] = {"forget": (forget[0], rows), "retain": (retain.file, retain.rows)}
    if options.holdout:
        unseen = files.read(options.holdout, options.fields).rows
        check_unseen(options.holdout, unseen, chain(forget[1], retain.rows, seen))
        check_apart(options.holdout, unseen, forget[1])
        check_marked(options.holdout, unseen, forget[1])
        judging = for_verdict(unseen, calibrated)
        sets["holdout"] = options.holdout, with_perturbed(judging, (), asked.recipe.verify.distractors)[0]
    others = {"real_authors": options.real_authors, "world_facts": options.world_facts}
    kept = replace(options.fields, spans=False)
    sets |= {name: (file, files.read(file, kept).rows) for name, file in others.items() if file}
    for number, file in enumerate(options.rephrased, 1):
        sets[f"{REPHRASED}{number}"] = file, _rephrased(files.read(file, options.fields), rows)
    sets = {name: part for name, part in sets.items() if part[1]}
    return RowSets(
        rows={name: part[1] for name, part in sets.items()},
        files={name: part[0] for name, part in sets.items()},
        perturbed=origin,
        rehearsed=retain.rehearsed,
    )


def _calibrated(made: UnlearnOptions, recipe: Recipe, files: GivenFiles) -> list[Row]:
    """The holdout rows that a run was calibrated with: they fitted it, so they cannot judge it."""
    if made.holdout is None or recipe.calibration is None:
        return []
    return for_calibration(
        made.holdout, files.read(made.holdout, made.fields).rows, recipe.calibration.share, recipe.seed
    )


def _rephrased(given: FileRows, forget: Sequence[Row]) -> list[Row]:
    """The request in other words, row by row. Raises InputError if there are more or fewer rows."""
    if (count := len(given.rows)) != len(forget):
        raise InputError(
            given.path, f"has {count} rows, the request has {len(forget)}; it must follow the request row by row"
        )
    return given.rows


def _same_rows(given: FileRows, known: list[Row]) -> FileRows:
    """A file that says more about the same request, such as perturbed answers. Raises InputError if it is another."""
    if len(given.rows) != len(known):
        raise InputError(given.path, f"has {len(given.rows)} rows, the run's request has {len(known)}")
    for row, other in zip(given.rows, known, strict=True):
        if (row.context, row.response, row.spans) != (other.context, other.response, other.spans):
            raise InputError(given.path, "is not a row of the run's request", row.name)
    return given


def _own_rows(start: Path, asked: _Asked, device: torch.device, progress: Progress) -> list[Row]:
    """The start model's answers to the neutral prompts, made again."""
    facts, recipe = inspect_model(start), asked.recipe
    encoder = asked.encoders.of(facts, recipe.prompt_format)
    model = load_model(start, device, torch.float32)
    with progress.bar("Asking the start model", 300) as bar:
        return own_answers(model, encoder, recipe.retain.answer_tokens, facts.context, bar.advance)
