"""Models that do what few do: mix states, cache another shape, halve their own weights, go by the length."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    MambaConfig,
    ProphetNetConfig,
    Qwen4ExpTextConfig,
    RwkvConfig,
    WhisperConfig,
    xLSTMConfig,
)

from forgetctl.errors import ModelError
from forgetctl.model.fast.fused_layers import fuse_layers
from forgetctl.model.generation import GenerateMode, _fastest_mode
from forgetctl.model.load import load_model
from forgetctl.model.scoring import score
from forgetctl.recipe.recipe import Lora
from forgetctl.train._step_memory import MicroBatchShape, StepKind, step_memory
from tests.model.oracles import HEADS, SMALL, TOKENS, plain_logp, random_rows

CPU = torch.device("cpu")
DECODER = {"d_model": 16, "decoder_layers": 1, "decoder_ffn_dim": 16, "decoder_attention_heads": 2}
LINEAR = {f"linear_{name}_head_dim": 8 for name in ("key", "value")} | {
    f"linear_num_{name}_heads": 2 for name in ("key", "value")
}
INDEXER = {"n_heads": 2, "kv_heads": 1, "head_dim": 8, "budget": 4, "compress_ratio": 2}
EXPERTS = {"num_experts": 2, "num_experts_per_tok": 1, "moe_intermediate_size": 8, "shared_expert_intermediate_size": 8}


def built(config: Any, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config).eval()
    for weight in model.parameters():
        if weight.ndim > 1:
            nn.init.normal_(weight, std=0.3)
    return model


def test_generate_is_asked_in_a_way_that_it_answers_rightly() -> None:
    # RWKV mixes the states of rows; xLSTM makes a cache of another shape than its states.
    assert _fastest_mode(built(RwkvConfig(**SMALL, **TOKENS))) == GenerateMode(cached=True, batched=False)
    assert _fastest_mode(built(MambaConfig(**SMALL, **TOKENS))) == GenerateMode(cached=True, batched=True)
    assert _fastest_mode(built(xLSTMConfig(**SMALL, **TOKENS, num_heads=2))) == GenerateMode(cached=False, batched=True)


def test_weights_of_rwkv_stay_as_they_are_stored(tmp_path: Path) -> None:
    start = built(RwkvConfig(**SMALL, **TOKENS, rescale_every=1))
    start.save_pretrained(str(tmp_path))
    model, rows = load_model(tmp_path, CPU, torch.float32), random_rows(3)
    found = score(model, rows)
    assert all(torch.equal(weight, start.state_dict()[name]) for name, weight in model.state_dict().items())
    assert found == pytest.approx(plain_logp(start, rows).tolist(), abs=1e-3)
    # It is there that it halves them.
    assert not all(torch.equal(weight, start.state_dict()[name]) for name, weight in model.state_dict().items())


def test_a_model_whose_logits_depend_on_the_length_is_refused(tmp_path: Path) -> None:
    shape = {"hidden_size": 16, "num_encoder_attention_heads": 2, "num_decoder_attention_heads": 2}
    shape |= {"num_decoder_layers": 1, "decoder_ffn_dim": 16, "vocab_size": 61, "max_position_embeddings": 64}
    built(ProphetNetConfig(**shape, **TOKENS)).save_pretrained(str(tmp_path))
    with pytest.raises(ModelError, match="is no causal language model"):
        load_model(tmp_path, CPU, torch.float32)


def test_a_rotation_of_queries_alone_stays_as_it_is() -> None:
    indexer = {f"indexer_{name}": value for name, value in INDEXER.items()}
    model = built(
        Qwen4ExpTextConfig(
            **{**SMALL, **HEADS, **TOKENS, **LINEAR, **EXPERTS, **indexer},
            head_dim=8,
            layer_types=["linear_attention", "full_attention"],
            ple_layer_ids=[],
        )
    )
    ids = torch.arange(3, 15)[None]
    with torch.no_grad():
        expected = model(input_ids=ids, use_cache=False).logits
        fuse_layers(model)
        assert torch.allclose(model(input_ids=ids, use_cache=False).logits, expected, atol=1e-4)


@pytest.mark.parametrize("lora", [None, Lora(rank=2, alpha=4)])
def test_a_step_is_foreseen_with_the_logits_of_all_positions(tmp_path: Path, lora: Lora | None) -> None:
    """Of a model that cannot restrict them: twice as many scored tokens cost nothing more, twice as long rows do."""
    model = built(WhisperConfig(**DECODER, **TOKENS, vocab_size=601, max_target_positions=64, is_encoder_decoder=False))
    model.save_pretrained(str(tmp_path))
    short, scored, long = (
        step_memory(tmp_path, lora, MicroBatchShape(2, length, tokens), StepKind())
        for length, tokens in ((16, 8), (16, 16), (32, 8))
    )
    assert short == scored
    assert long > short + 2 * 16 * 601 * 4
