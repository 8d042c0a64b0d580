"""The pull of weights to where they began: by hand, on split weights, and what it does to a run."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from forgetctl.model.split_weights import join, low_half, split_into, split_weights
from forgetctl.train._anchor import Anchor


def step(anchor: Anchor, model: nn.Module, rate: float) -> None:
    groups = [{"params": [weight], "lr": rate} for weight in model.parameters() if weight.requires_grad]
    anchor.on_optimizer_step(None, None, None, optimizer=SimpleNamespace(param_groups=groups))


def linear() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(3, 2)


def test_goes_back_by_its_share_at_the_peak_and_by_less_at_a_lower_rate() -> None:
    model = linear()
    start = copy.deepcopy(model)
    anchor = Anchor(model, 0.2, peak=1e-3)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(1.0)
    step(anchor, model, 1e-3)
    torch.testing.assert_close(model.weight, start.weight + 0.8)
    step(anchor, model, 5e-4)
    torch.testing.assert_close(model.bias, start.bias + 0.8 * 0.9)


def test_weights_that_are_not_trained_are_left_alone_and_not_copied() -> None:
    model = linear()
    model.bias.requires_grad_(False)
    anchor = Anchor(model, 0.5, peak=1.0)
    assert len(anchor.start) == 1
    model.bias.add_(1.0)
    moved = model.bias.clone()
    step(anchor, model, 1.0)
    assert torch.equal(model.bias, moved)


def test_split_weights_move_as_float32_ones() -> None:
    whole, halves = linear(), linear()
    split_weights(halves)
    anchors = [(Anchor(model, 0.01, peak=1.0), model) for model in (whole, halves)]
    with torch.no_grad():
        whole.weight.add_(1e-3)
        split_into(halves.weight.data, low_half(halves.weight), join(halves.weight, low_half(halves.weight)).add_(1e-3))
    for anchor, model in anchors:
        step(anchor, model, 1.0)
    assert torch.equal(join(halves.weight.data, low_half(halves.weight)), whole.weight)


def test_the_copy_does_not_follow_the_weights() -> None:
    model = linear()
    anchor = Anchor(model, 0.5, peak=1.0)
    before: Any = anchor.start[id(model.weight)].clone()
    model.weight.data.mul_(3)
    assert torch.equal(anchor.start[id(model.weight)], before)
    step(anchor, model, 1.0)
    torch.testing.assert_close(model.weight.data, before * 2)
    assert pytest.approx(0.5) == anchor.share
