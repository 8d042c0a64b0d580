"""The decoding loop against `transformers`' own `generate`, and its draws against the distributions they come from."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from forgetctl.model.fast.decoding import ROOM, cache_bytes, can_decode, decode, pad_left, until_end
from forgetctl.model.generation import draw
from tests.model.cached_models import CHANGES, cached_model
from tests.model.oracles import SMALL, VOCABULARY, random_model

STOPS = [7, 3]


def random_prompts(seed: int = 0) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    lengths = [1, 2, 5, 9, 9, 14, 20, 3, 11, 17]
    return [torch.randint(0, VOCABULARY, (length,), generator=generator).tolist() for length in lengths]


def likeliest(logits: Tensor, _rows: Tensor, _step: int) -> Tensor:
    return logits.argmax(-1)


def generated(model: Any, prompts: list[list[int]], room: int, stops: list[int]) -> list[list[int]]:
    ids, mask = pad_left(prompts, stops[0])
    output = model.generate(
        ids, attention_mask=mask, do_sample=False, max_new_tokens=room, eos_token_id=stops, pad_token_id=stops[0]
    )
    return [until_end(tokens, stops) for tokens in output[:, ids.shape[1] :].tolist()]


@pytest.mark.parametrize("architecture", CHANGES)
@torch.no_grad()
def test_greedy_answers_are_those_of_generate(architecture: str) -> None:
    """Prompts of unequal length, answers that end at unequal times, longer than the cache's room and any window."""
    model = cached_model(architecture, seed=1)
    prompts, room = random_prompts(), ROOM + 20
    assert can_decode(model)
    expected = generated(model, prompts, room, STOPS)
    assert decode(model, prompts, STOPS, room, 1, likeliest) == expected


@torch.no_grad()
def test_rows_leave_at_different_times() -> None:
    """What the others are tested on: some answers end at once, some later, some never."""
    lengths = {
        len(answer)
        for name in ("Llama", "Qwen2", "GPTNeoX")
        for answer in decode(random_model(name, seed=1), random_prompts(), STOPS, 40, 1, likeliest)
    }
    assert len(lengths) > 4
    assert 40 in lengths


@torch.no_grad()
def test_ended_rows_are_no_longer_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a script: row k ends after k + 1 tokens."""
    model, prompts, sizes = random_model("Llama"), random_prompts()[:8], []

    def choose(logits: Tensor, rows: Tensor, step: int) -> Tensor:
        sizes.append(len(logits))
        return torch.where(rows <= step, STOPS[1], 11)

    assert decode(model, prompts, STOPS, 30, 1, choose) == [[11] * count for count in range(8)]
    assert sizes == [8, 7, 6, 5, 4, 3, 2, 1]


@torch.no_grad()
def test_copies_share_their_prompt_and_follow_one_another() -> None:
    model, prompts = random_model("Qwen2", seed=1), random_prompts()
    once = decode(model, prompts, STOPS, 20, 1, likeliest)
    assert decode(model, prompts, STOPS, 20, 3, likeliest) == [answer for answer in once for _ in range(3)]


@torch.no_grad()
def test_a_token_is_an_answer_of_one_step() -> None:
    model, prompts = random_model("Llama", seed=1), random_prompts()
    assert decode(model, prompts, [60], 1, 1, likeliest) == generated(model, prompts, 1, [60])


@pytest.mark.parametrize(("architecture", "changes"), [("Bloom", {"hidden_size": 16, "n_head": 2}), ("Mamba", {})])
def test_other_caches_are_left_to_generate(architecture: str, changes: dict[str, Any]) -> None:
    """No positions to give to Bloom, and no keys and values in Mamba."""
    import transformers

    config = getattr(transformers, f"{architecture}Config")(vocab_size=VOCABULARY, num_hidden_layers=1, **changes)
    assert not can_decode(transformers.AutoModelForCausalLM.from_config(config))


@torch.no_grad()
def test_size_of_the_cache() -> None:
    """Llama here: 2 layers, keys and values, 1 head of 8 float32 each: 2 * 2 * 8 * 4."""
    assert cache_bytes(random_model("Llama")) == 128
    assert cache_bytes(random_model("Llama").to(torch.bfloat16)) == 64


# Draws


def test_a_draw_is_where_the_cumulative_probability_passes_the_number() -> None:
    logits = torch.tensor([0.1, 0.0, 0.2, 0.7]).log().repeat(6, 1)
    uniform = torch.tensor([0.0, 0.0999, 0.1001, 0.2999, 0.3001, 1 - 2**-53], dtype=torch.float64)
    assert draw(logits, uniform).tolist() == [0, 0, 2, 2, 3, 3]


def test_what_cannot_be_is_never_drawn() -> None:
    """Not even at the ends, where rounding might reach it."""
    logits = torch.full((2, 5), -torch.inf)
    logits[:, 2] = 3.0
    assert draw(logits, torch.tensor([0.0, 1 - 2**-53], dtype=torch.float64)).tolist() == [2, 2]


@pytest.mark.parametrize(
    ("architecture", "changes"),
    [
        ("Bart", {"d_model": 16, "decoder_layers": 2, "decoder_attention_heads": 2, "decoder_ffn_dim": 32}),
        ("Roberta", {**SMALL, "num_attention_heads": 2, "is_decoder": True}),
    ],
)
@torch.no_grad()
def test_a_model_that_counts_positions_by_itself_is_left_to_generate(
    architecture: str, changes: dict[str, Any]
) -> None:
    """Places in the cache, or ids that are no padding, tell these their positions."""
    torch.manual_seed(0)
    made = {"vocab_size": VOCABULARY, "max_position_embeddings": 64, **changes}
    config = getattr(transformers, f"{architecture}Config")(**made)
    config.is_encoder_decoder, config.is_decoder = False, True
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    for weight in model.parameters():
        if weight.ndim > 1:
            torch.nn.init.normal_(weight, std=0.3)
    assert not can_decode(model)


def test_a_model_without_a_cache_of_attention_cannot_be_decoded_here() -> None:
    torch.manual_seed(0)
    config = transformers.RwkvConfig(vocab_size=VOCABULARY, hidden_size=16, num_hidden_layers=2)
    assert not can_decode(transformers.RwkvForCausalLM(config).eval())
