"""A GPU's kernel for rows of any length: scores and gradients of rows taken one at a time, in bfloat16's precision."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from forgetctl.model.fast.packing import enable_packing, packs
from forgetctl.model.scoring import answer_logp, pad_rows
from tests.model.cached_models import CHANGES, cached_model
from tests.model.oracles import plain_logp, random_model, random_rows

GPU = torch.device("cuda")
PADS = {"Gemma2"}
"""Its attention scores are capped, which neither kernel can do."""


def half() -> torch.autocast:
    return torch.autocast("cuda", dtype=torch.bfloat16)


def flat(model: Any) -> Tensor:
    found = [weight.grad.flatten() for weight in model.parameters() if weight.grad is not None]
    return torch.cat(found).double()


def angle(one: Tensor, other: Tensor) -> float:
    return float(one @ other / (one.norm() * other.norm()))


@pytest.mark.parametrize("name", sorted(CHANGES))
def test_scores_and_gradients_are_those_of_rows_alone(name: str) -> None:
    """As near to float32's as bfloat16 comes without packing, or nearly so."""
    rows = [*random_rows(9, seed=3), *random_rows(9, seed=3)]
    exact = cached_model(name).to(GPU)
    expected = plain_logp(exact, rows)
    expected.sum().backward()
    scores, ways = {}, {"packed": True, "padded": False}
    gradients = {}
    for way, wanted in ways.items():
        model = cached_model(name).to(GPU)
        if wanted:
            enable_packing(model)
        with half():
            assert packs(model) is (wanted and name not in PADS)
            scores[way] = answer_logp(model, pad_rows(rows).to(GPU))
        scores[way].sum().backward()
        gradients[way] = flat(model)
    off = {way: float((found - expected).abs().max()) for way, found in scores.items()}
    assert off["packed"] <= 2 * off["padded"] + 0.05
    apart = {way: 1 - angle(found, flat(exact)) for way, found in gradients.items()}
    assert apart["packed"] <= 2 * apart["padded"] + 1e-3
    assert apart["packed"] < 0.02


@pytest.mark.parametrize("window", [1, 5, 24])
def test_a_sliding_window_is_the_models_own(window: int) -> None:
    model, alone = (random_model("Mistral", sliding_window=window).to(GPU) for _ in range(2))
    enable_packing(model)
    rows = random_rows(12, seed=4)
    with torch.no_grad(), half():
        assert packs(model)
        found = answer_logp(model, pad_rows(rows).to(GPU))
        padded = answer_logp(alone, pad_rows(rows).to(GPU))
    with torch.no_grad():
        expected = plain_logp(alone, rows)
    assert (found - expected).abs().max() <= 2 * (padded - expected).abs().max() + 0.05


def test_float32_is_padded() -> None:
    model = cached_model("Llama").to(GPU)
    enable_packing(model)
    assert not packs(model)
    with half():
        assert packs(model)
