"""Every causal architecture equals plain transformers or is refused with a sentence: `make architectures`."""

from __future__ import annotations

import pytest

from tests.architectures.running import in_child
from tests.architectures.shapes import ALL

QUICK = (
    "llama",
    "qwen3",
    "gemma3_text",
    "gpt2",
    "mixtral",
    "qwen2_moe",
    "phi3 (LongRoPE)",
    "rwkv",
    "falcon",
    "qwen3_next",
)
"""Models of different kinds, which `make test` looks at."""
MASKED = (
    *("bert", "bert-generation", "big_bird", "camembert", "cpmant", "data2vec-text", "electra", "ernie"),
    *("megatron-bert", "prophetnet", "rembert", "roberta", "roberta-prelayernorm", "roc_bert", "roformer"),
    *("xlm", "xlm-roberta", "xlm-roberta-xl", "xlnet", "xmod"),
)
"""Whose tokens see those behind them, or how many there are."""
NO_TRAINING = {
    **dict.fromkeys(("blt", "dbrx", "jetmoe", "longcat_flash", "reformer"), "cannot be foreseen"),
    **dict.fromkeys(("qwen4_exp", "qwen4_exp_text", "xlm (causal)", "xmod (decoder)"), "cannot be foreseen"),
}
"""Scored and asked as by plain transformers, but refused by `unlearn`, with these words."""
UNBUILT = {
    **dict.fromkeys(("emu3", "mllama"), "Unrecognized configuration class"),
    **dict.fromkeys(("musicgen", "musicgen_melody"), "has no attribute 'dropout'"),
    "gemma3n": "requires the timm library",
    # They draft for another model, whose keys they read.
    "gemma4_assistant": "hidden_size_per_layer_input must be 0",
    "gemma4_unified_assistant": "layer types producing a cache",
}
"""What plain transformers cannot build tiny, or run, with the words that it says of it."""


@pytest.mark.parametrize("name", QUICK)
def test_a_model_of_each_kind(name: str) -> None:
    result = in_child(name)
    assert result.status == "equal", result.why


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in ALL if name not in QUICK])
def test_every_architecture(name: str) -> None:
    """A model that is in one of the lists above and need not be any more fails, too, so that they become shorter."""
    result = in_child(name)
    refused = {**dict.fromkeys(MASKED, "model"), **NO_TRAINING, **UNBUILT}
    status = {**dict.fromkeys(MASKED, "refused"), **dict.fromkeys(NO_TRAINING, "untrained")}
    expected = "unbuilt" if name in UNBUILT else status.get(name, "equal")
    assert (result.status, refused.get(name, "") in result.why) == (expected, True), result.why
