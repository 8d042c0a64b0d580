"""What settings are measured with before a verdict: rows that the verdict does not use, and levels learned from a
holdout.

Trials are not trained on the retain rows that they are measured on, and neither are those the ones that a verdict
measures damage on.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from ..errors import DivergedError, InputError, UsageError
from ..model.encoding import Encoded
from ..model.load import choose_device, load_model
from ..model.metrics import per_token, probability
from ..model.processes import Ranks
from ..model.protocol import Model
from ..model.scoring import score
from ..progress import Progress
from ..recipe.recipe import Calibration, Recipe
from ..rows.reading import pick
from ..runs.run import LATEST, Run
from ..train.computing import refuse_beyond
from ..train.inputs import read
from ..train.job import Job
from ..train.levels import learn_levels
from ..train.options import UnlearnOptions
from ..train.prepare import prepare
from ..train.unlearn import run_unlearn
from ..verify.statistics.distances import ks
from ._halving import Trial

LEAST_ROWS = 10


@dataclass(frozen=True, kw_only=True, repr=False)
class Yardstick:
    """job: of the recipe, calibrated, for the rows and the model. recipe: as it is tuned, calibrated or not.

    levels: in nats a token, where each forget row would lie had it not been seen. kept: retain rows to measure on.
    known: the start model's mean probability of them, in (0, 1].
    """

    job: Job
    recipe: Recipe
    levels: Sequence[float]
    kept: Sequence[Encoded]
    known: float

    def measure(
        self, number: int, rung: int, settings: Mapping[str, float], epochs: int, place: Path, progress: Progress
    ) -> Trial:
        """Unlearn with these settings in the directory `place`, of which nothing is kept, and score what came of it."""
        discard(place)
        recipe = trial_recipe(self.recipe, settings, epochs)
        options, inputs = replace(self.job.options, out=place), self.job.inputs
        if recipe.calibration is None:
            options, inputs = replace(options, holdout=None), replace(inputs, holdout=None)
        started = time.monotonic()
        try:
            run = run_unlearn(options, recipe, progress, inputs)
        except DivergedError as error:
            progress.say(str(error))
            distance = utility = None
        else:
            model = load_model(run.model_dir, choose_device(options.device), torch.float32)
            rows = self.job.encoded
            distance = ks(per_token(score(model, rows), [row.tokens for row in rows]), self.levels).D
            utility = _probability(model, self.kept) / self.known
        seconds = time.monotonic() - started
        discard(place)
        return Trial(
            number=number, rung=rung, settings=settings, distance=distance, utility=utility, seconds=round(seconds, 1)
        )


def make_yardstick(options: UnlearnOptions, recipe: Recipe) -> Yardstick:
    """Raises as `prepare`, UsageError without rows to measure with, MemoryExceeded for what cannot be trained here."""
    if options.retain is None or options.holdout is None:
        raise UsageError("tune needs --retain and --holdout: rows to keep, and rows that no model saw")
    calibrated = recipe.model_copy(update={"calibration": recipe.calibration or Calibration()})
    inputs = read(options)
    job = prepare(options, calibrated, inputs)
    reserved = prepare(options, trial_recipe(calibrated, {}, recipe.epochs), inputs).sample
    assert job.sample is not None and reserved is not None  # noqa: S101, PT018  there is a retain file
    positions = sorted(set(reserved.pairing.check) - set(job.sample.pairing.check))
    if len(positions) < LEAST_ROWS:
        raise InputError(options.retain, f"has too few rows to set {LEAST_ROWS} aside for tune")
    device = choose_device(options.device)
    refuse_beyond(job, device, Ranks())
    model = load_model(job.facts.path, device, torch.float32)
    kept = job.encode(pick(reserved.rows, positions), options.retain)
    levels = learn_levels(model, job.unseen.encoded, job.encoded, reserved.train)
    return Yardstick(job=job, recipe=recipe, levels=levels, kept=kept, known=_probability(model, kept))


def trial_recipe(recipe: Recipe, settings: Mapping[str, float], epochs: int) -> Recipe:
    """A recipe with other settings that keeps twice as many retain rows out of training: the verdict's own, which are
    the first of them, and as many to measure on."""
    share, rows = recipe.retain.check_share, recipe.retain.check_rows
    retain = recipe.retain.model_copy(update={"check_share": min(2 * share, (1 + share) / 2), "check_rows": 2 * rows})
    return recipe.model_copy(update={**settings, "epochs": epochs, "retain": retain})


def discard(place: Path) -> None:
    """Remove a trial's directory with what lies beside it, or what a trial that was broken off left there."""
    left = Run(place)
    for folder in (place, left.row_keys):
        if folder.exists():
            shutil.rmtree(folder)
    for file in (left.key_file, place.parent / LATEST):
        file.unlink(missing_ok=True)


def _probability(model: Model, rows: Sequence[Encoded]) -> float:
    return float(np.mean(probability(score(model, rows), [row.tokens for row in rows])))
