"""How each causal architecture is built tiny: sizes by the names of its config's fields, and what else it needs."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import signature
from typing import Any

import torch
from torch import nn
from transformers import CONFIG_MAPPING, AutoModelForCausalLM, PretrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

VOCABULARY = 320
CONTEXT = 256
TOKENS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
SPREAD = 0.3
"""Standard deviation of the weights: so large that every token of the context matters."""
WINDOW = 8
"""Tokens that a sliding window sees: fewer than any row has."""


def _named(value: int, names: str) -> dict[str, int]:
    return dict.fromkeys(names.split(), value)


SIZES: dict[str, int] = {
    **_named(VOCABULARY, "vocab_size vocab_size_per_layer_input decoder_vocab_size unpadded_vocab_size"),
    **_named(CONTEXT, "max_position_embeddings n_positions n_ctx max_seq_len model_max_length context_length"),
    **_named(CONTEXT, "max_target_positions"),
    **_named(32, "hidden_size n_embd d_model emb_dim embedding_dim embedding_size dim_model word_embed_proj_dim"),
    **_named(32, "attention_hidden_size lru_width input_embedding_size output_embedding_size"),
    **_named(
        48, "intermediate_size n_inner ffn_dim decoder_ffn_dim encoder_ffn_dim dim_ff dff d_inner feed_forward_size"
    ),
    **_named(48, "intermediate_size_mlp ffn_hidden_size dense_intermediate_size prefix_dense_intermediate_size"),
    **_named(
        24, "moe_intermediate_size shared_expert_intermediate_size shared_intermediate_size expert_ffn_hidden_size"
    ),
    **_named(24, "shared_experts_intermediate_size moe_shared_expert_intermediate_size"),
    **_named(2, "num_hidden_layers n_layer n_layers num_layers decoder_layers encoder_layers num_encoder_layers"),
    **_named(2, "num_decoder_layers"),
    **_named(4, "num_attention_heads n_head n_heads num_heads decoder_attention_heads encoder_attention_heads"),
    **_named(4, "num_encoder_attention_heads num_decoder_attention_heads attention_heads swa_num_attention_heads"),
    **_named(2, "num_key_value_heads swa_num_key_value_heads num_kv_heads"),
    **_named(8, "head_dim swa_head_dim kv_channels dim_head attention_head_dim attention_head_size d_head"),
    # Multi-head latent attention.
    **_named(16, "q_lora_rank o_lora_rank"),
    **_named(8, "kv_lora_rank qk_nope_head_dim v_head_dim"),
    **_named(8, "qk_rope_head_dim"),
    **_named(4, "rotary_dim"),
    **_named(16, "qk_head_dim"),
    # So many that no score is zero in all of them: ties are broken by the length of the input.
    **_named(16, "index_n_heads"),
    **_named(8, "index_head_dim index_topk"),
    # Experts.
    **_named(4, "num_experts n_routed_experts num_local_experts moe_num_experts zero_expert_num"),
    **_named(2, "num_experts_per_tok num_experts_per_token moe_topk moe_k top_k_experts n_group num_expert_group"),
    **_named(1, "topk_group first_k_dense_replace num_dense_layers n_shared_experts num_shared_experts"),
    **_named(1, "moe_num_shared_experts moe_layer_start_index moe_layer_end_index"),
    # States.
    **_named(8, "mamba_d_state state_size ssm_state_size mamba_d_head mamba_head_dim mamba_headdim linear_head_dim"),
    **_named(8, "linear_key_head_dim linear_value_head_dim mamba_dt_rank time_step_rank chunk_size mamba_chunk_size"),
    **_named(8, "mamba_n_heads n_mamba_heads mamba_num_heads"),
    **_named(4, "linear_num_heads linear_num_value_heads"),
    **_named(2, "linear_num_key_heads n_groups mamba_ngroups mamba_n_groups"),
    # Windows.
    **_named(WINDOW, "sliding_window window_size attention_window_size sliding_window_size local_attention"),
    **_named(2, "sliding_window_pattern _sliding_window_pattern attn_layer_period global_attn_every_n_layers"),
    **_named(1, "attn_layer_offset"),
    # Other.
    **_named(4, "adapter_rank laurel_rank gated_norm_rank hidden_size_per_layer_input d_rel router_hidden_size"),
    **_named(2, "hc_mult hc_count hc_lowrank o_groups"),
}
"""A field's tiny value by its name; only fields that are numbers by default are set."""


_KINDS = ("layer_types", "mlp_layer_types", "layers_block_type", "attention_layers")
"""Fields with a kind for every layer."""
_MAMBA = {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_n_groups": 2}
_SHARED_KEYS = {
    "num_hidden_layers": 4,
    "num_kv_shared_layers": 2,
    "layer_types": ["sliding_attention", "full_attention"] * 2,
}
_GEMMA4 = {**_SHARED_KEYS, "per_layer_config": {"01": {"head_dim": 16}, "03": {"head_dim": 16}}}
_DOTS3 = {
    "num_key_value_heads": 4,
    "layer_types": ["indexed_attention", "sliding_attention"],
    "mlp_layer_types": ["dense", "sparse"],
    **{f"swa_{name}": 4 for name in ("num_attention_heads", "num_key_value_heads")},
    **{
        f"swa_{name}": 8
        for name in ("q_lora_rank", "kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim")
    },
    "swa_head_dim": 16,
}
_SLIDING = ["sliding_attention", "full_attention"]
_ROPE_BY_KIND = {kind: {"rope_type": "default", "rope_theta": 10000.0} for kind in _SLIDING}
_QWEN4 = {
    "ple_layer_ids": [1],
    "ple_embed_dim": 32,
    "ngram_vocab_size_base": 64,
    "heads_per_ngram": 2,
    "split_ngram_parts": 2,
    "make_ngram_vocab_size_divisible_by": 8,
    "indexer_n_heads": 16,
    "indexer_kv_heads": 1,
    "indexer_head_dim": 8,
    "indexer_budget": 8,
    "indexer_compress_ratio": 4,
}

OVERRIDES: dict[str, dict[str, Any]] = {
    "bailing_hybrid": {"num_local_experts": 4},
    "bamba": {**_MAMBA, "attn_layer_indices": [1]},
    "blt": {
        "encoder_hash_byte_group_vocab": 64,
        "encoder_hash_byte_group_size": [3, 4],
        **{
            f"{part}_config": {"hidden_size_global": 32, "num_key_value_heads": 4, "head_dim": 8}
            for part in ("patcher", "encoder", "decoder", "global")
        },
    },
    "cohere": {"logit_scale": 0.8},
    "cohere2": {"logit_scale": 0.8},
    "cohere2_moe": {"logit_scale": 0.8},
    "cohere_compass_text": {"layer_types": _SLIDING, "rope_parameters": _ROPE_BY_KIND},
    "dbrx": {
        "attn_config": {"kv_n_heads": 2, "rope_theta": 10000.0, "clip_qkv": 8.0},
        "ffn_config": {"hidden_size": 32, "moe_top_k": 2},
    },
    "deepseek_v2": {"num_experts_per_tok": 2, "n_group": 2, "topk_group": 1, "topk_method": "group_limited_greedy"},
    "dots1": {"n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2},
    "dots3_note_text": _DOTS3,
    "dots3_note": {
        "text_config": _DOTS3,
        "vision_config": {"mlp_layer_types": ["dense", "dense"], "adapter_in_dim": 32, "adapter_out_dim": 32},
        "audio_config": {"adapter_input_size": 32, "adapter_out_dim": 32},
    },
    "falcon_h1": {**_MAMBA, "mamba_d_ssm": 64},
    "gemma3n_text": {**_SHARED_KEYS, "intermediate_size": 48, "activation_sparsity_pattern": [0.5, 0.0, 0.0, 0.0]},
    "gemma4_text": _GEMMA4,
    "gemma4": {"text_config": _GEMMA4},
    "gemma4_unified_text": _GEMMA4,
    "gemma4_unified": {"text_config": _GEMMA4},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "granitemoehybrid": {"layer_types": ["linear_attention", "full_attention"], "shared_intermediate_size": 24},
    "hunyuan_v1_dense": {"head_dim": 8},
    "hunyuan_v1_moe": {"head_dim": 8},
    "inkling_text": {"logits_mup_width_multiplier": 1.0},
    "kimi_linear": {"num_local_experts": 4},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"], "num_dense_layers": 1},
    "longcat_flash": {"num_hidden_layers": ...},
    "mamba2": {"num_heads": 8},
    "minicpm3": {"dim_model_base": 32},
    "ministral": {"head_dim": 8},
    "nemotron": {"num_key_value_heads": 2, "head_dim": 8},
    "qwen4_exp_text": _QWEN4,
    "qwen4_exp": {"text_config": _QWEN4},
    "recurrent_gemma": {"num_hidden_layers": 3, "num_key_value_heads": 2},
    "reformer": {
        "is_decoder": True,
        "attn_layers": ["local", "lsh"],
        "axial_pos_shape": [16, 16],
        "axial_pos_embds_dim": [8, 24],
        "num_buckets": 4,
        "hash_seed": 0,
    },
    "rwkv": {"rescale_every": 1},
    "roc_bert": {
        "pronunciation_embed_dim": 8,
        "pronunciation_vocab_size": VOCABULARY,
        "shape_embed_dim": 8,
        "shape_vocab_size": VOCABULARY,
    },
    "xmod": {"default_language": "en_XX"},
    "zamba": {
        "num_hidden_layers": 4,
        "layers_block_type": ["linear_attention", "hybrid"] * 2,
        "attention_hidden_size": 64,
        "attention_head_dim": 16,
        "n_mamba_heads": 2,
    },
    "zamba2": {"num_hidden_layers": 4, "layers_block_type": ["linear_attention", "hybrid"] * 2},
    "zaya": {"num_experts_per_tok": 1},
}
"""What else a config needs, by architecture; `...` leaves a field to the config's own default."""


_LONG = {
    "rope_type": "longrope",
    "rope_theta": 10000.0,
    "short_factor": [1.0, 1.1, 1.2, 1.3],
    "long_factor": [2.0, 3.0, 5.0, 9.0],
    "original_max_position_embeddings": 32,
}
_EXPERTS = {"output_router_logits": True}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama (tied)": ("llama", {"tie_word_embeddings": True}),
    "llama (biases)": ("llama", {"attention_bias": True, "mlp_bias": True}),
    "llama (dynamic RoPE)": (
        "llama",
        {"rope_parameters": {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 1e4}},
    ),
    "llama (YaRN)": (
        "llama",
        {
            "rope_parameters": {
                "rope_type": "yarn",
                "factor": 8.0,
                "rope_theta": 1e4,
                "original_max_position_embeddings": 32,
            }
        },
    ),
    "gemma2 (untied)": ("gemma2", {"tie_word_embeddings": False}),
    "gpt2 (untied)": ("gpt2", {"tie_word_embeddings": False}),
    "qwen2 (sliding window)": ("qwen2", {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 1}),
    "qwen3 (tied)": ("qwen3", {"tie_word_embeddings": True}),
    "mistral (no window)": ("mistral", {"sliding_window": None}),
    "mixtral (router logits)": ("mixtral", _EXPERTS),
    "mixtral (sliding window)": ("mixtral", {"sliding_window": WINDOW}),
    "qwen2_moe (router logits)": ("qwen2_moe", _EXPERTS),
    "phimoe (sliding window)": ("phimoe", {"sliding_window": WINDOW}),
    "phi3 (LongRoPE)": ("phi3", {"rope_parameters": _LONG, "original_max_position_embeddings": 32}),
    "phi3 (sliding window)": ("phi3", {"sliding_window": WINDOW}),
    "falcon (ALiBi)": ("falcon", {"alibi": True, "parallel_attn": False, "bias": True}),
    "falcon (new decoder)": ("falcon", {"new_decoder_architecture": True}),
    "mpt (learned positions)": ("mpt", {"attn_config": {"alibi": False}}),
    "gpt_neox (sequential)": ("gpt_neox", {"use_parallel_residual": False}),
    "opt (projected)": ("opt", {"word_embed_proj_dim": 16, "do_layer_norm_before": False}),
    "deepseek_v2 (no query rank)": ("deepseek_v2", {"q_lora_rank": None}),
    "granitemoehybrid (attention alone)": ("granitemoehybrid", {"layer_types": ["full_attention", "full_attention"]}),
    "xlm (causal)": ("xlm", {"causal": True}),
}
"""Further models of an architecture that compute in another way: the architecture, and its config's fields."""


def _decoders() -> dict[str, tuple[str, dict[str, Any]]]:
    """Architectures that are masked language models unless their config calls them decoders."""
    found = {}
    for name in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        fields = signature(CONFIG_MAPPING[name]).parameters
        masked = "is_decoder" in fields and fields["is_decoder"].default is False
        # Reformer is built as a decoder anyway, and decoders of translators are decoders.
        if masked and name != "reformer" and not fields["is_encoder_decoder"].default:
            found[f"{name} (decoder)"] = (name, {"is_decoder": True})
    return found


ALL: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {}) for name in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES},
    **VARIANTS,
    **_decoders(),
}
"""Every model that is built: its architecture, and what of the config is other than that architecture's own."""


def tiny(kind: type[PretrainedConfig], changes: Mapping[str, Any] | None = None) -> PretrainedConfig:
    """A config of the class with tiny sizes. changes: by field; a mapping for a config within."""
    given, default = dict(changes or {}), kind()
    found = {name: vars(default).get(kind.attribute_map.get(name, name)) for name in signature(kind).parameters}
    values: dict[str, Any] = {name: TOKENS[name] for name in TOKENS if name in found}
    for name, value in found.items():
        if isinstance(value, PretrainedConfig) and given.get(name) is not ...:
            values[name] = tiny(type(value), given.pop(name, None))
        elif name in SIZES and type(value) is int and value:
            values[name] = SIZES[name]
    if "kv_lora_rank" in values and "num_key_value_heads" in values:
        values["num_key_value_heads"] = values["num_attention_heads"]
    several = {name: list(dict.fromkeys(found[name])) for name in _KINDS if found.get(name)}
    if several:
        count = max([2, *map(len, several.values())])
        for name, own in several.items():
            values[name] = [own[min(place, len(own) - 1)] for place in range(count)]
        values["num_hidden_layers"] = count
    values.update(given)
    return kind(**{name: value for name, value in values.items() if value is not ...})


def build(name: str, seed: int = 0) -> Any:
    """The tiny model of a name of `ALL`, with random weights. Raises whatever transformers does."""
    architecture, changes = ALL[name]
    config = tiny(CONFIG_MAPPING[architecture], {**OVERRIDES.get(architecture, {}), **changes})
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config).float().eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                nn.init.normal_(weight, std=SPREAD, generator=generator)
            else:
                weight.add_(torch.randn(weight.shape, generator=generator), alpha=0.1)
    return model
