"""Batched answers, greedy or sampled, as a user of the model would get them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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


@dataclass(frozen=True)
class Decoding:
    """How answers are generated.

    max_new_tokens: the longest; context: the model's longest input in tokens, None if it has none. samples: None for
    the one greedy answer, else how many to draw from the model's own distribution (temperature 1, nothing cut off).
    """

    max_new_tokens: int
    context: int | None = None
    samples: int | None = None
    seed: int = 0


def greedy_answers(
    model: Any,
    encoder: Encoder,
    rows: Sequence[Row],
    decoding: Decoding,
    advance: Callable[[int], None] = lambda _: None,
) -> list[Answer]:
    """Greedy answer to each row's prompt, in the order given; a passage, which has none, is answered by nothing."""
    prompts = [encoder.encode_prompt(row) if row.context else () for row in rows]
    return [answers[0] for answers in continuations(model, encoder, prompts, decoding, advance)]


@torch.no_grad()
def continuations(
    model: Any,
    encoder: Encoder,
    prompts: Sequence[Sequence[int]],
    decoding: Decoding,
    advance: Callable[[int], None] = lambda _: None,
) -> list[list[Answer]]:
    """What the model adds to each prompt's token ids, in the order given: one answer, or `samples` of them.

    Prompts are padded on the left, grouped by length. Generation stops at the end of turn, after `max_new_tokens`,
    or where the model's context ends. An empty prompt is answered by nothing. Samples depend on the seed and on the
    prompts alone, not on random numbers drawn before.
    """
    answers = [[Answer("", complete=False)] * (decoding.samples or 1) for _ in prompts]
    asked = [index for index, prompt in enumerate(prompts) if prompt]
    advance(len(prompts) - len(asked))
    with seeded(model.device, decoding.seed), _without_defaults(model):
        for room, indices in _batches(prompts, asked, decoding):
            if room > 0:
                made = _answer(model, encoder, [prompts[i] for i in indices], room, decoding.samples)
                for index, answer in zip(indices, made, strict=True):
                    answers[index] = answer
            advance(len(indices))
    return answers


@contextmanager
def seeded(device: torch.device, seed: int) -> Iterator[None]:
    """Random numbers from `seed` on, whatever was drawn before, and without a trace afterwards."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


@contextmanager
def _without_defaults(model: Any) -> Iterator[None]:
    """The model's own generation settings set aside: a suppressed token or a penalty would hide what it knows."""
    from transformers import GenerationConfig

    own = model.generation_config
    model.generation_config = GenerationConfig()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        model.generation_config = own


def _batches(
    prompts: Sequence[Sequence[int]], asked: Sequence[int], decoding: Decoding
) -> Iterator[tuple[int, list[int]]]:
    """Positions of prompts of similar length, with the number of tokens that there is room for after each of them."""
    limit, context, size = decoding.max_new_tokens, decoding.context, max(1, BATCH_ROWS // (decoding.samples or 1))

    def room(index: int) -> int:
        return limit if context is None else min(limit, context - len(prompts[index]))

    ordered = sorted(asked, key=lambda index: -len(prompts[index]))
    for tokens, group in itertools.groupby(ordered, room):
        alike = list(group)
        for start in range(0, len(alike), size):
            yield tokens, alike[start : start + size]


def _answer(
    model: Any, encoder: Encoder, prompts: Sequence[Sequence[int]], room: int, samples: int | None
) -> list[list[Answer]]:
    from transformers import GenerationConfig

    stops = encoder.stop_ids
    longest = max(map(len, prompts))
    chosen: dict[str, Any] = {"do_sample": False}
    if samples is not None:
        chosen = {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0, "num_return_sequences": samples}
    config = GenerationConfig(  # type: ignore[no-untyped-call]
        max_new_tokens=room, eos_token_id=stops, pad_token_id=stops[0], use_cache=True, **chosen
    )
    ids, mask = _pad_left(prompts, longest, stops[0])
    output = model.generate(ids.to(model.device), attention_mask=mask.to(model.device), generation_config=config)
    answers = []
    for tokens in output[:, longest:].tolist():
        spoken = list(itertools.takewhile(lambda token: token not in stops, tokens))
        text = encoder.tokenizer.decode(spoken, skip_special_tokens=True).strip()
        answers.append(Answer(text, complete=len(spoken) < len(tokens)))
    each = samples or 1
    return [answers[start : start + each] for start in range(0, len(answers), each)]


def _pad_left(prompts: Sequence[Sequence[int]], length: int, pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.tensor([[pad] * (length - len(prompt)) + list(prompt) for prompt in prompts])
    mask = torch.tensor([[0] * (length - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    return ids, mask
