"""Proposition 1 of the NPO paper: NPO contains gradient ascent as the limit of beta -> 0.

L_NPO - (2/beta) ln 2 -> L_GA - E[logp_start], gradients likewise. With r = logp - logp_start the gap is
beta E[r^2] / 4 + O(beta^3) in loss: it shrinks in proportion to beta. Checked at weights away from the start, where
the gradients differ (at the start they are equal for every beta); and as trajectories, which close in on GA's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from ..progress import Progress, Silent
from . import _figures as figures
from ._computing import one_thread, rounded
from ._descent import Run, Unlearning, method_run
from ._outcome import Outcome, Table
from ._random_features import World, draw_world, pretrain
from ._settings import StudySettings, WorldSettings, read_settings


class Proposition1Settings(StudySettings):
    """recipes/paper/proposition1.yaml."""

    world: WorldSettings
    alpha: float = Field(ge=0)
    betas: tuple[float, ...] = Field(min_length=1, description="of the trajectories")
    learning_rate: float = Field(gt=0)
    limit_betas: tuple[float, ...] = Field(min_length=1, description="of the limits")
    limit_steps: int = Field(ge=1, description="gradient ascent steps from the start to where the limits are taken")


def study(progress: Progress) -> Outcome:
    """Run the shipped study."""
    return run(read_settings("proposition1", Proposition1Settings), progress)


def run(settings: Proposition1Settings, progress: Progress) -> Outcome:
    """The gaps in loss and gradient for falling beta, and the trajectories of several betas beside GA's."""
    runs = _runs(settings.betas, settings.learning_rate)
    with one_thread():
        world = draw_world(settings.seeds, settings.alpha, settings.world)
        with progress.bar("train", settings.world.pretraining_steps) as bar:
            start, reference = pretrain(world, settings.world, bar)
        limits = gaps(world, start, reference, settings)
        with progress.bar("unlearn", settings.steps) as bar:
            trajectory = Unlearning(world, start, runs).descend(reference, settings.steps, settings.every, bar)
    forget, retain = trajectory.forget.mean(1), trajectory.retain.mean(1)
    apart = (trajectory.theta - trajectory.theta[:, :1]).norm(dim=-1).mean(0)
    curves = {
        run.name: {
            "beta": beta,
            "forget": rounded(forget[:, index]),
            "retain": rounded(retain[:, index]),
            "median": {
                "forget": rounded(trajectory.forget[:, :, index].median(1).values),
                "retain": rounded(trajectory.retain[:, :, index].median(1).values),
            },
            "final_per_seed": {
                "forget": rounded(trajectory.forget[-1, :, index]),
                "retain": rounded(trajectory.retain[-1, :, index]),
            },
            "parameters_from_ga": rounded(apart[index]),
        }
        for index, (run, beta) in enumerate(zip(runs, (None, *settings.betas), strict=True))
    }
    data = {
        "study": "proposition1",
        "settings": settings.model_dump(mode="json"),
        "limits": limits,
        "steps": trajectory.steps,
        "curves": curves,
    }
    return Outcome(data, _tables(limits, curves), {"proposition1-betas": figures.betas(data)})


def gaps(world: World, start: Tensor, reference: Tensor, settings: Proposition1Settings) -> list[dict[str, float]]:
    """For each beta, how far NPO is from GA at weights that GA reached: mean over seeds.

    loss: |L_NPO - (2/beta) ln 2 - (L_GA - E logp_start)|, nats; predicted: beta E[r^2] / 4, its leading term;
    gradient: norm of the difference over GA's norm.
    """
    ascent = Unlearning(world, start, _runs((), settings.learning_rate))
    theta = ascent.descend(reference, settings.limit_steps, settings.limit_steps, Silent()).theta
    runs = _runs(settings.limit_betas, settings.learning_rate)
    here = theta.repeat(1, len(runs), 1)
    gradients = Unlearning(world, start, runs).gradient(here)
    relative = ((gradients - gradients[:, :1]).norm(dim=-1) / gradients[:, :1].norm(dim=-1)).mean(0)
    at_start = [-(loss.item()) for loss in ascent.losses(start[:, None])]
    losses = torch.stack(Unlearning(world, start, runs).losses(here)).detach()
    ratio = _log_ratio(world, start, theta)
    seeds = len(settings.seeds)
    return [
        {
            "beta": beta,
            "loss": abs(float(loss) - seeds * (2 / beta) * math.log(2) - (float(losses[0]) + at_start[0])) / seeds,
            "predicted": beta * float(ratio.square().mean()) / 4,
            "gradient": float(gap),
        }
        for beta, loss, gap in zip(settings.limit_betas, losses[1:], relative[1:], strict=True)
    ]


def _log_ratio(world: World, start: Tensor, theta: Tensor) -> Tensor:
    """logp - logp_start of the forget rows, (S * n,)."""
    problem = Unlearning(world, start, ())
    return problem.forget_rows(theta[:, :1]).log_ratio


def _runs(betas: Sequence[float], learning_rate: float) -> list[Run]:
    npo = [method_run("npo", learning_rate, beta, name=f"npo beta {beta:g}") for beta in betas]
    return [method_run("ga", learning_rate), *npo]


def _tables(limits: list[dict[str, float]], curves: dict[str, Any]) -> list[Table]:
    limit = Table(
        "NPO to GA as beta goes to 0",
        ["beta", "loss gap, nats", "beta E(r^2) / 4", "gradient gap, relative"],
        [[f"{row['beta']:g}", *(f"{row[key]:.3e}" for key in ("loss", "predicted", "gradient"))] for row in limits],
    )
    ends = Table(
        "Trajectories: KL from the model that never saw the forget rows, nats, mean over seeds",
        ["run", "F end", "R end", "best F", "|theta - GA's| at the end"],
        [
            [
                name,
                f"{curve['forget'][-1]:.4f}",
                f"{curve['retain'][-1]:.4f}",
                f"{min(curve['forget']):.4f}",
                f"{curve['parameters_from_ga']:.3g}",
            ]
            for name, curve in curves.items()
        ],
    )
    return [limit, ends]
