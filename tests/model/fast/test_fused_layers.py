"""Leaner layers against those of transformers: values, gradients, what is kept for them, and what is left alone."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers.activations import ACT2FN
from transformers.models.gemma.modeling_gemma import GemmaRMSNorm
from transformers.models.llama.modeling_llama import LlamaMLP, LlamaRMSNorm, apply_rotary_pos_emb

from forgetctl.model.fast.fused_layers import apply_rope, fuse_layers
from tests.model.cached_models import CHANGES, cached_model
from tests.model.oracles import random_model

IDS = torch.arange(3, 17).reshape(2, 7)
FUSED = {
    "GPT2": {},
    "GPTNeoX": {"attention": 2},
    "Phi3": {"attention": 2, "norm": 5},
    "Qwen2": {"attention": 2, "MLP": 2, "norm": 5},
    "Mistral": {"attention": 2, "MLP": 2, "norm": 5},
    "Llama": {"attention": 2, "MLP": 2, "norm": 5},
    "Gemma2": {"attention": 2, "norm": 9},
    "Gemma3Text": {"attention": 2, "norm": 13},
    "Cohere": {"MLP": 2},
    "Granite": {"attention": 2, "MLP": 2, "norm": 5},
}
"""How many layers of each kind are replaced; the others compute RoPE, MLP or norm otherwise."""


def fused(model: Any) -> Any:
    fuse_layers(model)
    return model


def replaced(model: nn.Module) -> dict[str, int]:
    kinds = {"_swiglu_of": "MLP", "_rms_norm_of": "norm", "_rope_attention_of": "attention"}
    makers = [maker for module in model.modules() if (maker := getattr(module, "forward_maker", None))]
    names = [kinds[maker.__name__] for maker in makers]
    return {name: names.count(name) for name in sorted(set(names))}


def run(model: Any, *, half: bool = False) -> tuple[Tensor, dict[str, Tensor]]:
    """Logits, and the gradients of an uneven function of them."""
    model.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
        logits = model(input_ids=IDS, use_cache=False).logits.float()
    (logits * torch.linspace(-1, 1, logits.numel()).reshape(logits.shape)).sum().backward()
    return logits.detach(), {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}


@pytest.mark.parametrize("name", sorted(CHANGES))
def test_values_and_gradients_are_those_of_transformers(name: str) -> None:
    model = fused(cached_model(name))
    assert replaced(model) == FUSED[name]
    (expected, slopes), (found, gradients) = run(cached_model(name)), run(model)
    assert expected.std() > 0.2
    assert torch.allclose(found, expected, atol=1e-5, rtol=1e-4)
    assert gradients.keys() == slopes.keys()
    for weight, slope in slopes.items():
        assert torch.allclose(gradients[weight], slope, atol=1e-4, rtol=1e-3), weight


@pytest.mark.parametrize("name", ["Llama", "Gemma2", "GPTNeoX"])
def test_in_half_precision_they_are_as_near_to_float32s(name: str) -> None:
    """Over several models, since of two ways to round either may be the nearer one once."""
    off = {"fused": 0.0, "plain": 0.0}
    for seed in range(5):
        _, exact = run(cached_model(name, seed))
        size = torch.cat([slope.flatten() for slope in exact.values()]).norm()
        for kind, model in {"fused": fused(cached_model(name, seed)), "plain": cached_model(name, seed)}.items():
            _, found = run(model, half=True)
            off[kind] += float(torch.cat([(found[key] - exact[key]).flatten() for key in exact]).norm() / size)
    assert 0 < off["fused"] < 1.1 * off["plain"]


def kept_bytes(model: Any) -> int:
    """What a forward pass hands to autograd, each storage counted once, without the weights."""
    weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    kept: dict[int, int] = {}

    def see(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(see, lambda tensor: tensor):
        model(input_ids=IDS.repeat(4, 8), logits_to_keep=1, use_cache=False)
    return sum(size for place, size in kept.items() if place not in weights)


def test_less_is_kept_for_the_backward_pass() -> None:
    assert kept_bytes(fused(random_model("Llama"))) < 0.8 * kept_bytes(random_model("Llama"))


def test_a_copy_computes_with_its_own_weights() -> None:
    model = fused(random_model("Llama"))
    before, _ = run(model)
    copy = deepcopy(model)
    with torch.no_grad():
        for weight in copy.parameters():
            weight.mul_(0.5)
    assert torch.equal(run(model)[0], before)
    assert not torch.allclose(run(copy)[0], before)


@pytest.mark.parametrize(("kind", "around"), [(LlamaRMSNorm, 0.0), (GemmaRMSNorm, 1.0)])
def test_a_norm_by_hand(kind: type[nn.Module], around: float) -> None:
    """rms(3, 4) = sqrt(12.5); d/dx of x / rms(x) at (3, 4) along (1, 0) is (1 - 9/25, -12/25) / rms."""
    norm = kind(2, eps=0.0)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([2.0, 3.0]) - around)
    fuse_layers(norm)
    states = torch.tensor([[3.0, 4.0]], requires_grad=True)
    found = norm(states)
    assert found.tolist() == [pytest.approx([6 / 12.5**0.5, 12 / 12.5**0.5])]
    found[0, 0].backward()
    assert states.grad is not None
    assert states.grad.tolist() == [pytest.approx([2 * 0.64 / 12.5**0.5, -2 * 0.48 / 12.5**0.5])]
    assert norm.weight.grad.tolist() == pytest.approx([3 / 12.5**0.5, 0.0])


def test_a_norm_of_bfloat16_rounds_once() -> None:
    torch.manual_seed(0)
    norm, states = LlamaRMSNorm(64), torch.randn(50, 64, dtype=torch.bfloat16)
    exact = norm(states.float())
    fuse_layers(norm)
    half = norm.to(torch.bfloat16)(states)
    assert half.dtype == torch.bfloat16
    assert torch.equal(half, exact.to(torch.bfloat16))


def test_both_halves_rotate_by_their_own_angles() -> None:
    """As transformers' function, gradients included, also where the two halves' angles differ."""
    torch.manual_seed(0)
    shapes = ((2, 3, 5, 8), (2, 1, 5, 8), (2, 5, 8), (2, 5, 8))
    inputs = [torch.randn(shape, requires_grad=place < 2) for place, shape in enumerate(shapes)]
    weighing = torch.randn(2, 3, 5, 8)
    slopes, values = [], []
    for rope in (apply_rope, apply_rotary_pos_emb):
        queries, keys = rope(*inputs)
        values.append((queries, keys))
        slopes.append(torch.autograd.grad(((queries + keys) * weighing).sum(), inputs[:2]))
    for one, other in zip((*values[0], *slopes[0]), (*values[1], *slopes[1]), strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_an_mlp_of_another_activation_is_left_alone() -> None:
    config = random_model("Llama").config
    for activation, known in (("silu", True), ("gelu", False), ("relu", False)):
        config.hidden_act = activation
        mlp = LlamaMLP(config)
        assert type(mlp.act_fn) is type(ACT2FN[activation])
        fuse_layers(mlp)
        assert (type(mlp) is not LlamaMLP) is known


def test_what_only_looks_like_a_norm_is_left_alone() -> None:
    class Centred(LlamaRMSNorm):
        def forward(self, hidden_states: Tensor) -> Tensor:
            return super().forward(hidden_states - hidden_states.mean(-1, keepdim=True))

    for other in (Centred(8), nn.LayerNorm(8), nn.GroupNorm(2, 8), nn.BatchNorm1d(8)):
        kind = type(other)
        fuse_layers(other)
        assert type(other) is kind
