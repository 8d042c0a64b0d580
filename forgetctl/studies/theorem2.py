"""Theorem 2 of the NPO paper: in logistic regression with n_f <= d forget rows, gradient ascent's weights leave the
start in proportion to the number of steps, NPO's to its logarithm.

GA keeps its pull: as a row's probability goes to 0 its gradient tends to a constant. NPO weights a row by
2 p^beta / (p^beta + p_start^beta) (eq. 5), which decays exponentially in the distance already travelled. n_f <= d
makes the rows separable, so nothing else stops the ascent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn.functional import logsigmoid

from ..losses.methods import Batch, Rows
from ..progress import Bar, Progress
from . import _figures as figures
from ._computing import least_squares, one_thread, rounded
from ._descent import Run, method_run
from ._outcome import Outcome, Table
from ._settings import StudySettings, read_settings


class Theorem2Settings(StudySettings):
    """recipes/paper/theorem2.yaml."""

    dimensions: int = Field(ge=1, description="d")
    forget_rows: int = Field(ge=1, description="n_f")
    betas: tuple[float, ...] = Field(min_length=1)
    learning_rate: float = Field(gt=0)

    @model_validator(mode="after")
    def _high_dimensional(self) -> Self:
        if self.forget_rows > self.dimensions:
            raise ValueError("theorem 2 needs forget_rows <= dimensions")
        return self


def study(progress: Progress) -> Outcome:
    """Run the shipped study."""
    return run(read_settings("theorem2", Theorem2Settings), progress)


def run(settings: Theorem2Settings, progress: Progress) -> Outcome:
    """Distance from the start over time, mean over seeds, with both laws fitted to each run."""
    npo = [method_run("npo", settings.learning_rate, beta, name=f"npo beta {beta:g}") for beta in settings.betas]
    runs = [method_run("ga", settings.learning_rate), *npo]
    signed, start = draw(settings)
    with one_thread(), progress.bar("unlearn", settings.steps) as bar:
        steps, distance = descend(signed, start, runs, settings, bar)
    time = torch.tensor(steps)
    data: dict[str, Any] = {
        "study": "theorem2",
        "settings": settings.model_dump(mode="json"),
        "steps": steps,
        "runs": {
            run.name: {
                "distance": rounded(distance[:, :, index].mean(1)),
                "final_per_seed": rounded(distance[-1, :, index]),
                "linear": least_squares(time, distance[:, :, index].mean(1)),
                "logarithmic": least_squares(time.log(), distance[:, :, index].mean(1)),
            }
            for index, run in enumerate(runs)
        },
    }
    return Outcome(data, [_table(data)], {"theorem2-growth": figures.growth(data)})


def draw(settings: Theorem2Settings) -> tuple[Tensor, Tensor]:
    """Rows y x (S, n_f, d), x ~ N(0, I_d) and y = +1 or -1, and start weights (S, d) ~ N(0, I_d / d)."""
    rows, starts = [], []
    for seed in settings.seeds:
        random = np.random.default_rng(seed)
        inputs = random.normal(size=(settings.forget_rows, settings.dimensions))
        rows.append(inputs * random.choice([-1.0, 1.0], size=(settings.forget_rows, 1)))
        starts.append(random.normal(0, settings.dimensions**-0.5, settings.dimensions))
    return torch.from_numpy(np.stack(rows)), torch.from_numpy(np.stack(starts))


def descend(
    signed: Tensor, start: Tensor, runs: Sequence[Run], settings: Theorem2Settings, bar: Bar
) -> tuple[list[int], Tensor]:
    """Full-batch descent with logp = log sigmoid(y theta^T x); steps (T,) and ||theta - start|| (T, S, M)."""
    rates = torch.tensor([run.learning_rate for run in runs], dtype=torch.float64)[:, None]
    start_logp = logsigmoid(signed @ start[:, :, None]).reshape(-1)
    theta = start[:, None].repeat(1, len(runs), 1)
    steps: list[int] = []
    distance = []
    for step in range(1, settings.steps + 1):
        theta.requires_grad_()
        logp = logsigmoid(signed @ theta.transpose(1, 2)).unbind(-1)
        losses = [
            run.loss(_batch(values.reshape(-1), start_logp, signed)) for run, values in zip(runs, logp, strict=True)
        ]
        (gradient,) = torch.autograd.grad(torch.stack(losses).sum(), theta)
        theta = theta.detach() - rates * gradient
        if step % settings.every == 0 or step == settings.steps:
            bar.advance(step - (steps[-1] if steps else 0))
            steps.append(step)
            distance.append((theta - start[:, None]).norm(dim=-1))
    return steps, torch.stack(distance)


def _batch(logp: Tensor, start_logp: Tensor, signed: Tensor) -> Batch:
    """Rows of all seeds, with the size of one seed's batch: the loss is a sum over seeds."""
    rows = signed.shape[1]
    scores = Rows(logp=logp, tokens=torch.ones_like(logp), batch_rows=rows, batch_tokens=rows, start_logp=start_logp)
    return Batch({"forget": scores})


def _table(data: dict[str, Any]) -> Table:
    rows = [
        [
            name,
            f"{run['distance'][-1]:.3f}",
            *(f"{run[law][key]:.4g}" for law in ("linear", "logarithmic") for key in ("slope", "r2")),
        ]
        for name, run in data["runs"].items()
    ]
    columns = ["run", "distance at the end", "a + b t: b", "R^2", "a + b log t: b", "R^2"]
    return Table("Distance of the weights from the start after t steps, mean over seeds", columns, rows)
