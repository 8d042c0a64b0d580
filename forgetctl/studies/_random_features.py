"""Section 4's world: data whose unlearned model is known, and a random-feature model to unlearn it with.

The model gives two classes the log-odds theta^T relu(W^T x): W (d, p) is drawn once, theta (p,) trains. That is the
paper's softmax over K = 2 classes as its authors parametrise it, K - 1 columns with the last class's logit held at
0; training both columns would double every learning rate. Every tensor has a leading dimension of S seeds, which
are independent worlds side by side. All float64.

The *start* model is trained on all rows, the *reference* on the retain rows alone; the paper calls the latter the
retrained model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import logsigmoid

from ..progress import Bar
from ._settings import WorldSettings

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Sample:
    """Rows of one role: features relu(W^T x) (S, n, p) and labels (S, n), int64, 0 or 1."""

    features: Tensor
    labels: Tensor


@dataclass(frozen=True, kw_only=True)
class World:
    """Training rows, fresh rows for the distances, and the "I don't know" labels of the forget rows (S, n_f)."""

    forget: Sample
    retain: Sample
    forget_check: Sample
    retain_check: Sample
    uninformed: Tensor


def draw_world(seeds: Sequence[int], alpha: float, settings: WorldSettings) -> World:
    """Draw one world per seed (section 4.1).

    Forget inputs are N(+alpha 1, I_d), retain inputs N(-alpha 1, I_d); labels are logistic in x minus its mean, with
    intercept +1 and slope +1/sqrt(d) per coordinate on forget rows, -1 and -1/sqrt(d) on retain rows. At alpha 0 the
    two roles share their inputs' distribution and contradict each other. "I don't know" is a fair coin per row.
    """
    worlds = [_draw_one(np.random.default_rng(seed), alpha, settings) for seed in seeds]
    samples = [
        Sample(*(torch.from_numpy(np.stack(arrays)) for arrays in zip(*role, strict=True)))
        for role in zip(*(roles for roles, _ in worlds), strict=True)
    ]
    forget, retain, forget_check, retain_check = samples
    return World(
        forget=forget,
        retain=retain,
        forget_check=forget_check,
        retain_check=retain_check,
        uninformed=torch.from_numpy(np.stack([coins for _, coins in worlds])),
    )


def _draw_one(
    random: np.random.Generator, alpha: float, settings: WorldSettings
) -> tuple[list[tuple[Floats, NDArray[np.int64]]], NDArray[np.int64]]:
    d, check = settings.dimensions, settings.check_rows
    projection = random.normal(0, d**-0.5, (d, settings.features))

    def draw(rows: int, sign: int) -> tuple[Floats, NDArray[np.int64]]:
        noise = random.normal(size=(rows, d))
        logit = sign * (1 + noise.sum(axis=1) * d**-0.5)
        labels = (random.random(rows) < 1 / (1 + np.exp(-logit))).astype(np.int64)
        return np.maximum((noise + sign * alpha) @ projection, 0), labels

    sizes = ((settings.forget_rows, 1), (settings.retain_rows, -1), (check, 1), (check, -1))
    samples = [draw(rows, sign) for rows, sign in sizes]
    return samples, random.integers(0, 2, settings.forget_rows)


def pretrain(world: World, settings: WorldSettings, bar: Bar) -> tuple[Tensor, Tensor]:
    """The start and the reference model's theta, each (S, p).

    Both descend the mean cross-entropy of their rows from zero, full batch. They go side by side, so that the
    features, which cost the time, are read once; the gradient is features^T (sigmoid - label) / n.
    """
    seeds, n_forget, p = world.forget.features.shape
    features = torch.cat([world.forget.features, world.retain.features], 1)
    labels = torch.cat([world.forget.labels, world.retain.labels], 1)[:, :, None].double()
    n = features.shape[1]
    share = torch.zeros(n, 2, dtype=torch.float64)
    share[:, 0], share[n_forget:, 1] = 1 / n, 1 / (n - n_forget)
    theta = torch.zeros(seeds, p, 2, dtype=torch.float64)
    transposed = features.transpose(1, 2).contiguous()
    for step in range(1, settings.pretraining_steps + 1):
        error = ((features @ theta).sigmoid_() - labels) * share
        theta -= settings.pretraining_rate * (transposed @ error)
        if step % 100 == 0:
            bar.advance(100)
    bar.advance(settings.pretraining_steps % 100)
    start, reference = theta.unbind(2)
    return start.contiguous(), reference.contiguous()


def log_probabilities(features: Tensor, theta: Tensor) -> Tensor:
    """Both classes' log-probabilities in nats, M models at once: (S, n, p), theta (S, M, p) -> (M, S, n, 2)."""
    log_odds = (features @ theta.transpose(1, 2)).permute(2, 0, 1)
    return torch.stack([logsigmoid(-log_odds), logsigmoid(log_odds)], -1)


def divergence(logp: Tensor, logq: Tensor) -> Tensor:
    """KL(p || q) per row in nats: log-probabilities (..., 2), broadcast -> (...)."""
    return (logp.exp() * (logp - logq)).sum(-1)


def distances(world: World, reference: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
    """Section 4.1's forget and retain distance of M models, each (S, M), in nats.

    E KL(reference || model) over fresh inputs of the role: 0 where the model is as if it had never seen the forget
    rows. `reference` (S, p), `theta` (S, M, p).
    """

    def distance(sample: Sample) -> Tensor:
        known = log_probabilities(sample.features, reference[:, None])
        return divergence(known, log_probabilities(sample.features, theta)).mean(-1).T

    return distance(world.forget_check), distance(world.retain_check)
