"""The random-feature world and the descent in it, against plain autograd and against one seed, one run at a time."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from forgetctl.losses.methods import METHODS
from forgetctl.progress import Silent
from forgetctl.studies.computing import least_squares
from forgetctl.studies.descent import Unlearning, method_run
from forgetctl.studies.random_features import (
    World,
    distances,
    divergence,
    draw_world,
    log_probabilities,
    pretrain,
)
from forgetctl.studies.settings import WorldSettings

SMALL = WorldSettings(dimensions=4, features=8, forget_rows=12, retain_rows=30, check_rows=20, pretraining_steps=60)
METHOD_NAMES = ["ga", "ga-rt", "ga-kl", "idk-rt", "dpo", "dpo-rt", "dpo-kl", "npo", "npo-rt", "npo-kl"]


def trained(*seeds: int) -> tuple[World, Tensor, Tensor]:
    world = draw_world(seeds, 1, SMALL)
    return world, *pretrain(world, SMALL, Silent())


def test_the_world_has_the_papers_distribution() -> None:
    settings = WorldSettings(check_rows=20000, pretraining_steps=0)
    forget, retain = (getattr(draw_world([7], 1, settings), name) for name in ("forget_check", "retain_check"))
    assert forget.features.shape == (1, 20000, 128)
    assert forget.features.dtype == torch.float64
    # E sigmoid(1 + z) for z ~ N(0, 1), the logit's distribution, is 0.695; contrary on retain rows.
    assert forget.labels.double().mean().item() == pytest.approx(0.695, abs=0.015)
    assert retain.labels.double().mean().item() == pytest.approx(0.305, abs=0.015)


def test_pretraining_descends_the_mean_cross_entropy() -> None:
    world, start, reference = trained(1, 2)
    both = torch.cat([world.forget.features, world.retain.features], 1)
    labels = torch.cat([world.forget.labels, world.retain.labels], 1)
    for theta, features, target in (
        (start, both, labels),
        (reference, world.retain.features, world.retain.labels),
    ):
        own = torch.zeros_like(theta)
        for _ in range(SMALL.pretraining_steps):
            own.requires_grad_()
            logq = log_probabilities(features, own[:, None])[0]
            loss = -logq.gather(-1, target[..., None]).mean((1, 2)).sum()
            own = own.detach() - SMALL.pretraining_rate * torch.autograd.grad(loss, own)[0]
        torch.testing.assert_close(theta, own)


def test_seeds_and_runs_side_by_side_are_as_they_are_alone() -> None:
    runs = [method_run(name, 0.01, beta=0.5) for name in METHOD_NAMES]
    world, start, reference = trained(1, 2)
    together = Unlearning(world, start, runs).descend(reference, 5, 5, Silent())
    alone, its_start, its_reference = trained(2)
    for index, run in enumerate(runs):
        single = Unlearning(alone, its_start, [run]).descend(its_reference, 5, 5, Silent())
        torch.testing.assert_close(together.theta[1:, index], single.theta[:, 0])
        torch.testing.assert_close(together.forget[:, 1:, index], single.forget[:, :, 0])
    assert together.steps == [0, 5]


def test_losses_at_the_start() -> None:
    world, start, _ = trained(3)
    runs = [method_run(name, 1.0, beta=0.1) for name in ("ga", "npo", "dpo", "ga-kl")]
    problem = Unlearning(world, start, runs)
    theta = start[:, None].repeat(1, len(runs), 1)
    ga, npo, dpo, ga_kl = (loss.item() for loss in problem.losses(theta))
    assert npo == pytest.approx(2 / 0.1 * math.log(2))
    assert dpo == pytest.approx(1 / 0.1 * math.log(2))
    assert ga_kl == pytest.approx(ga)
    gradient = problem.gradient(theta)
    torch.testing.assert_close(gradient[:, 0], gradient[:, 1])


def test_weights_of_the_forget_term() -> None:
    run = method_run("dpo-rt", 1.0, beta=5, forget_weight=2)
    assert dict(run.loss.terms) == {"dpo": 2.0, "rt": 1.0}
    assert dict(method_run("npo-rt", 1.0).loss.terms) == dict(METHODS["npo-rt"].terms)


def test_distances_are_zero_at_the_reference_and_divergence_is_right() -> None:
    world, start, reference = trained(4)
    forget, retain = distances(world, reference, torch.stack([reference, start], 1))
    assert forget.shape == retain.shape == (1, 2)
    assert forget[0, 0].item() == pytest.approx(0, abs=1e-12)
    assert forget[0, 1].item() > 0
    p, q = torch.tensor([0.25, 0.75]).log(), torch.tensor([0.5, 0.5]).log()
    assert divergence(p, q).item() == pytest.approx(0.25 * math.log(0.5) + 0.75 * math.log(1.5))


def test_least_squares_finds_a_line() -> None:
    x = torch.arange(1.0, 9.0)
    found = least_squares(x, 3 * x - 2)
    assert found == pytest.approx({"intercept": -2, "slope": 3, "r2": 1})
