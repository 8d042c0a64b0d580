"""Weights that are bfloat16 for the model and float32 for the optimizer: cut, and joined again bit by bit."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from forgetctl.model.split_weights import is_split, join, join_weights, low_half, split, split_weights

floats = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(st.lists(floats, min_size=1, max_size=20))
def test_split_and_joined_again(values: list[float]) -> None:
    master = torch.tensor(values, dtype=torch.float32)
    assert torch.equal(join(*split(master)).view(torch.int32), master.view(torch.int32))


@given(st.lists(floats, min_size=1, max_size=20))
def test_the_high_half_is_the_nearest_bfloat16(values: list[float]) -> None:
    master = torch.tensor(values, dtype=torch.float32)
    ours, torchs = split(master)[0].double(), master.bfloat16().double()
    ties = (ours - master).abs() == (torchs - master).abs()  # torch rounds half a step to even
    assert bool((ties | (ours == torchs)).all())


@pytest.mark.parametrize(
    ("bits", "high", "low"),
    [
        (0x3F800000, 0x3F80, 0),  # 1
        (0x3F807FFF, 0x3F80, 0x7FFF),  # just below half a step
        (0x3F808000, 0x3F81, -0x8000),  # half a step, away from zero
        (0x3F818000, 0x3F82, -0x8000),
        (0x3FFFFFFF, 0x4000, -1),  # carries into the exponent
        (-0x80000000 + 0x3F808000, -0x8000 + 0x3F81, -0x8000),  # the same below zero
        (0, 0, 0),
    ],
)
def test_halves_by_hand(bits: int, high: int, low: int) -> None:
    ours = split(torch.tensor([bits], dtype=torch.int32).view(torch.float32))
    assert (ours[0].view(torch.int16).item(), ours[1].item()) == (high, low)


def test_only_trainable_weights_are_split() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[0].requires_grad_(False)
    model.register_buffer("table", torch.ones(3))
    before = model[1].weight.detach().clone()
    split_weights(model)
    assert [is_split(weight) for weight in model.parameters()] == [False, False, True, True]
    assert [weight.dtype for weight in model.parameters()] == [torch.float32] * 2 + [torch.bfloat16] * 2
    assert model.get_buffer("table").dtype == torch.float32
    join_weights(model)
    assert torch.equal(model[1].weight, before)
    assert not any(is_split(weight) for weight in model.parameters())


def test_shared_weights_are_split_once() -> None:
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    model[1].weight = model[0].weight
    before = model[0].weight.detach().clone()
    split_weights(model)
    join_weights(model)
    assert model[0].weight is model[1].weight
    assert torch.equal(model[0].weight, before)


def test_a_split_weight_takes_four_bytes() -> None:
    model = nn.ParameterList([torch.randn(shape) for shape in ((64, 80), (5,))])
    split_weights(model)
    for weight in model.parameters():
        assert weight.element_size() + low_half(weight).element_size() == 4
        assert low_half(weight).shape == weight.shape
