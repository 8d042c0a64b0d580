"""Everything about a request that can be checked before a model is loaded or anything is written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from ..cli.binding import check_requests
from ..errors import InputError, UsageError
from ..files.disk import refuse_beyond_disk
from ..losses.methods import Role, WeightedSum
from ..model.encoding import Encoded, Encoder, encode_rows, marked
from ..model.load import ModelFacts, choose_device, inspect_trainable, load_encoder
from ..model.processes import Ranks
from ..model.protocol import Model
from ..model.windows import by_row, row_tokens, windows_note
from ..progress import Progress, Silent
from ..recipe.recipe import Recipe
from ..rows.formats import RowFile, read_rows
from ..rows.holdout import check_unseen, for_calibration
from ..rows.pairing import Pairing, choose_retain
from ..rows.refusals import SHIPPED, read_refusals
from ..rows.row import Row
from ..runs.commitments import Part, split_requests
from ..runs.lineage import Start, find_start
from ..runs.run import DEFAULT_RUNS, refuse_used
from .neutral import ORIGIN, own_answers
from .options import UnlearnOptions, VerifyOptions
from .plan import Workload, disk_bytes, estimate_cost, memory_limit
from .precheck import look_at_texts
from .requirements import check_terms, check_weights
from .schedule import RowsByRole
from .stand_ins import NO_STAND_INS, make_stand_ins
from .term_inputs import RoleRows


@dataclass(frozen=True, repr=False)
class Sample:
    """The retain rows and which of them were chosen."""

    rows: Sequence[Row]
    pairing: Pairing


@dataclass(frozen=True, repr=False)
class Job:
    """A checked request: everything that can be known before the model is loaded.

    start: the model to begin with, and the runs that made it. parts: the forget rows by the request that they belong
    to. encoded: what is trained on; a passage that is longer than a window is several. notes: what to tell the user of
    the model and of rows that were cut. sample is None where the start model has yet to make it; retained: its rows
    that are trained on, encoded. unseen: holdout rows that calibrate; stand_ins: what is made of them, if the loss
    reads it.
    """

    options: UnlearnOptions
    recipe: Recipe
    start: Start
    facts: ModelFacts
    encoder: Encoder
    forget: list[Row]
    parts: list[Part]
    encoded: list[Encoded]
    cut: int
    refusals: list[str]
    notes: tuple[str, ...]
    sample: Sample | None
    retained: tuple[Encoded, ...] = ()
    unseen: Sequence[Row] = ()
    stand_ins: RoleRows = NO_STAND_INS

    @property
    def refusals_file(self) -> Path:
        """Where the refusals came from."""
        return self.options.refusals or SHIPPED


def prepare(options: UnlearnOptions, recipe: Recipe) -> Job:
    """Validate the whole request, without loading weights and without writing anything.

    Raises UsageError (InputError, ModelError) naming the file, and the line, of whatever is wrong.
    """
    if options.keep_adapter and recipe.lora is None:
        raise UsageError("--keep-adapter: there is none without --lora or --qlora")
    if options.out is not None:
        refuse_used(options.out)
    forget = read_rows(options.forget, options.fields)
    parts = split_requests(forget, options.requests, options.forget)
    check_requests(options.requests, options.register)
    start = find_start(options.model, allow_download=options.allow_download)
    if start.lineage:
        options = replace(options, model=str(start.path))  # what a resumed run and `verify` load
    facts = inspect_trainable(start.path)
    choose_device(options.device)
    encoder = load_encoder(facts, recipe.prompt_format)
    encoded, cut = encode_rows(encoder, forget, options.forget, facts.context, recipe.max_length, recipe.passages)
    refusals = read_refusals(options.refusals)
    notes = (*facts.notes, *check_weights(facts, recipe), *_notes(encoded, cut, recipe, "forget"))
    job = Job(options, recipe, start, facts, encoder, forget, parts, encoded, cut, refusals, notes, None)
    check_terms(facts, recipe, forget, job.refusals, partial(_encode_whole, job), job.refusals_file, options.forget)
    retain = read_retain(options)
    job = replace(job, unseen=_unseen(job, retain))
    job = replace(job, stand_ins=_stand_ins(job))
    if options.retain is None:
        return job
    sample = _choose(job, retain, str(options.retain))
    chosen = encode_retain(job, sample, (*sample.pairing.train, *sample.pairing.check))
    notes = (*notes, *_notes(chosen, 0, recipe, "retain"))
    retained = chain.from_iterable(by_row(chosen, chosen)[: len(sample.pairing.train)])
    return replace(job, sample=sample, notes=notes, retained=tuple(retained))


def _unseen(job: Job, retain: Sequence[Row]) -> Sequence[Row]:
    """The holdout rows that calibrate. Raises UsageError where there is a holdout and nothing to calibrate with it, or
    the other way round."""
    file, settings = job.options.holdout, job.recipe.calibration
    if settings is None and file is None:
        return ()
    if file is None:
        raise UsageError("the recipe has a 'calibration', which needs rows that no model saw: give --holdout FILE")
    if settings is None:
        raise UsageError(f"{file}: the recipe has no 'calibration' to use it for; leave --holdout to verify")
    rows = read_rows(file, job.options.fields)
    check_unseen(file, rows, chain(job.forget, retain))
    chosen = for_calibration(file, rows, settings.share, job.recipe.seed)
    encode(job, chosen, file)  # refuses what does not fit the model, before it is loaded
    return chosen


def _stand_ins(job: Job) -> RoleRows:
    if job.options.holdout is None or not WeightedSum(job.recipe.weighted_terms(), {}).reads("unseen"):
        return NO_STAND_INS
    bounds = (job.facts.context, job.recipe.max_length)
    return make_stand_ins(job.forget, job.unseen, encode_unseen(job), job.encoder, bounds)


def _notes(encoded: Sequence[Encoded], cut: int, recipe: Recipe, name: str) -> Iterator[str]:
    if cut:
        yield f"{cut} of {len(row_tokens(encoded))} {name} rows are cut at {recipe.max_length} tokens."
    if words := windows_note(encoded, name):
        yield words


def dry_run(
    options: UnlearnOptions, recipe: Recipe, progress: Progress | None = None
) -> tuple[dict[str, Any], tuple[str, str]]:
    """Check everything, train nothing: the facts of the job with its cost, and its first row decoded.

    The row comes as what the model is given and what is scored. Memory is in bytes. Raises as `prepare`, and
    NeedsApproval for a request whose text was flagged, MemoryExceeded if the job does not fit into what it may take.
    """
    job = prepare(options, recipe)
    for note in job.notes:
        (progress or Silent()).say(note)
    refuse_full_disk(job)
    if job.sample:
        look_at_texts(job, job.sample)
    device = choose_device(options.device)
    limit = memory_limit(options.max_memory, device, Ranks())
    work = Workload(facts=job.facts, rows=expected_rows(job), recipe=recipe, device=device)
    cost = estimate_cost(work, limit=limit)
    facts = {
        "forget_rows": len(job.forget),
        "rows_cut": job.cut,
        "windows": len(job.encoded),
        "retain_rows": len(job.sample.pairing.train) if job.sample else None,
        "method": recipe.name,
        "prompt_format": "chat template" if job.encoder.uses_template else "plain, from the recipe",
        "parameters": cost.parameters,
        "optimizer_steps": cost.steps,
        "longest_row_tokens": cost.longest,
        "computed": cost.plan.why,
        "peak_memory_bytes": cost.memory,
        "seconds": round(cost.seconds, 1),
    }
    return facts, marked(job.encoder, job.encoded[0])


def refuse_full_disk(job: Job) -> None:
    """Raise RunError if the job's checkpoints and its model cannot all be written where the run will be."""
    refuse_beyond_disk(job.options.out or DEFAULT_RUNS, disk_bytes(job.facts, job.recipe), "checkpoints and the model")


def rows_by_role(job: Job, retain: Sequence[Encoded]) -> dict[Role, RoleRows]:
    """The rows of each role that a run may read. retain: those that are trained on."""
    return {"forget": RoleRows(job.encoded), "retain": RoleRows(retain), "unseen": job.stand_ins}


def read_rows_of(job: Job, retain: Sequence[Encoded]) -> RowsByRole:
    """The rows that the loss reads."""
    reads = WeightedSum(job.recipe.weighted_terms(), {}).reads
    return {role: rows.rows for role, rows in rows_by_role(job, retain).items() if reads(role)}


def expected_rows(job: Job) -> RowsByRole:
    """The same before the model is loaded; a retain sample that has yet to be made is taken to be like the request."""
    return read_rows_of(job, job.retained if job.sample else job.encoded)


def read_retain(options: UnlearnOptions | VerifyOptions, most: int | None = None) -> Sequence[Row]:
    """The rows of the retain file, checked and left in the file. Empty without a file. most: rows allowed."""
    return RowFile(options.retain, options.fields, most) if options.retain else []


def _choose(job: Job, rows: Sequence[Row], origin: str) -> Sample:
    try:
        return Sample(rows, choose_retain(job.forget, rows, job.recipe.retain, job.recipe.seed))
    except UsageError as error:
        raise UsageError(f"{origin}: {error}") from None


def own_sample(job: Job, model: Model, progress: Progress) -> Sample:
    """The start model's answers to neutral prompts, for an owner who has no retain file."""
    progress.say("No --retain given: holding the model to its own answers to 300 neutral prompts.")
    with progress.bar("Asking the start model", 300) as bar:
        rows = own_answers(model, job.encoder, job.recipe.retain.answer_tokens, job.facts.context, bar.advance)
    return _choose(job, rows, ORIGIN)


def encode_retain(job: Job, sample: Sample, positions: Sequence[int]) -> list[Encoded]:
    """Token ids of the retain rows at `positions`. Raises InputError for one that does not fit the model."""
    rows = [sample.rows[position] for position in positions]
    return encode(job, rows, job.options.retain or Path("neutral prompts"))


def encode_unseen(job: Job) -> list[Encoded]:
    """Token ids of the holdout rows that calibrate, if a holdout is given."""
    file = job.options.holdout
    return encode(job, job.unseen, file) if file else []


def encode(job: Job, rows: Sequence[Row], origin: Path) -> list[Encoded]:
    """Token ids of rows from the file `origin`. Raises InputError for one that does not fit the model."""
    recipe = job.recipe
    return encode_rows(job.encoder, rows, origin, job.facts.context, recipe.max_length, recipe.passages)[0]


def _encode_whole(job: Job, rows: Sequence[Row], origin: Path) -> list[Encoded]:
    """The same for rows that get another answer, which the windows of a passage cannot: they have no question.

    Raises InputError also where one of the forget rows is a passage in windows.
    """
    answered = encode(job, rows, origin)
    for encoded, file in ((job.encoded, job.options.forget), (answered, origin)):
        if any(item.continues for item in encoded):
            raise InputError(file, f"holds passages longer than a window, which {job.recipe.name} cannot unlearn")
    return answered
