"""Weights of 8 and 4 bits through bitsandbytes, for checking a deployment and for training adapters on (QLoRA)."""

from __future__ import annotations

from typing import Any

import torch

from .protocol import Layers

PRECISIONS = ("bf16", "int8", "nf4")
"""What a model can be deployed in: bfloat16, or 8 and 4 bits a weight (LLM.int8, Dettmers et al. 2022; NF4 with
double quantisation, Dettmers et al. 2023)."""

QUANTISED = ("int8", "nf4")
NF4_BLOCK = 64


def quantisation_options(precision: str | None, dtype: torch.dtype) -> dict[str, Any]:
    """What transformers must be told to quantise while loading.

    dtype: what quantised layers compute in.
    """
    if precision not in QUANTISED:
        return {}
    from transformers import BitsAndBytesConfig

    config: Any = BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_8bit=precision == "int8",
        load_in_4bit=precision == "nf4",
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
    return {"quantization_config": config}


def narrowest_input(model: Layers) -> int:
    """Inputs of the narrowest_input layer of 4 bits; NF4_BLOCK if there is none."""
    return min((int(layer.in_features) for layer in _four_bit_layers(model)), default=NF4_BLOCK)


def settle_four_bit_layers(model: Layers) -> None:
    """What layers of 4 bits would do by themselves is set right, before any of them computes.

    Their weights refer to them, which they did to be quantised, and which would keep the model in the memory after its
    use. And on processors with AVX-512 BF16 the first evaluation would repack them for a kernel that rounds to bfloat16
    and has no backward pass: scores would depend on the machine, and adapters would train on wrong gradients without a
    word.
    """
    for layer in _four_bit_layers(model):
        layer.weight.module = None
        layer.support_avx512bf16_for_cpu = False


def _four_bit_layers(model: Layers) -> list[Any]:
    return [layer for layer in model.modules() if type(layer).__name__ == "Linear4bit"]
