"""Adapters whose products are added in place, against peft's own forward."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from forgetctl.model.load import add_lora, merged
from forgetctl.recipe.recipe import Lora
from tests.model.oracles import random_model

IDS = torch.arange(3, 17).reshape(2, 7)


def adapted(seed: int = 0, **options: Any) -> Any:
    """A model with adapters that do something."""
    torch.manual_seed(seed)
    model = add_lora(random_model("Llama", seed), Lora(rank=4, alpha=8, **options))
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(weight, std=0.3)
    return model


def in_place(model: nn.Module) -> list[Any]:
    makers = ((layer, getattr(layer, "forward_maker", None)) for layer in model.modules() if hasattr(layer, "lora_A"))
    return [layer for layer, maker in makers if maker is not None]


def peft_own(model: Any) -> Any:
    """The same, but with peft's forward in every layer."""
    assert in_place(model)
    for layer in in_place(model):
        layer.__class__ = type(layer).__base__
    return model


def run(model: Any, *, half: bool = False) -> tuple[Tensor, list[Tensor]]:
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
        logits = model(input_ids=IDS, use_cache=False).logits.float()
    (logits * torch.linspace(-1, 1, logits.numel()).reshape(logits.shape)).sum().backward()
    return logits.detach(), [weight.grad for weight in model.parameters() if weight.requires_grad]


def test_values_and_gradients_are_those_of_peft() -> None:
    model = adapted()
    assert len(in_place(model)) == 2 * 7
    (found, gradients), (expected, slopes) = run(model), run(peft_own(adapted()))
    with model.disable_adapter():
        assert (found - model(input_ids=IDS, use_cache=False).logits).abs().max() > 0.1
    assert torch.allclose(found, expected, atol=1e-5, rtol=1e-5)
    assert len(gradients) == len(slopes) == 2 * 2 * 7
    for one, other in zip(gradients, slopes, strict=True):
        assert other.abs().max() > 1e-3
        assert torch.allclose(one, other, atol=1e-5, rtol=1e-4)


def test_in_half_precision_they_are_as_near_to_float32s() -> None:
    """Over several models, since of two ways to round either may be the nearer one once."""
    of_logits, of_slopes = {"ours": 0.0, "peft": 0.0}, {"ours": 0.0, "peft": 0.0}
    for seed in range(5):
        exact, slopes = run(adapted(seed))
        size = torch.cat([slope.flatten() for slope in slopes]).norm()
        for name, model in {"ours": adapted(seed), "peft": peft_own(adapted(seed))}.items():
            found, gradients = run(model, half=True)
            apart = [(one - other).flatten() for one, other in zip(gradients, slopes, strict=True)]
            of_logits[name] += float((found - exact).abs().mean())
            of_slopes[name] += float(torch.cat(apart).norm() / size)
    assert 0 < of_logits["ours"] < 1.1 * of_logits["peft"]
    assert 0 < of_slopes["ours"] < 1.1 * of_slopes["peft"]


def test_adapters_that_are_off_or_merged_add_nothing() -> None:
    plain, model = random_model("Llama"), adapted()
    expected = plain(input_ids=IDS, use_cache=False).logits
    with torch.no_grad():
        on = model(input_ids=IDS, use_cache=False).logits
        with model.disable_adapter():
            assert torch.equal(model(input_ids=IDS, use_cache=False).logits, expected)
        model.merge_adapter()
        assert torch.allclose(model(input_ids=IDS, use_cache=False).logits, on, atol=1e-4)
        model.unmerge_adapter()
        assert torch.allclose(merged(model)(input_ids=IDS, use_cache=False).logits, on, atol=1e-4)


def test_dropout_stays_pefts() -> None:
    assert not in_place(adapted(dropout=0.5))


@pytest.mark.parametrize("targets", [("q_proj",), ("q_proj", "down_proj")])
def test_only_layers_with_adapters_change(targets: tuple[str, ...]) -> None:
    model = adapted(targets=targets)
    assert len(in_place(model)) == 2 * len(targets)
    (found, _), (expected, _) = run(model), run(peft_own(adapted(targets=targets)))
    assert torch.allclose(found, expected, atol=1e-5, rtol=1e-5)
