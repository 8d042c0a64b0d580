"""Which layers "all-linear" gives adapters, and that what is merged of them computes the same."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from oracles import HEADS, SMALL, TOKENS, plain_logp, random_model, random_rows
from torch import nn
from transformers import AutoModelForCausalLM, Llama4TextConfig, MambaConfig, Zamba2Config

from forgetctl.engine.models import add_lora, linear_layers, merged
from forgetctl.recipe import Lora

GATE = {"gate_proj", "up_proj", "down_proj"}
QUERY = {"q_proj", "k_proj", "v_proj", "o_proj"}
LLAMA4 = {"num_local_experts": 2, "num_experts_per_tok": 1, "intermediate_size_mlp": 24, "head_dim": 8}
ZAMBA2 = {"num_hidden_layers": 4, "layers_block_type": ["mamba", "hybrid"] * 2, "mamba_d_state": 4, "n_mamba_heads": 4}
FOUND: dict[str, tuple[Any, dict[str, Any], set[str]]] = {
    # The router gives scores and logits; the experts are no layers.
    "a router of its own kind": (Llama4TextConfig, {**HEADS, **LLAMA4}, QUERY | GATE),
    "a fused kernel": (MambaConfig, {"state_size": 4}, {"in_proj", "x_proj", "dt_proj"}),
    # Two layers share one transformer block.
    "shared weights": (
        Zamba2Config,
        {**ZAMBA2, "num_attention_heads": 2, "chunk_size": 8},
        {"linear", "in_proj", "out_proj"},
    ),
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
    model, rows = built(kind, options), random_rows(3)
    assert {name.rpartition(".")[2] for name in linear_layers(model)} == expected
    before = plain_logp(model, rows)
    model = add_lora(model, Lora(rank=2, alpha=4))
    for weight_name, weight in model.named_parameters():
        # Mamba reads the weight of this one past the adapter, which therefore never learns.
        if "lora_B" in weight_name and "dt_proj" not in weight_name:
            nn.init.normal_(weight, std=0.3)
    adapted = plain_logp(model, rows)
    assert not torch.allclose(adapted, before, atol=1e-2)
    assert torch.allclose(plain_logp(merged(model), rows), adapted, atol=1e-3)


@pytest.mark.parametrize("tied", [True, False])
def test_of_most_models_all_but_the_head(tied: bool) -> None:
    model = random_model("GPT2", tie_word_embeddings=tied)
    inner = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
    assert linear_layers(model) == [f"transformer.h.{layer}.{name}" for layer in range(2) for name in inner]
