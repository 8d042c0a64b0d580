"""GGUF files of tiny Llamas, written as llama.cpp's converter writes them, and headers by hand."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter
from gguf.quants import quantize
from safetensors.numpy import load_file

NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
CONTROL, NORMAL = 3, 1


def write_gguf(model: Path, file: Path, kind: str = "Q8_0") -> Path:
    """A Llama's directory, with a byte-level BPE tokenizer, as a GGUF file whose matrices are of that kind."""
    config = json.loads((model / "config.json").read_text())
    writer = GGUFWriter(str(file), "llama")
    writer.add_name("tiny")
    writer.add_license("apache-2.0")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_vocab_size(config["vocab_size"])
    _add_tokenizer(writer, model, config)
    for name, values in load_file(model / "model.safetensors").items():
        _add_tensor(writer, name, values.astype(np.float32), kind, config)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file


def _add_tokenizer(writer: Any, model: Path, config: dict[str, Any]) -> None:
    tokenizer = json.loads((model / "tokenizer.json").read_text())
    vocabulary = sorted(tokenizer["model"]["vocab"], key=tokenizer["model"]["vocab"].get)
    special = {token["content"] for token in tokenizer["added_tokens"]}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(vocabulary)
    writer.add_token_types([CONTROL if token in special else NORMAL for token in vocabulary])
    writer.add_token_merges([" ".join(pair) for pair in tokenizer["model"]["merges"]])
    writer.add_bos_token_id(config["bos_token_id"])
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_pad_token_id(config["pad_token_id"])
    writer.add_add_bos_token(False)
    if (template := model / "chat_template.jinja").is_file():
        writer.add_chat_template(template.read_text())


def _add_tensor(writer: Any, name: str, values: Any, kind: str, config: dict[str, Any]) -> None:
    heads = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}
    for part, count in heads.items():
        if f"{part}.weight" in name:  # rotated in pairs there, by halves here
            values = values.reshape(count, 2, values.shape[0] // count // 2, -1).swapaxes(1, 2).reshape(values.shape)
    own = name.removesuffix(".weight")
    if own.startswith("model.layers."):
        layer, own = own.removeprefix("model.layers.").split(".", 1)
        own = f"blk.{layer}.{NAMES[own]}"
    else:
        own = NAMES[own]
    chosen = GGMLQuantizationType[kind] if values.ndim > 1 else GGMLQuantizationType.F32
    writer.add_tensor(f"{own}.weight", quantize(values, chosen), raw_dtype=chosen)


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def key(name: str, kind: int, value: bytes) -> bytes:
    return text(name) + struct.pack("<I", kind) + value


ARCHITECTURE = key("general.architecture", 8, text("llama"))


def tensor(name: str = "a", shape: tuple[int, ...] = (32,), kind: int = 0, offset: int = 0) -> bytes:
    return text(name) + struct.pack(f"<I{len(shape)}Q", len(shape), *reversed(shape)) + struct.pack("<IQ", kind, offset)


def header(
    *tensors: bytes,
    keys: tuple[bytes, ...] = (ARCHITECTURE,),
    data: int = 128,
    version: int = 3,
    counts: tuple[int, int] | None = None,
) -> bytes:
    """A file by hand. data: bytes behind the header. counts: of tensors and keys, if they are to lie."""
    start = b"GGUF" + struct.pack("<IQQ", version, *(counts or (len(tensors), len(keys))))
    head = start + b"".join(keys) + b"".join(tensors)
    return head + bytes(-len(head) % 32 + data)
