"""LongRoPE: a row is rotated by what it is long, whatever rows are computed with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import nn

from forgetctl.model.encoding import Encoded
from forgetctl.model.fast.packing import enable_packing, packs
from forgetctl.model.fast.shared_prompts import score_answers
from forgetctl.model.generation import Decoding, continuations
from forgetctl.model.scoring import score, short_input
from forgetctl.model.states import AnswerStates
from forgetctl.model.token_scores import score_tokens
from forgetctl.train.schedule import MicroBatchLimits, PairedBatches, cuts
from tests.model.oracles import HEADS, SMALL, TOKENS, VOCABULARY, plain_logp, random_rows
from tests.world import encoder_of

SHORT = 12


def phi3(vocabulary: int = VOCABULARY, short: int = SHORT) -> Any:
    """Phi-3 as Phi-3.5 has it: one set of factors up to so many tokens, another beyond."""
    torch.manual_seed(0)
    rope = {
        "rope_type": "longrope",
        "original_max_position_embeddings": short,
        "short_factor": [1.0] * 4,
        "long_factor": [2.0, 4.0, 8.0, 16.0],
        "rope_theta": 10000.0,
    }
    config = transformers.Phi3Config(
        **TOKENS, **{**SMALL, "vocab_size": vocabulary}, **HEADS, max_position_embeddings=64, rope_parameters=rope,
        original_max_position_embeddings=short,
    )  # fmt: skip
    model = transformers.Phi3ForCausalLM(config).eval()
    for weight in model.parameters():
        if weight.ndim > 1:
            nn.init.normal_(weight, std=0.3)
    return model


@pytest.mark.parametrize("packing", [True, False])
@torch.no_grad()
def test_scores_are_those_of_each_row_alone(packing: bool) -> None:
    model, rows = phi3(), random_rows(16, longest=30)
    # A row of one token more than that has as many inputs, since its last token is none.
    rows = [row for row in rows if len(row.ids) != SHORT + 1]
    assert {len(row.ids) > SHORT for row in rows} == {True, False}
    expected = plain_logp(model, rows)
    assert not torch.allclose(expected, plain_logp(phi3(short=63), rows), atol=0.1)  # the factors matter
    if packing:
        enable_packing(model)
        assert packs(model)
    for found in (
        score(model, rows),
        [row.total for row in score_tokens(model, rows)],
        score_answers(model, rows),
    ):
        assert torch.allclose(torch.tensor(found), expected, atol=1e-4)
    alone = [AnswerStates(model, [row]).states_of([0]) for row in rows]
    assert torch.allclose(AnswerStates(model, rows).states_of(range(len(rows))), torch.cat(alone), atol=1e-4)


@torch.no_grad()
def test_answers_of_one_prompt_that_end_on_both_sides() -> None:
    model = phi3()
    ids = tuple(range(3, 13))
    rows = [Encoded((*ids, *range(20, 20 + more)), 10) for more in (1, 2, 3, 8, 14)]
    rows = [row for row in rows if len(row.ids) != SHORT + 1]
    assert torch.allclose(torch.tensor(score_answers(model, rows)), plain_logp(model, rows), atol=1e-4)


@torch.no_grad()
def test_answers_that_grow_beyond_are_those_of_generate(world: Path) -> None:
    encoder = encoder_of(world)
    model = phi3(len(encoder.tokenizer))
    generator = torch.Generator().manual_seed(1)
    prompts = [
        torch.randint(9, len(encoder.tokenizer), (n,), generator=generator).tolist() for n in (3, 4, 6, 9, 13, 20)
    ]
    found = continuations(model, encoder, prompts, Decoding(max_new_tokens=16))
    for prompt, (answer,) in zip(prompts, found, strict=True):
        output = model.generate(
            torch.tensor([prompt]), max_new_tokens=16, do_sample=False, eos_token_id=encoder.stop_ids, pad_token_id=0
        )[0, len(prompt) :]
        assert answer.text == encoder.tokenizer.decode(output, skip_special_tokens=True).strip()


def test_parts_of_a_step_are_of_one_kind() -> None:
    limits = MicroBatchLimits(rows=99, tokens=4000, padded=False, apart=SHORT)
    assert cuts([20, 14, 13, 12, 5], limits) == [slice(0, 2), slice(2, 5)]
    assert cuts([20, 14, 13, 12, 5], MicroBatchLimits(rows=99, tokens=4000, padded=False)) == [slice(0, 5)]
    rows = [Encoded(tuple(range(length)), 1) for length in (5, 30, 8, 20, 13, 14)]
    batches = PairedBatches({"forget": rows, "retain": rows[::-1]}, batch_size=6, limits=limits, seed=1)
    (step,) = next(iter(batches))
    for part in batches.micro_batches(step):
        assert len({len(row.ids) - 1 > SHORT for row in batches.rows_of(part)}) == 1


def test_only_longrope_has_a_short_input() -> None:
    assert short_input(phi3()) == SHORT
    plain = transformers.LlamaConfig(**TOKENS, **SMALL, **HEADS)
    assert short_input(transformers.LlamaForCausalLM(plain)) is None
