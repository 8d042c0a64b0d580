"""Unlearning in the random-feature world: forgetctl's own objectives, full batch, plain gradient descent.

The runs of a study (methods, betas) share their features, so they take each step together, seeds too: theta is
(S, M, p) for S seeds and M runs. Objectives average over rows and know nothing of seeds or runs; giving each
the rows of all seeds with the size of one seed's batch makes the loss a sum over seeds, whose gradients are
separate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..losses.methods import METHODS, OBJECTIVES, Batch, Need, Role, Rows, WeightedSum
from ..progress import Bar
from ._random_features import Sample, World, distances, divergence, log_probabilities


@dataclass(frozen=True)
class Run:
    """One curve: a loss to descend and its learning rate."""

    name: str
    loss: WeightedSum
    learning_rate: float


def method_run(
    method: str, learning_rate: float, beta: float | None = None, *, forget_weight: float = 1.0, name: str = ""
) -> Run:
    """A run of one of forgetctl's methods, retain weight 1; `beta` None keeps the objective's own."""
    hyperparameters = {} if beta is None else {"beta": beta}
    scale = {"forget": forget_weight, "retain": 1.0}
    terms = {term: weight * scale[OBJECTIVES[term].role] for term, weight in METHODS[method].terms.items()}
    return Run(name or method, WeightedSum(terms, hyperparameters), learning_rate)


@dataclass(frozen=True)
class Trajectory:
    """Distances measured along the way: `steps` (T,), `forget` and `retain` (T, S, M) in nats; last theta."""

    steps: list[int]
    forget: Tensor
    retain: Tensor
    theta: Tensor


class Unlearning:
    """The losses of some runs as functions of theta, in one world and from one start model."""

    def __init__(self, world: World, start: Tensor, runs: Sequence[Run]) -> None:
        self.world, self.start, self.runs = world, start, runs
        self.roles: dict[Role, Sample] = {"forget": world.forget}
        if any(run.loss.reads("retain") for run in runs):
            self.roles["retain"] = world.retain
        with torch.no_grad():
            self.start_logq = {
                role: log_probabilities(sample.features, start[:, None])[0] for role, sample in self.roles.items()
            }

    def losses(self, theta: Tensor) -> list[Tensor]:
        """Each run's loss, summed over the seeds: theta (S, M, p) -> M scalars."""
        logq = {role: log_probabilities(sample.features, theta).unbind() for role, sample in self.roles.items()}
        return [
            run.loss(
                Batch(
                    {
                        role: self._rows(role, logq[role][index], run.loss.needs(role))
                        for role in self.roles
                        if run.loss.reads(role)
                    }
                )
            )
            for index, run in enumerate(self.runs)
        ]

    def forget_rows(self, theta: Tensor) -> Rows:
        """The scored forget rows of all seeds, (S * n_f,), under one model: theta (S, 1, p)."""
        return self._rows("forget", log_probabilities(self.world.forget.features, theta)[0], frozenset())

    def _rows(self, role: Role, logq: Tensor, needs: frozenset[Need]) -> Rows:
        """Score the rows of all seeds, (S * n,), from one run's log-probabilities (S, n, 2)."""
        labels = self.roles[role].labels
        alternative = self._answers(role, logq, self.world.uninformed) if "alternative" in needs else None
        kl = divergence(self.start_logq[role], logq).reshape(-1) if "kl" in needs else None
        return self._answers(role, logq, labels, kl=kl, alternative=alternative)

    def _answers(
        self, role: Role, logq: Tensor, labels: Tensor, kl: Tensor | None = None, alternative: Rows | None = None
    ) -> Rows:
        """Rows whose answer is one token, the label. The size of the batch is one seed's."""
        rows = labels.shape[1]
        logp = _picked(logq, labels)
        return Rows(
            logp=logp,
            tokens=torch.ones_like(logp),
            batch_rows=rows,
            batch_tokens=rows,
            start_logp=_picked(self.start_logq[role], labels),
            kl=kl,
            alternative=alternative,
        )

    def gradient(self, theta: Tensor) -> Tensor:
        """Each run's and seed's own gradient, (S, M, p)."""
        free = theta.detach().requires_grad_()
        return torch.autograd.grad(torch.stack(self.losses(free)).sum(), free)[0]

    def descend(self, reference: Tensor, steps: int, every: int, bar: Bar) -> Trajectory:
        """Take `steps` steps from the start model, measuring the distances before the first and every `every`."""
        rates = torch.tensor([run.learning_rate for run in self.runs], dtype=torch.float64)[:, None]
        theta = self.start[:, None].repeat(1, len(self.runs), 1)
        measured, taken = [0], [distances(self.world, reference, theta)]
        for step in range(1, steps + 1):
            theta = theta - rates * self.gradient(theta)
            if step % every == 0 or step == steps:
                measured.append(step)
                taken.append(distances(self.world, reference, theta))
                bar.advance(step - measured[-2])
        forget, retain = (torch.stack(values) for values in zip(*taken, strict=True))
        return Trajectory(measured, forget, retain, theta)


def _picked(logq: Tensor, labels: Tensor) -> Tensor:
    return logq.gather(-1, labels[..., None]).reshape(-1)
