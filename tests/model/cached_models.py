"""Small random models of the architectures whose keys and values differ in how they are cached or attended to."""

from typing import Any

from tests.model.oracles import random_model

CHANGES: dict[str, dict[str, Any]] = {
    "GPT2": {"n_positions": 128},
    "GPTNeoX": {},
    "Phi3": {},
    "Qwen2": {},
    "Mistral": {},
    "Llama": {},
    "Gemma2": {"attn_logit_softcapping": 2.0},
    "Gemma3Text": {},
    "Cohere": {},
    "Granite": {},
}


def cached_model(architecture: str, seed: int = 0) -> Any:
    """One of them, with weights large enough that every token of the context matters."""
    return random_model(architecture, seed, **CHANGES[architecture])
