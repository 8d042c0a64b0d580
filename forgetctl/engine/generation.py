"""Batched greedy answers, as a user of the model would get them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
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
    prompts = [encoder.encode_prompt(row) if row.context else () for row in rows]
    answers = [Answer("", complete=False)] * len(rows)
    asked = [index for index, prompt in enumerate(prompts) if prompt]
    advance(len(rows) - len(asked))
    for room, indices in _batches(prompts, asked, max_new_tokens, context):
        if room > 0:
            for index, answer in zip(
                indices, _answer(model, encoder, [prompts[i] for i in indices], room), strict=True
            ):
                answers[index] = answer
        advance(len(indices))
    return answers


def _batches(
    prompts: Sequence[Sequence[int]], asked: Sequence[int], limit: int, context: int | None
) -> Iterator[tuple[int, list[int]]]:
    """Positions of prompts of similar length, with the number of tokens that there is room for after each of them."""

    def room(index: int) -> int:
        return limit if context is None else min(limit, context - len(prompts[index]))

    ordered = sorted(asked, key=lambda index: -len(prompts[index]))
    for tokens, group in itertools.groupby(ordered, room):
        alike = list(group)
        for start in range(0, len(alike), BATCH_ROWS):
            yield tokens, alike[start : start + BATCH_ROWS]


def _answer(model: Any, encoder: Encoder, prompts: Sequence[Sequence[int]], room: int) -> list[Answer]:
    from transformers import GenerationConfig

    stops = encoder.stop_ids
    longest = max(map(len, prompts))
    config = GenerationConfig(  # type: ignore[no-untyped-call]
        do_sample=False, max_new_tokens=room, eos_token_id=stops, pad_token_id=stops[0], use_cache=True
    )
    ids, mask = _pad_left(prompts, longest, stops[0])
    output = model.generate(ids.to(model.device), attention_mask=mask.to(model.device), generation_config=config)
    answers = []
    for tokens in output[:, longest:].tolist():
        spoken = list(itertools.takewhile(lambda token: token not in stops, tokens))
        text = encoder.tokenizer.decode(spoken, skip_special_tokens=True).strip()
        answers.append(Answer(text, complete=len(spoken) < len(tokens)))
    return answers


def _pad_left(prompts: Sequence[Sequence[int]], length: int, pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.tensor([[pad] * (length - len(prompt)) + list(prompt) for prompt in prompts])
    mask = torch.tensor([[0] * (length - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    return ids, mask
