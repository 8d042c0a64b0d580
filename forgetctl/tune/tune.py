"""`forgetctl tune`: which settings bring the forget rows to where unseen rows lie and keep the rest."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..errors import RunError, UsageError, source_name
from ..files.writing import model_digest, read_json, refuse_in_bundle, text_digest, write_bytes, write_json
from ..losses.methods import OBJECTIVES
from ..model.host import undisturbed
from ..progress import Progress, Silent
from ..recipe.recipe import Recipe
from ..runs.commitments import commit_file, make_key, read_key
from ..runs.layout import PROGRESS_LOG
from ..train.options import UnlearnOptions
from ._halving import Trial, draw, promoted, ranked, rung_epochs
from ._yardstick import Yardstick, make_yardstick

SPAN = 3.0
"""Weights and beta are tried between a third and three times the recipe's."""
FAR = 0.5
"""KS distance beyond which rows are not forgotten: half of them lie where next to no unseen row does."""
RATES = (1e-6, 5e-3)
"""Learning rates that are tried: from what suits billions of weights to what suits a few million."""


@dataclass(frozen=True)
class Budget:
    """trials: settings on the first rung. minutes: after which no trial is begun any more, None for no limit.
    utility_loss: share of the kept rows' probability that may be lost."""

    trials: int = 12
    minutes: float | None = None
    utility_loss: float = 0.03

    @property
    def least_utility(self) -> float:
        """Share of the start model's probability of kept rows that must be left."""
        return 1 - self.utility_loss


@dataclass(frozen=True)
class Tuned:
    """The trials, the best of them, and the recipe that it makes. complete: whether the time sufficed for all."""

    trials: tuple[Trial, ...]
    best: Trial
    recipe: Recipe
    complete: bool

    def shortfall(self, budget: Budget) -> str | None:
        """What the best trial lacks, for its owner; None if it both keeps and forgets."""
        kept, distance = self.best.utility or 0.0, self.best.distance
        if kept < budget.least_utility:
            return (
                f"No setting kept {budget.least_utility:.0%} of the kept rows' probability; this one kept {kept:.0%}."
            )
        if distance is None or distance > FAR:
            return (
                "No setting that kept enough brought the rows near to where unseen ones lie; allow it to keep less "
                "(--utility-loss), or let it end at levels (without --plain)."
            )
        return None


@undisturbed()
def run_tune(
    options: UnlearnOptions, recipe: Recipe, budget: Budget, folder: Path, progress: Progress | None = None
) -> Tuned:
    """Try settings around `recipe`, note every trial in `folder`, and write the best one there as recipe.yaml.

    Called again with the same arguments it goes on where it stopped. Raises as `run_unlearn`; RunError if `folder`
    holds trials of other inputs; UsageError without retain rows or holdout, or if no trial came to an end.
    """
    progress = progress or Silent()
    refuse_in_bundle(folder)
    yardstick = make_yardstick(options, recipe)
    _claim(folder, yardstick)
    trials = list(_read(folder / "trials.jsonl"))
    with progress.logged(folder / PROGRESS_LOG):
        complete = _climb(yardstick, budget, folder, trials, progress)
    best = next(iter(ranked(_highest(trials), budget.least_utility)), None)
    if best is None or best.distance is None:
        raise UsageError("no trial came to an end; give more --minutes, or a recipe with a lower learning rate")
    chosen = _chosen(recipe, best)
    write_bytes(folder / "recipe.yaml", chosen.to_yaml().encode())
    return Tuned(tuple(trials), best, chosen, complete)


def _climb(yardstick: Yardstick, budget: Budget, folder: Path, trials: list[Trial], progress: Progress) -> bool:
    """Add the trials that are missing, rung by rung. Returns whether the time sufficed."""
    recipe = yardstick.recipe
    settings = draw(
        budget.trials, _ranges(recipe), {name: getattr(recipe, name) for name in _ranges(recipe)}, recipe.seed
    )
    going = list(range(budget.trials))
    for rung, epochs in enumerate(rung_epochs(recipe.epochs)):
        done = {trial.number for trial in trials if trial.rung == rung}
        for number in (one for one in going if one not in done):
            if budget.minutes is not None and sum(trial.seconds for trial in trials) > 60 * budget.minutes:
                return False
            words = ", ".join(f"{name} {value:g}" for name, value in settings[number].items())
            progress.say(f"Setting {number}, {epochs} epochs: {words}.")
            trial = yardstick.measure(number, rung, settings[number], epochs, folder / "trial", progress)
            _add(folder / "trials.jsonl", trials, trial)
        going = promoted([trial for trial in trials if trial.rung == rung], budget.least_utility)
    return True


def _ranges(recipe: Recipe) -> dict[str, tuple[float, float]]:
    """What is tried: the keys of the recipe that its loss has a use for, with the ends of their ranges."""
    terms = recipe.weighted_terms()
    ranges = {"learning_rate": RATES}
    if recipe.beta is not None and any("beta" in OBJECTIVES[name].hyperparameters for name in terms):
        ranges["beta"] = _around(recipe.beta)
    if any(OBJECTIVES[name].role == "retain" for name in terms):
        ranges["retain_weight"] = _around(recipe.retain_weight)
    if recipe.anchor:
        ranges["anchor"] = _around(recipe.anchor)
    return ranges


def _around(value: float) -> tuple[float, float]:
    return value / SPAN, value * SPAN


def _highest(trials: list[Trial]) -> list[Trial]:
    """Those of the highest rung that was reached: fewer epochs are compared with fewer epochs only."""
    finished = [trial for trial in trials if trial.distance is not None]
    top = max((trial.rung for trial in finished), default=0)
    return [trial for trial in finished if trial.rung == top]


def _chosen(recipe: Recipe, best: Trial) -> Recipe:
    epochs = rung_epochs(recipe.epochs)[best.rung]
    words = (
        f"Tuned: {best.distance:.3f} from the levels of unseen rows, {best.utility:.3f} of the kept rows' probability."
    )
    return recipe.model_copy(update={**best.settings, "epochs": epochs, "description": words})


def _claim(folder: Path, yardstick: Yardstick) -> None:
    """Note what is tuned on what. Raises RunError if the folder holds trials of something else."""
    options, note = yardstick.job.options, folder / "tune.json"
    key_file = folder.with_name(folder.name + ".key")
    if not note.exists() and folder.exists() and any(folder.iterdir()):
        raise UsageError(f"{folder} is in use; choose another --out")
    key = read_key(key_file) if key_file.exists() else make_key(key_file)
    files = [
        commit_file(key, file, fields=options.fields)
        for file in (options.forget, options.retain, options.holdout)
        if file
    ]
    inputs = text_digest([*files, model_digest(yardstick.job.facts.path), yardstick.recipe.to_yaml()])
    yardstick.job.start.files.check()  # the digest is of the model that the yardstick was made with
    if not note.exists():
        write_json(note, {"inputs": inputs, **_data_sets(yardstick)})
    elif read_json(note).get("inputs") != inputs:
        raise RunError(f"{folder} holds trials of another model, request or recipe; choose another --out")


def _data_sets(yardstick: Yardstick) -> dict[str, Any]:
    """Which data sets of the hub the rows are from, and at which commit."""
    given = yardstick.job.inputs
    files = {"forget": given.forget, "retain": given.retain, "holdout": given.holdout}
    return {
        name: {"path": source_name(file.path), "revision": file.revision}
        for name, file in files.items()
        if file is not None and file.revision is not None
    }


def _add(file: Path, trials: list[Trial], trial: Trial) -> None:
    trials.append(trial)
    write_bytes(file, "".join(json.dumps(asdict(one)) + "\n" for one in trials).encode())


def _read(file: Path) -> Iterator[Trial]:
    if file.exists():
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
            try:
                yield Trial(**json.loads(line))
            except (ValueError, TypeError):
                raise RunError(f"{file}:{number} is damaged") from None
