"""Distributions made again from states and head, for models that do more with their logits: scales and caps."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    FalconH1Config,
    Gemma2Config,
    GraniteConfig,
    MiniCPM3Config,
    RecurrentGemmaConfig,
)

from forgetctl.model.scoring import answer_logits, pad_rows
from forgetctl.model.states import AnswerStates
from tests.model.oracles import HEADS, SMALL, TOKENS, random_rows

STATES = {"mamba_n_heads": 4, "mamba_d_head": 8, "mamba_d_ssm": 32, "mamba_d_state": 4, "mamba_chunk_size": 8}
LATENT = {"q_lora_rank": 8, "kv_lora_rank": 8, "qk_nope_head_dim": 4, "qk_rope_head_dim": 4, "v_head_dim": 8}
CONFIGS: dict[str, tuple[Any, dict[str, Any]]] = {
    # Divides the states before the head, by what others of this name divide the logits by.
    "scaled before the head": (MiniCPM3Config, {**LATENT, "num_attention_heads": 2, "dim_model_base": 4}),
    "scaled behind it": (GraniteConfig, {**HEADS, "logits_scaling": 3.0}),
    "multiplied": (FalconH1Config, {**HEADS, **STATES, "lm_head_multiplier": 0.4}),
    "capped": (Gemma2Config, {**HEADS, "head_dim": 8, "final_logit_softcapping": 2.0}),
    "capped by another name": (
        RecurrentGemmaConfig,
        {"num_attention_heads": 2, "logits_soft_cap": 2.0, "lru_width": 16},
    ),
}


@pytest.mark.parametrize("name", CONFIGS)
@torch.no_grad()
def test_distributions_are_those_of_the_model(name: str) -> None:
    kind, options = CONFIGS[name]
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(kind(**{**SMALL, **TOKENS, **options})).eval()
    for weight in model.parameters():
        if weight.ndim > 1:
            nn.init.normal_(weight, std=0.3)
    rows = random_rows(5)
    found = AnswerStates(model, rows).log_probabilities(range(5))
    expected = torch.cat([answer_logits(model, pad_rows([row])) for row in rows]).log_softmax(-1)
    assert torch.allclose(found, expected, atol=1e-4)
