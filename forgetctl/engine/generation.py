"""Batched greedy answers, as a user of the model would get them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ..rows import Row
from .encoding import Encoder

BATCH_ROWS = 64


@dataclass(frozen=True, repr=False)
class Answer:
    """Generated text without special tokens, and whether the model ended it rather than the length limit."""

    text: str
    complete: bool


@torch.no_grad()
def greedy_answers(
    model: Any,
    encoder: Encoder,
    rows: Sequence[Row],
    max_new_tokens: int,
    context: int | None = None,
    advance: Callable[[int], None] = lambda _: None,
) -> list[Answer]:
    """Greedy answer to each row's prompt, in the order given.

    Prompts are padded on the left, grouped by length. Generation stops at the end of turn, after
    `max_new_tokens`, or where the model's context ends. A passage, which has no prompt, is answered by nothing.
    """
    from transformers import GenerationConfig

    stops = encoder.stop_ids
    prompts = [encoder.encode_prompt(row) if row.context else () for row in rows]
    answers = [Answer("", complete=False)] * len(rows)
    order = sorted((i for i in range(len(rows)) if prompts[i]), key=lambda i: -len(prompts[i]))
    for start in range(0, len(order), BATCH_ROWS):
        indices = order[start : start + BATCH_ROWS]
        longest = len(prompts[indices[0]])
        room = max_new_tokens if context is None else min(max_new_tokens, context - longest)
        if room > 0:
            config = GenerationConfig(  # type: ignore[no-untyped-call]
                do_sample=False,
                max_new_tokens=room,
                eos_token_id=stops,
                pad_token_id=stops[0],
                use_cache=True,
            )
            ids, mask = _pad_left([prompts[index] for index in indices], longest, stops[0])
            output = model.generate(
                ids.to(model.device), attention_mask=mask.to(model.device), generation_config=config
            )
            texts = encoder.tokenizer.batch_decode(output[:, longest:], skip_special_tokens=True)
            for index, text, tokens in zip(indices, texts, output[:, longest:].tolist(), strict=True):
                answers[index] = Answer(text.strip(), complete=not set(stops).isdisjoint(tokens))
        advance(len(indices))
    return answers


def _pad_left(prompts: Sequence[Sequence[int]], length: int, pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.tensor([[pad] * (length - len(prompt)) + list(prompt) for prompt in prompts])
    mask = torch.tensor([[0] * (length - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    return ids, mask
