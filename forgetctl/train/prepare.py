"""Everything about a request that can be checked before a model is loaded or anything is written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

from ..errors import UsageError
from ..losses.methods import WeightedSum
from ..model.encoding import Encoded
from ..model.load import choose_device, inspect_trainable, load_encoder
from ..model.protocol import Model
from ..model.windows import by_row, row_tokens, windows_note
from ..people.mentions import Mentions
from ..progress import Progress
from ..recipe.recipe import Recipe
from ..rows.holdout import for_calibration
from ..rows.pairing import choose_retain
from ..rows.reading import pick
from ..rows.row import Row
from ..runs.run import refuse_used
from ._requirements import check_terms, check_weights
from ._start import find_start
from .inputs import Inputs, read
from .job import EncodedRows, Job, RowEncoder, Sample
from .neutral import ORIGIN, own_answers
from .options import UnlearnOptions
from .stand_ins import NO_STAND_INS, make_stand_ins
from .term_inputs import RoleRows


def prepare(options: UnlearnOptions, recipe: Recipe, inputs: Inputs | None = None) -> Job:
    """Validate the whole request, without loading weights and without writing anything.

    inputs: what the files hold, where they were read before. Raises UsageError (InputError, ModelError) naming the
    file, and the line, of whatever is wrong.
    """
    if options.keep_adapter and recipe.lora is None:
        raise UsageError("--keep-adapter: there is none without --lora or --qlora")
    if options.out is not None:
        refuse_used(options.out)
    inputs = inputs or read(options)
    start = find_start(options.model, allow_download=options.allow_download)
    if start.lineage:
        options = replace(options, model=str(start.path))  # what a resumed run and `verify` load
    facts = inspect_trainable(start.path)
    choose_device(options.device)
    encode = RowEncoder(load_encoder(facts, recipe.prompt_format), facts.context, recipe)
    encoded, cut = encode.counting_cuts(inputs.forget.rows, inputs.forget.path)
    notes = [*facts.notes, *check_weights(facts, recipe), *_notes(encoded, cut, recipe, "forget")]
    rests = encode.rests(inputs.forget.rows, inputs.forget.path)
    notes += _marked_notes(inputs.forget.rows, rests, recipe)
    check_terms(facts, recipe, inputs, encode, encoded)
    unseen = _calibration(inputs, recipe, encode)
    sample = None
    if inputs.retain is not None:
        sample = _choose(inputs, inputs.retain, inputs.retain.path, encode)
        notes += _notes([*sample.train, *sample.check], 0, recipe, "retain")
    return Job(
        options=options,
        recipe=recipe,
        inputs=inputs,
        start=start,
        facts=facts,
        encode=encode,
        encoded=encoded,
        cut=cut,
        rests=rests,
        unseen=unseen,
        stand_ins=_stand_ins(inputs, recipe, encode, unseen),
        sample=sample,
        notes=tuple(notes),
    )


def own_sample(job: Job, model: Model, progress: Progress) -> Sample:
    """The start model's answers to neutral prompts, for an owner who has no retain file."""
    progress.say("No --retain given: holding the model to its own answers to 300 neutral prompts.")
    with progress.bar("Asking the start model", 300) as bar:
        rows = own_answers(model, job.encode.encoder, job.recipe.retain.answer_tokens, job.facts.context, bar.advance)
    return _choose(job.inputs, rows, Path(ORIGIN), job.encode)


def _calibration(inputs: Inputs, recipe: Recipe, encode: RowEncoder) -> EncodedRows:
    """The holdout rows that calibrate. Raises UsageError where there is a holdout and nothing to calibrate with it, or
    the other way round."""
    settings, holdout = recipe.calibration, inputs.holdout
    if settings is None and holdout is None:
        return EncodedRows()
    if holdout is None:
        raise UsageError("the recipe has a 'calibration', which needs rows that no model saw: give --holdout FILE")
    if settings is None:
        raise UsageError(f"{holdout.path}: the recipe has no 'calibration' to use it for; leave --holdout to verify")
    rows = for_calibration(holdout.path, holdout.rows, settings.share, recipe.seed)
    return EncodedRows(rows, encode(rows, holdout.path))


def _stand_ins(inputs: Inputs, recipe: Recipe, encode: RowEncoder, unseen: EncodedRows) -> RoleRows:
    if not (unseen.rows and WeightedSum(recipe.weighted_terms(), {}).reads("unseen")):
        return NO_STAND_INS
    bounds = (encode.context, recipe.max_length)
    return make_stand_ins(inputs.forget.rows, unseen.rows, unseen.encoded, encode.encoder, bounds)


def _choose(inputs: Inputs, rows: Sequence[Row], origin: Path, encode: RowEncoder) -> Sample:
    """Raises UsageError naming `origin` where no row is left, InputError for one that does not fit the model."""
    try:
        forget = inputs.forget.rows
        mentions = Mentions.of_rows(forget)
        pairing = choose_retain(forget, rows, encode.recipe.retain, encode.recipe.seed, mentions.among)
    except UsageError as error:
        raise UsageError(f"{origin}: {error}") from None
    chosen = encode(pick(rows, (*pairing.train, *pairing.check)), origin)
    by_place = by_row(chosen, chosen)
    train, check = by_place[: len(pairing.train)], by_place[len(pairing.train) :]
    return Sample(rows, pairing, list(chain.from_iterable(train)), list(chain.from_iterable(check)))


def _marked_notes(forget: Sequence[Row], rests: Sequence[Encoded], recipe: Recipe) -> Iterator[str]:
    """What becomes of rows of which parts are marked."""
    if not (marked := sum(bool(row.spans) for row in forget)):
        return
    which, tokens = f"{marked} of {len(forget)} forget rows", sum(row.tokens for row in rests)
    kept = WeightedSum(recipe.weighted_terms(), {}).reads("retain")
    fate = "kept" if kept else f"left to itself: {recipe.name} has no term on retain rows"
    yield f"Of {which} only the spans are forgotten; the rest, {tokens:,} tokens, is {fate}."


def _notes(encoded: Sequence[Encoded], cut: int, recipe: Recipe, name: str) -> Iterator[str]:
    if cut:
        yield f"{cut} of {len(row_tokens(encoded))} {name} rows are cut at {recipe.max_length} tokens."
    if note := windows_note(encoded, name):
        yield note
