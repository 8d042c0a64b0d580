"""`forgetctl verify`: score the saved artefact against what never saw the rows, and reach a verdict."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ..errors import RunError, UsageError
from ..files.entries import files_digest, model_entries
from ..files.writing import file_digest, now, text_digest, write_json
from ..model.coarse_scores import coarse
from ..model.encoders import Encoders
from ..model.host import undisturbed
from ..model.load import PRECISIONS, choose_device
from ..model.memory import memory_within
from ..model.processes import Ranks, join
from ..model.score_files import asked_alike, check_rows
from ..model.scores import REPHRASED, Role, Scores
from ..people import in_place
from ..people.wordings import wordings
from ..progress import Progress
from ..recipe.recipe import Recipe, load_recipe
from ..runs.hooks import RunHooks
from ..runs.run import Run
from ..train.distributed import main_progress
from . import _secret_places
from ._attack_sets import cost
from ._draws import Draws
from ._earlier_runs import EarlierRun, earlier_inputs, find_earlier
from ._inputs import model_inputs, row_inputs
from ._source import ModelSource, ScoreSource, Source
from ._subject import Subject, find_subject
from .basis import TrackedScores, bounds_of, store, tracked_scores, verdict_of
from .collected import Collected, Kind, coarsened
from .findings import LoadableModels, NotMeasurableError
from .judge import conclude
from .measuring import RowSets, Scorer
from .options import VerifyOptions
from .reading import GivenFiles, read
from .record import Given, OtherVersionError, Verdict
from .registry import WORKS, work_asked_for


@undisturbed()
def run_verify(
    options: VerifyOptions,
    recipe: Recipe | None = None,
    progress: Progress | None = None,
    files: GivenFiles | None = None,
    hooks: RunHooks | None = None,
) -> Verdict:
    """Verify and return the verdict, as it stands in verdict.json.

    files: those that were given, where they were read before. hooks: for whoever else has to do with the run.

    Where a launcher started several processes, each of them must call this; all score, and the first one alone reads
    the rows and writes. In the others EndedElsewhere means that another one raises the reason.
    Raises UsageError for options or files that do not fit, RunError for a run that is unfinished or has changed,
    MemoryExceeded if a model or a single row does not fit into the memory.
    """
    if strange := sorted(set(options.precisions) - set(PRECISIONS)):
        raise UsageError(f"no precision {', '.join(strange)}; there is {', '.join(PRECISIONS)}")
    asked = choose_device(options.device)
    ranks = join(asked)
    device = ranks.device or asked
    progress, hooks, encoders = main_progress(ranks, progress, device), hooks or RunHooks(), Encoders()
    with memory_within(device), ranks.spoken_once(), ExitStack() as held:
        known = ranks.from_first(
            lambda: _begin(
                options, recipe or load_recipe(), device, progress, held, files or read(options), hooks, encoders
            )
        )
        if known.stored is not None:
            return known.stored
        with progress.logged(known.subject.run.progress_file):
            measured = _measure(known, options, device, progress, ranks, encoders)
        return ranks.from_first(lambda: _conclude(known, options, measured, hooks))


@dataclass(frozen=True, kw_only=True, repr=False)
class _Known:
    """What the first process found out before anything is scored.

    rows: the files of rows that were given. tracked: scores of the model in training. digest: of everything that the
    verdict depends on. stored: the verdict that was reached on the same before.
    """

    subject: Subject
    earlier: tuple[EarlierRun, ...]
    rows: list[Given]
    tracked: TrackedScores
    digest: str
    stored: Verdict | None


def _begin(
    options: VerifyOptions,
    recipe: Recipe,
    device: torch.device,
    progress: Progress,
    held: ExitStack,
    files: GivenFiles,
    hooks: RunHooks,
    encoders: Encoders,
) -> _Known:
    """Read and check everything, hold the run, and see whether there is anything to do."""
    earlier = find_earlier(options, encoders)
    subject = find_subject(options, recipe, device, progress, files, hooks, encoders)
    hooks.verifying(subject.run, options.register)
    held.enter_context(subject.run.lock())
    rows = row_inputs(subject.run, options, files)
    digest = _digest(subject, options, earlier, rows)
    tracked = tracked_scores(subject.run)
    known = _Known(subject=subject, earlier=earlier, rows=rows, tracked=tracked, digest=digest, stored=None)
    if not options.force and (stored := _stored(subject.run)) is not None and stored.digest == digest:
        progress.say("Nothing has changed since the last verification; this is its verdict (--force repeats it).")
        hooks.finished(subject.run, options.register, stored.verdict)
        return replace(known, stored=stored)
    subject.run.stage("verify", "running")
    return known


def _stored(run: Run) -> Verdict | None:
    """The verdict that was reached last, None where there is none or another version of forgetctl reached it.

    Raises RunError for one that is missing, damaged or not the one that was reached.
    """
    if not run.stage_done("verify"):
        return None
    try:
        stored = verdict_of(run)
    except OtherVersionError:
        return None
    if file_digest(run.verdict_file) != run.record["stages"]["verify"].get("verdict_sha256"):
        raise RunError(f"{run.verdict_file} is not the verdict that was reached; verify again with --force")
    return stored


def _conclude(known: _Known, options: VerifyOptions, scores: Collected, hooks: RunHooks) -> Verdict:
    """Reach the verdict, and write it with what it rests on. Raises RunError if a model is no longer what it was."""
    subject = known.subject
    model = subject.model.path if isinstance(subject.model, ModelSource) else None
    for source in subject.models:
        source.files.check()
    _refuse_other_models(subject, scores)
    scores = coarsened(scores)  # the verdict sees what is stored, and an audit sees no more
    verdict = Verdict(
        **dict(conclude(scores, bounds_of(subject.run))),
        inputs=(*model_inputs(subject), *known.rows, *earlier_inputs(known.earlier)),
        basis=store(subject.run, scores, model),
        created=now(),
        digest=known.digest,
    )
    write_json(subject.run.verdict_file, verdict.content())
    reached = file_digest(subject.run.verdict_file)
    subject.run.stage("verify", "done", verdict=verdict.verdict, verdict_sha256=reached)
    hooks.finished(subject.run, options.register, verdict.verdict)
    return verdict


def _refuse_other_models(subject: Subject, collected: Collected) -> None:
    """Raise RunError unless the models that were scored are those that run.json names."""
    record = subject.run.record
    made = record.get("stages", {}).get("unlearn", {}).get("model_sha256")
    began = record["inputs"]["model"]["sha256"]
    named = [(collected.unlearned, began if record["kind"] == "verify" else made)]
    if record["kind"] == "unlearn" and collected.start is not None:
        named.append((collected.start, began))
    for scores, digest in named:
        if scores.sha256 != digest:
            raise RunError(f"{subject.run.record_file} names another {scores.role} model than the one that was scored")


def _measure(
    known: _Known,
    options: VerifyOptions,
    device: torch.device,
    progress: Progress,
    ranks: Ranks,
    encoders: Encoders,
) -> Collected:
    subject = known.subject
    skipped = _not_asked(options, subject.run)
    if known.tracked.left_out:
        skipped["curve"] = known.tracked.left_out
    if isinstance(subject.model, ScoreSource):
        return replace(_from_files(subject, subject.model), skipped=skipped)
    assert subject.sets is not None  # noqa: S101  every model comes with rows
    if subject.sets.wordings:
        answering = sum(isinstance(one, ModelSource) for one in (subject.model, *subject.references))
        progress.say(cost(subject.sets, options.attacks, answering))
    if subject.sets.places:
        progress.say(_secret_places.cost(subject.sets, options.attacks, len(subject.models)))
    drawn = Draws.of(options, subject.recipe.verify, subject.model.path)
    scorer = Scorer(
        sets=subject.sets,
        recipe=subject.recipe.model_copy(update={"verify": drawn.settings}),
        device=device,
        progress=progress,
        ranks=ranks,
        encoders=encoders,
        served=drawn.served,
    )
    measured = _score(subject, subject.sets, scorer, options)
    scored = tuple(one.scores(subject.model.path, device, progress, ranks, encoders) for one in known.earlier)
    skipped |= {**scorer.skipped, **drawn.skipped}
    return replace(measured, tracked=known.tracked.points, earlier=scored, kl=scorer.kl, skipped=skipped)


def _score(subject: Subject, sets: RowSets, scorer: Scorer, options: VerifyOptions) -> Collected:
    """Score every model, the one under test first; a problem with a score file shows before the rest is scored."""
    unlearned = scorer.unlearned(subject.model.path, alone=not subject.references)
    given = {
        source.path: _given(source, unlearned)
        for source in (*subject.references, subject.start)
        if isinstance(source, ScoreSource)
    }
    references = [
        given[source.path]
        if isinstance(source, ScoreSource)
        else scorer.further_reference(source.path)
        if number
        else scorer.reference(source.path)
        for number, source in enumerate(subject.references)
    ]
    start = subject.start
    started = scorer.start(start.path) if isinstance(start, ModelSource) else given[start.path] if start else None
    scorer.states.clear()  # nothing more is compared with them, and the head is a model's largest weight
    collected = Collected(
        unlearned=unlearned,
        kind=_kind(subject.references, holdout="holdout" in sets.rows),
        start=started,
        references=tuple(references),
        precisions={precision: _at_precision(subject, scorer, precision) for precision in options.precisions},
        rephrased=tuple(f"rephrased {number} ({file.name})" for number, file in enumerate(options.rephrased, 1)),
    )
    return _altered(
        collected, LoadableModels(scorer=scorer, paths=_directories(subject), scores=collected.models), options
    )


def _given(source: ScoreSource, unlearned: Scores) -> Scores:
    """Scores from a file, as far as they can be compared. Raises InputError for those of other rows."""
    scores = asked_alike(source.scores, unlearned)
    check_rows(source.path, coarse(scores), source.kind, coarse(unlearned))
    return scores


def _altered(collected: Collected, models: LoadableModels, options: VerifyOptions) -> Collected:
    """What checks do with the models beyond scoring them, each where its option asks for it."""
    altered: dict[str, Mapping[Role, Scores]] = {}
    unmeasured: list[tuple[str, str]] = []
    for variant, asked in WORKS.items():
        if asked.asked(options):
            try:
                altered[variant] = asked.work(models)
            except NotMeasurableError as reason:
                unmeasured.append((asked.name, str(reason)))
    return replace(collected, altered=altered, unmeasured=tuple(unmeasured))


def _kind(references: tuple[Source, ...], *, holdout: bool) -> Kind:
    if not references:
        return "holdout" if holdout else "none"
    first = references[0]
    return first.kind if isinstance(first, ScoreSource) else "model"


def _directories(subject: Subject) -> dict[Role, Path]:
    """Every model that is there to be loaded, the first reference alone."""
    sources: dict[Role, Source | None] = {
        "unlearned": subject.model,
        "reference": subject.references[0] if subject.references else None,
        "start": subject.start,
    }
    return {role: source.path for role, source in sources.items() if isinstance(source, ModelSource)}


def _at_precision(subject: Subject, scorer: Scorer, precision: str) -> Mapping[Role, Scores]:
    """Where the reference cannot be loaded, its full-precision scores stand in."""
    return {role: scorer.at_precision(role, path, precision) for role, path in _directories(subject).items()}


def _from_files(subject: Subject, model: ScoreSource) -> Collected:
    """The same without any model."""
    start = _given(subject.start, model.scores) if isinstance(subject.start, ScoreSource) else None
    references = tuple(_given(one, model.scores) for one in subject.references if isinstance(one, ScoreSource))
    kind = _kind(subject.references, holdout="holdout" in model.scores.sets)
    count = sum(name.startswith(REPHRASED) for name in model.scores.sets)
    rephrased = tuple(f"rephrased {number}" for number in range(1, count + 1))
    return Collected(unlearned=model.scores, kind=kind, start=start, references=references, rephrased=rephrased)


def _not_asked(options: VerifyOptions, run: Run) -> dict[str, str]:
    """Checks that were left out because nobody asked for them."""
    before = len(run.record.get("lineage", ()))
    asked = {
        "rephrased prompts": (options.rephrased, "--rephrased FILE"),
        "deployed precision": (options.precisions, "--precision"),
        **{work.name: (work.asked(options), work.option) for work in WORKS.values()},
        "earlier requests": (options.also or not before, f"--also RUN; {before} runs came before this one"),
    }
    return {name: f"not asked for ({option})" for name, (given, option) in asked.items() if not given}


def _digest(subject: Subject, options: VerifyOptions, earlier: tuple[EarlierRun, ...], rows: Sequence[Given]) -> str:
    """Digest of everything that the verdict depends on."""
    parts = [
        *(files_digest(model_entries(source.path)) for source in subject.models),
        subject.model.content,
        subject.start.content if subject.start else "",
        *(reference.content for reference in subject.references),
        subject.run.record["inputs"]["forget"].get("commitment", ""),
        *(row.commitment or row.sha256 or "" for row in rows),
        json.dumps(subject.recipe.model_dump(mode="json")),
        file_digest(subject.run.plan_file),
        repr((options.fields, options.device, options.precisions, work_asked_for(options))),
        repr((options.attacks, wordings().version, in_place.VERSION, options.sampling)),
        repr([bool(path) for path in (options.forget, options.retain, options.holdout, options.real_authors)]),
        json.dumps(subject.run.record["versions"]),
        *(one.digest for one in earlier),
    ]
    return text_digest(f"{part}\n" for part in parts)
