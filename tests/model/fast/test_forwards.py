"""Modules with another forward: freed without the collector, and in all else what they were."""

from __future__ import annotations

import gc
import pickle
import weakref
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import nn
from transformers.models.llama.modeling_llama import LlamaAttention, LlamaDecoderLayer, LlamaMLP, LlamaRMSNorm

from forgetctl.model.fast.forwards import replace_forward
from forgetctl.model.fast.fused_layers import fuse_layers
from forgetctl.model.load import add_lora, merged
from forgetctl.recipe.recipe import Lora
from tests.model.oracles import random_model

IDS = torch.arange(3, 17).reshape(2, 7)


def doubling(kind: Any) -> Callable[..., Any]:
    def forward(self: Any, states: torch.Tensor) -> torch.Tensor:
        doubled: torch.Tensor = 2 * kind.forward(self, states)
        return doubled

    return forward


@pytest.fixture
def uncollected() -> Iterator[None]:
    """No cycle is found while this lasts."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def fused_llama() -> Any:
    model = random_model("Llama")
    fuse_layers(model)
    return model


def logits(model: Any) -> torch.Tensor:
    found: torch.Tensor = model(input_ids=IDS, use_cache=False).logits
    return found


def test_the_forward_is_ours_and_may_call_the_class_own() -> None:
    plain = nn.Linear(3, 2)
    module = deepcopy(plain)
    replace_forward(module, doubling)
    states = torch.randn(4, 3)
    assert torch.equal(module(states), 2 * plain(states))
    replace_forward(module, doubling)  # again: nothing is doubled twice
    assert torch.equal(module(states), 2 * plain(states))


def test_modules_of_a_class_share_one_subclass_of_its_name() -> None:
    one, other = nn.Linear(3, 2), nn.Linear(5, 2)
    for module in (one, other):
        replace_forward(module, doubling)
    kind: Any = type(one)
    assert kind is type(other)
    assert issubclass(kind, nn.Linear)
    assert (kind.__name__, kind.__qualname__, kind.__module__) == ("Linear", "Linear", "torch.nn.modules.linear")
    assert nn.Linear.forward is not kind.forward  # the class itself is left alone


@pytest.mark.usefixtures("uncollected")
@pytest.mark.parametrize("adapters", [False, True])
def test_a_model_that_nobody_has_any_more_is_freed_at_once(adapters: bool) -> None:
    model = fused_llama()
    model = add_lora(model, Lora(rank=2)) if adapters else model
    model.train()
    logits(model).sum().backward()
    seen = [weakref.ref(module) for module in model.modules()]
    weights = [weakref.ref(weight) for weight in model.parameters()]
    del model
    assert len(seen) > 20
    assert not [ref() for ref in (*seen, *weights) if ref() is not None]


def test_layers_are_found_by_class_and_by_name() -> None:
    model = fused_llama()
    kinds = {type(module).__name__ for module in model.modules()}
    assert kinds >= {"LlamaAttention", "LlamaDecoderLayer", "LlamaMLP", "LlamaRMSNorm"}
    for kind, count in ((LlamaAttention, 2), (LlamaDecoderLayer, 2), (LlamaMLP, 2), (LlamaRMSNorm, 5)):
        assert sum(isinstance(module, kind) for module in model.modules()) == count


def test_names_and_values_of_weights_are_as_before() -> None:
    plain, model = random_model("Llama"), fused_llama()
    assert list(model.state_dict()) == list(plain.state_dict())
    model.load_state_dict(random_model("Llama", seed=1).state_dict())
    torch.testing.assert_close(logits(model), logits(random_model("Llama", seed=1)))


def pickled(model: Any) -> Any:
    return pickle.loads(pickle.dumps(model))  # noqa: S301  our own


@pytest.mark.parametrize("copy", [deepcopy, pickled])
def test_a_copy_computes_alike_and_is_of_the_same_classes(copy: Callable[[Any], Any]) -> None:
    model = fused_llama()
    other = copy(model)
    assert [type(module) for module in other.modules()] == [type(module) for module in model.modules()]
    assert torch.equal(logits(other), logits(model))
    with torch.no_grad():
        other.model.norm.weight.mul_(2)
    assert not torch.equal(logits(other), logits(model))


def test_checkpointed_activations_are_computed_again_by_the_same_forward() -> None:
    gradients = []
    for checkpointing in (False, True):
        model = fused_llama()
        model.train()
        if checkpointing:
            model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
        logits(model).square().sum().backward()
        gradients.append([weight.grad for weight in model.parameters()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


def test_adapters_merge_into_a_fused_model() -> None:
    model = add_lora(fused_llama(), Lora(rank=2))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.fill_(0.1)
    expected = logits(model)
    plain = merged(model)
    assert all(type(layer) is nn.Linear for layer in plain.modules() if isinstance(layer, nn.Linear))
    torch.testing.assert_close(logits(plain), expected, atol=1e-4, rtol=1e-4)
