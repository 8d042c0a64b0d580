"""`verify --also RUN`: what earlier runs had forgotten, read again where it was, to score the model of today on it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from ..errors import InputError, RunError, UsageError
from ..files.writing import file_digest
from ..model.encoders import Encoders
from ..model.load import resolve_model
from ..model.processes import Ranks
from ..model.scores import Scores
from ..progress import Progress
from ..recipe.recipe import Recipe, read_recipe
from ..rows.formats import Fields
from ..rows.reading import read_rows
from ..runs.run import DEFAULT_RUNS, LATEST, Run
from ..train.options import UnlearnOptions
from .basis import read_scores_file, verdict_of
from .collected import EARLIER
from .collected import Earlier as EarlierScores
from .measuring import RowSets, Scorer, check_length
from .options import VerifyOptions
from .record import Given


@dataclass(frozen=True, repr=False)
class EarlierRun:
    """An earlier run with its rows, its recipe, and the scores that its model had when it was verified."""

    run: Run
    recipe: Recipe
    sets: RowSets
    then: Scores

    def scores(
        self, model: Path, device: torch.device, progress: Progress, ranks: Ranks, encoders: Encoders
    ) -> EarlierScores:
        """Score its rows with `model`, as it was verified itself."""
        progress.say(f"Scoring again what {self.run.path} made the model forget.")
        scorer = Scorer(
            sets=self.sets, recipe=self.recipe, device=device, progress=progress, ranks=ranks, encoders=encoders
        )
        return EarlierScores(_named(self.then, self.run), _named(scorer.again(model), self.run))

    @property
    def digest(self) -> str:
        """What today's verdict depends on of it."""
        return f"{file_digest(self.run.verdict_file)} {_commitment(self.run)}"


def find_earlier(options: VerifyOptions, encoders: Encoders) -> tuple[EarlierRun, ...]:
    """Read and check the runs that `--also` names, before anything is written or scored.

    Raises UsageError for what is no earlier run, RunError or InputError for one that was not verified, or whose request
    or scores are gone or have changed.
    """
    if not options.also:
        return ()
    if options.scores is not None:
        raise UsageError("--also needs a model, and --scores brings none")
    runs = [Run.open(path) for path in options.also]
    places = [run.path.resolve() for run in runs]
    if len(set(places)) != len(places):
        raise UsageError("--also names a run twice")
    subject = Run.open(options.run or DEFAULT_RUNS / LATEST) if options.model is None else None
    if subject is not None and subject.path.resolve() in places:
        raise UsageError(f"--also {subject.path}: is the run that is verified, not an earlier one")
    earlier = tuple(_read(run) for run in runs)
    if subject is None:
        model = resolve_model(str(options.model), allow_download=options.allow_download)
    else:
        model = subject.model_dir
    if model.exists():  # a run that is not finished has none yet, which `find_subject` refuses
        for one in earlier:
            check_length(one.sets, one.recipe, model, encoders)
    return earlier


def earlier_inputs(earlier: Sequence[EarlierRun]) -> Iterator[Given]:
    """Earlier runs for the record, by id and commitment."""
    for one in earlier:
        yield Given(
            role="earlier request",
            name=one.run.record["id"],
            kind="run",
            rows=len(one.sets.forget),
            commitment=_commitment(one.run),
        )


def _read(run: Run) -> EarlierRun:
    if run.record.get("kind") != "unlearn":
        raise UsageError(f"--also {run.path}: made no model forget, it verified one")
    if not run.stage_done("verify"):
        raise RunError(f"{run.path} was not verified, so nobody knows what it forgot: forgetctl verify {run.path}")
    then = _scores_then(run)
    made = UnlearnOptions.from_json(run.record["options"])
    _check_request(run, made.forget, made.fields)
    rows = read_rows(made.forget, made.fields)
    if len(rows) != len(then.forget.names):
        raise RunError(f"{run.path} was verified with {len(then.forget.names)} rows, {made.forget} holds {len(rows)}")
    recipe = read_recipe(run.recipe_file)
    return EarlierRun(run, recipe, RowSets(rows={"forget": rows}, files={"forget": made.forget}), then)


def _scores_then(run: Run) -> Scores:
    file, verdict = run.scores_file("unlearned"), verdict_of(run)
    if not file.is_file():
        raise RunError(
            f"{file} is gone, so nobody knows what was forgotten; verify it again: forgetctl verify {run.path}"
        )
    if file_digest(file) != verdict.basis.scores.get("unlearned"):
        raise RunError(f"{file} is not what the verdict of {run.path} rests on")
    return read_scores_file(file)


def _check_request(run: Run, file: Path, fields: Fields) -> None:
    """Raise InputError or RunError unless the request is the one that the run committed to."""
    committed = _commitment(run)
    try:
        same = run.commit(file, fields=fields) == committed
    except InputError:
        raise InputError(file, f"cannot be read, but --also {run.path} needs it") from None
    if not same:
        raise RunError(f"{file} has changed since {run.path} made the model forget it")


def _commitment(run: Run) -> str:
    committed = run.record["inputs"].get("forget", {}).get("commitment")
    if committed is None:
        raise RunError(f"{run.path} has no commitment to its request, so it cannot be checked that it is the same")
    return str(committed)


def _named(scores: Scores, run: Run) -> Scores:
    """The forget rows alone, in a set of another name: they are not those of the run that is verified."""
    return Scores(role="unlearned", name=run.record["id"], sha256=scores.sha256, sets={EARLIER: scores.forget})
