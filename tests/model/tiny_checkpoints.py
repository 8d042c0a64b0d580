"""Small checkpoints of kinds whose files are not what a loaded model has: mixtures, composites, several shards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers

TEXT: dict[str, Any] = {
    **{"vocab_size": 61, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2},
    **{"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 64},
    **{"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2},
}
ROPE = {"rope_type": "default", "rope_theta": 10000.0}
SIGHT = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
LINEAR = {
    **{"layer_types": ["linear_attention", "full_attention"], "linear_num_key_heads": 2, "linear_num_value_heads": 4},
    **{"linear_key_head_dim": 8, "linear_value_head_dim": 8},
}
EXPERTS = {"num_experts_per_tok": 2, "num_local_experts": 4, "num_experts": 4, "moe_intermediate_size": 16}
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "Llama": ("LlamaForCausalLM", {**TEXT, "tie_word_embeddings": False}),
    "Llama, tied": ("LlamaForCausalLM", {**TEXT, "tie_word_embeddings": True}),
    "GPT2": ("GPT2LMHeadModel", {"vocab_size": 61, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}),
    "Mixtral": ("MixtralForCausalLM", {**TEXT, **EXPERTS}),
    "Qwen2-MoE": ("Qwen2MoeForCausalLM", {**TEXT, **EXPERTS, "shared_expert_intermediate_size": 16}),
    "DeepSeek-V3": (
        "DeepseekV3ForCausalLM",
        {
            **{**TEXT, "num_key_value_heads": 4, "head_dim": 4, "n_routed_experts": 4, "n_group": 1, "topk_group": 1},
            **{"num_experts_per_tok": 2, "moe_intermediate_size": 16, "first_k_dense_replace": 1, "q_lora_rank": 8},
            **{"kv_lora_rank": 8, "qk_rope_head_dim": 4, "qk_nope_head_dim": 8, "v_head_dim": 8, "n_shared_experts": 1},
        },
    ),
    "Qwen3.5": ("Qwen3_5ForCausalLM", {**TEXT, **LINEAR}),
    "Qwen3.5, seeing": (
        "Qwen3_5ForConditionalGeneration",
        {
            "text_config": {**TEXT, **LINEAR},
            "vision_config": {
                **{"depth": 1, "hidden_size": 16, "num_heads": 2, "intermediate_size": 24, "out_hidden_size": 32}
            },
        },
    ),
    "Mllama": (
        "MllamaForConditionalGeneration",
        {
            "text_config": {**TEXT, "num_hidden_layers": 3, "cross_attention_layers": [1], "rope_parameters": ROPE},
            "vision_config": {
                **{"hidden_size": 16, "num_hidden_layers": 1, "num_global_layers": 1, "attention_heads": 2},
                **{"intermediate_size": 24, "image_size": 28, "patch_size": 14, "vision_output_dim": 32},
                **{"intermediate_layers_indices": [0], "max_num_tiles": 1, "supported_aspect_ratios": [[1, 1]]},
            },
        },
    ),
    "Llama-4": (
        "Llama4ForConditionalGeneration",
        {
            "text_config": {**TEXT, "intermediate_size_mlp": 48, "num_local_experts": 2},
            "vision_config": {
                **{**SIGHT, "intermediate_size": 64, "image_size": 28, "patch_size": 14, "vision_output_dim": 32},
                **{"projector_input_dim": 32, "projector_output_dim": 32},
            },
        },
    ),
    "Gemma-3": (
        "Gemma3ForConditionalGeneration",
        {"text_config": TEXT, "vision_config": {**SIGHT, "image_size": 28, "patch_size": 14}, "mm_tokens_per_image": 1},
    ),
}
COMPOSITE = ("Qwen3.5, seeing", "Mllama", "Llama-4")
"""Those of which a causal language model is a part."""


def write_checkpoint(kind: str, path: Path, dtype: torch.dtype = torch.bfloat16, **how: Any) -> Any:
    """A checkpoint with random weights, as transformers saves one. Returns its class."""
    name, settings = KINDS[kind]
    cls: Any = getattr(transformers, name)
    torch.manual_seed(0)
    model = cls(cls.config_class(**settings))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator) * 0.1)
    model.to(dtype).save_pretrained(str(path), **how)
    return cls
