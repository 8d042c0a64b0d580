"""Which layers "all-linear" gives adapters, and that what is merged of them computes the same."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, FalconConfig, Llama4TextConfig, MambaConfig, Zamba2Config

from forgetctl.model.adapters import add_lora, merged, unfit_layers
from forgetctl.recipe.recipe import Lora
from tests.model.oracles import HEADS, SMALL, TOKENS, plain_logp, random_model, random_rows

GATE, QUERY = {"gate_proj", "up_proj", "down_proj"}, {"q_proj", "k_proj", "v_proj", "o_proj"}
LLAMA4 = {"num_local_experts": 2, "num_experts_per_tok": 1, "intermediate_size_mlp": 24, "head_dim": 8}
ZAMBA2 = {
    "num_hidden_layers": 4,
    "layers_block_type": ["mamba", "hybrid"] * 2,
    "mamba_d_state": 4,
    "n_mamba_heads": 4,
    "num_attention_heads": 2,
    "chunk_size": 8,
}
FOUND: dict[str, tuple[Any, dict[str, Any], set[str]]] = {
    # A class of its own, which computes a product like any other.
    "falcon": (
        FalconConfig,
        {"num_attention_heads": 2},
        {"query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h"},
    ),
    # The router gives scores and logits.
    "llama4": (Llama4TextConfig, {**HEADS, **LLAMA4}, QUERY | GATE),
    # A fused kernel reads the weight of out_proj.
    "mamba": (MambaConfig, {"state_size": 4}, {"in_proj", "x_proj", "dt_proj"}),
    # Two layers share one transformer block.
    "zamba2": (Zamba2Config, ZAMBA2, {"linear", "in_proj", "out_proj"}),
}


def built(kind: Any, options: dict[str, Any]) -> Any:
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(kind(**{**SMALL, **TOKENS, **options})).eval()
    for weight in model.parameters():
        if weight.ndim > 1:
            nn.init.normal_(weight, std=0.3)
    return model


@pytest.mark.parametrize("name", FOUND)
@torch.no_grad()
def test_adapters_of_all_linear_layers_can_be_merged(name: str) -> None:
    kind, options, expected = FOUND[name]
    rows, model = random_rows(3), built(kind, options)
    before = plain_logp(model, rows)
    model = add_lora(model, Lora(rank=2, alpha=4))
    adapted = {
        name for name, layer in model.named_modules() if isinstance(getattr(layer, "base_layer", None), nn.Linear)
    }
    assert {name.rpartition(".")[2] for name in adapted} == expected
    for weight_name, weight in model.named_parameters():
        # Mamba reads the weight of this one past the adapter, which therefore never learns.
        if "lora_B" in weight_name and "dt_proj" not in weight_name:
            nn.init.normal_(weight, std=0.3)
    moved = plain_logp(model, rows)
    assert not torch.allclose(moved, before, atol=1e-2)
    assert torch.allclose(plain_logp(merged(model), rows), moved, atol=1e-3)


@pytest.mark.parametrize("name", ["GPT2", "Llama", "Gemma2", "Phi3"])
@pytest.mark.parametrize("tied", [True, False])
def test_nothing_is_left_out_of_most_models(name: str, tied: bool) -> None:
    assert unfit_layers(random_model(name, tie_word_embeddings=tied)) == []
