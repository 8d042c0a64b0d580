"""Section 4 of the NPO paper: which method comes nearest to the model that never saw the forget rows?

In the random-feature world that model is known, so unlearning is measured by its distance on forget inputs and on
retain inputs. At alpha 1 the two inputs lie apart, at alpha 0 they come from one distribution with contrary labels.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator

from ..losses.methods import METHODS
from ..progress import Progress
from ..recipe.settings import Settings
from . import _figures as figures
from ._computing import one_thread, rounded
from ._descent import Trajectory, Unlearning, method_run
from ._outcome import Outcome, Table
from ._random_features import draw_world, pretrain
from ._settings import StudySettings, WorldSettings, read_settings


class MethodSettings(Settings):
    """How one method is run."""

    learning_rate: float = Field(gt=0)
    beta: float | None = Field(None, gt=0, description="without it the objective's own")
    forget_weight: float = Field(1, gt=0, description="of the term on forget rows; 2 turns our DPO into the authors'")


class PartSettings(Settings):
    """One distribution of inputs, and the methods compared on it."""

    alpha: float = Field(ge=0, description="forget inputs centre on +alpha, retain inputs on -alpha")
    methods: dict[str, MethodSettings]

    @field_validator("methods")
    @classmethod
    def _known(cls, methods: dict[str, MethodSettings]) -> dict[str, MethodSettings]:
        if unknown := sorted(set(methods) - set(METHODS)):
            raise ValueError(f"unknown method {', '.join(unknown)}; there is {', '.join(METHODS)}")
        return methods


class SyntheticSettings(StudySettings):
    """recipes/paper/synthetic.yaml."""

    world: WorldSettings
    parts: tuple[PartSettings, ...] = Field(min_length=1)


def study(progress: Progress) -> Outcome:
    """Run the shipped study."""
    return run(read_settings("synthetic", SyntheticSettings), progress)


def run(settings: SyntheticSettings, progress: Progress) -> Outcome:
    """Unlearn with every method of every part; distances over time, one value per seed and their mean."""
    parts = [run_part(part, settings, progress) for part in settings.parts]
    data = {"study": "synthetic", "settings": settings.model_dump(mode="json"), "parts": parts}
    return Outcome(
        data=data,
        tables=[table for part in parts for table in _tables(part)],
        figures={"synthetic-distances": figures.over_time(parts), "synthetic-pareto": figures.pareto(parts)},
    )


def run_part(part: PartSettings, settings: SyntheticSettings, progress: Progress) -> dict[str, Any]:
    """One alpha: the distances of the start model and of each method."""
    runs = [
        method_run(name, method.learning_rate, method.beta, forget_weight=method.forget_weight)
        for name, method in part.methods.items()
    ]
    with one_thread():
        world = draw_world(settings.seeds, part.alpha, settings.world)
        with progress.bar(f"alpha {part.alpha:g}: train", settings.world.pretraining_steps) as bar:
            start, reference = pretrain(world, settings.world, bar)
        with progress.bar(f"alpha {part.alpha:g}: unlearn", settings.steps) as bar:
            trajectory = Unlearning(world, start, runs).descend(reference, settings.steps, settings.every, bar)
    return {
        "alpha": part.alpha,
        "seeds": list(settings.seeds),
        "steps": trajectory.steps,
        "start": _point(trajectory, 0, 0),
        "methods": {run.name: _method(trajectory, index) for index, run in enumerate(runs)},
    }


def _method(trajectory: Trajectory, index: int) -> dict[str, Any]:
    """Where a method ends, where its mean forget distance was best, and its way: mean, median and each seed."""
    best = int(trajectory.forget[:, :, index].mean(1).argmin())
    kinds = {"forget": trajectory.forget[:, :, index], "retain": trajectory.retain[:, :, index]}
    return {
        "final": _point(trajectory, -1, index),
        "best": _point(trajectory, best, index),
        **{name: rounded(values.mean(1)) for name, values in kinds.items()},
        "median": {name: rounded(values.median(1).values) for name, values in kinds.items()},
        "per_seed": {name: rounded(values.T) for name, values in kinds.items()},
    }


def _point(trajectory: Trajectory, position: int, index: int) -> dict[str, Any]:
    forget, retain = trajectory.forget[position, :, index], trajectory.retain[position, :, index]
    return {
        "step": trajectory.steps[position],
        **{name: rounded(value.mean()) for name, value in (("forget", forget), ("retain", retain))},
        "median": {"forget": rounded(forget.median()), "retain": rounded(retain.median())},
        "per_seed": {"forget": rounded(forget), "retain": rounded(retain)},
    }


def _tables(part: dict[str, Any]) -> list[Table]:
    def cells(point: dict[str, Any]) -> list[str]:
        return [f"{point['forget']:.4f}", f"{point['retain']:.4f}"]

    def both(point: dict[str, Any]) -> list[str]:
        return [*cells(point), *cells(point["median"])]

    points = {"(start)": part["start"], **{name: method["final"] for name, method in part["methods"].items()}}
    best = {name: cells(method["best"]) for name, method in part["methods"].items()}
    ends = Table(
        f"alpha = {part['alpha']:g}: KL from the model that never saw the forget rows; F forget, R retain, nats",
        ["method", "mean F", "mean R", "median F", "median R", "best F", "R there"],
        [[name, *both(point), *best.get(name, ["", ""])] for name, point in points.items()],
    )
    seeds = part["seeds"]
    each = Table(
        f"alpha = {part['alpha']:g}: F at the end of each seed",
        ["method", *map(str, seeds)],
        [[name, *(f"{value:.3g}" for value in point["per_seed"]["forget"])] for name, point in points.items()],
    )
    return [ends, each]
