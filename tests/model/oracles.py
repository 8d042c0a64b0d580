"""What the engine does, written again as plainly as possible: one row at a time, no padding, no cache."""

from dataclasses import replace
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from forgetctl.model.encoding import Encoded

VOCABULARY = 61


def token_logp(model: Any, row: Encoded) -> Tensor:
    """Log-probability of each scored token, from all logits of the row alone."""
    ids = torch.tensor([row.ids], device=model.device)
    logits = model(input_ids=ids, use_cache=False).logits[0].float()
    logp = torch.log_softmax(logits[row.start - 1 : -1], dim=-1).gather(1, ids[0, row.start :, None])[:, 0]
    return logp[row.places]


def plain_logp(model: Any, rows: list[Encoded]) -> Tensor:
    """Summed log-probability of each row's answer."""
    return torch.stack([token_logp(model, row).sum() for row in rows])


def random_rows(count: int, seed: int = 0, longest: int = 24, *, marked: bool = False) -> list[Encoded]:
    """Rows of random ids and lengths with at least one scored token. marked: every other row is scored in part."""
    generator = torch.Generator().manual_seed(seed)

    def draw(low: int, high: int) -> int:
        return int(torch.randint(low, high, (), generator=generator))

    rows = []
    for _ in range(count):
        length = draw(3, longest + 1)
        ids = torch.randint(0, VOCABULARY, (length,), generator=generator).tolist()
        rows.append(Encoded(tuple(ids), draw(1, length)))
    return [scored_in_part(row, seed + place) if marked and place % 2 else row for place, row in enumerate(rows)]


def scored_in_part(row: Encoded, seed: int) -> Encoded:
    """The row with a random half of its answer's tokens scored, one at least."""
    order = torch.randperm(row.tokens, generator=torch.Generator().manual_seed(seed)).tolist()
    return replace(row, scored=tuple(place < -(-row.tokens // 2) for place in order))


SMALL = {"vocab_size": VOCABULARY, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2}
HEADS = {"num_attention_heads": 2, "num_key_value_heads": 1}
TOKENS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "GPT2": {"vocab_size": VOCABULARY, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64},
    "GPTNeoX": {**SMALL, "num_attention_heads": 2},
    "Phi3": {**SMALL, **HEADS},
    "Qwen2": {**SMALL, **HEADS},
    "Mistral": {**SMALL, **HEADS, "sliding_window": 6},
    "Llama": {**SMALL, **HEADS, "tie_word_embeddings": False},
    # A cap this low bends every logit.
    "Gemma2": {**SMALL, **HEADS, "head_dim": 8, "sliding_window": 6, "final_logit_softcapping": 2.0},
    "Qwen3": {**SMALL, **HEADS, "head_dim": 8},
    "Gemma3Text": {**SMALL, **HEADS, "head_dim": 8, "sliding_window": 6, "sliding_window_pattern": 2},
    "Olmo": {**SMALL, **HEADS},
    "Olmo2": {**SMALL, **HEADS},
    "Cohere": {**SMALL, **HEADS, "logit_scale": 0.3},
    "Granite": {**SMALL, **HEADS, "logits_scaling": 3.0},
}


def random_model(architecture: str, seed: int = 0, spread: float = 0.3, **changes: Any) -> Any:
    """A small model with weights large enough that every token of the context matters."""
    config = getattr(transformers, f"{architecture}Config")(**{**TOKENS, **ARCHITECTURES[architecture], **changes})
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    generator = torch.Generator().manual_seed(seed)
    for weight in model.parameters():
        if weight.ndim > 1:
            nn.init.normal_(weight, std=spread, generator=generator)
    return model
