"""Batched answers, greedy or sampled, as a user of the model would get them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from ..errors import ModelError
from ..rows.row import Row
from ._panics import panics_unheard
from .encoding import Encoder
from .fast.decoding import Choose, cache_bytes, can_decode, decode, pad_left, until_end
from .memory import in_halves, out_of_memory
from .protocol import Model
from .sampling import PLAIN, Sampling
from .scoring import short_input

BATCH_ROWS = 128
CACHE_BYTES = 4 * 2**30
"""The most that keys and values of a batch take; batches of large models are smaller."""


@dataclass(frozen=True, repr=False)
class Answer:
    """Generated text without special tokens, and whether the model ended it rather than the length limit."""

    text: str
    complete: bool


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """How answers are generated.

    max_new_tokens: the longest; context: the model's longest input in tokens, None if it has none. samples: None for
    the one greedy answer, else how many to draw as `sampling` says; by default from the model's own distribution
    (temperature 1, nothing cut off).
    """

    max_new_tokens: int
    context: int | None = None
    samples: int | None = None
    seed: int = 0
    sampling: Sampling = PLAIN


def greedy_answers(
    model: Model,
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
    model: Model,
    encoder: Encoder,
    prompts: Sequence[Sequence[int]],
    decoding: Decoding,
    advance: Callable[[int], None] = lambda _: None,
) -> list[list[Answer]]:
    """What the model adds to each prompt's token ids, in the order given: one answer, or `samples` of them.

    Prompts are padded on the left, grouped by length. Generation stops at the end of turn, after `max_new_tokens`,
    or where the model's context ends. An empty prompt is answered by nothing. The samples of a prompt depend on the
    seed and on its place among the prompts, not on random numbers drawn before, nor on what it is computed together
    with. Raises MemoryExceeded if even a prompt alone does not fit into the memory.
    """
    answers = [[Answer("", complete=False)] * (decoding.samples or 1) for _ in prompts]
    asked = [index for index, prompt in enumerate(prompts) if prompt]
    advance(len(prompts) - len(asked))
    with _without_defaults(model):
        generator = _Generator(model, encoder.stop_ids, decoding)

        def answer(room: int, indices: Sequence[int]) -> None:
            generated = iter(generator(indices, [prompts[index] for index in indices], room))
            for index in indices:
                answers[index] = [_answer(encoder, next(generated), room) for _ in answers[index]]

        for room, indices in _batches(prompts, asked, decoding, generator):
            if room > 0:
                in_halves(indices, partial(answer, room))
            advance(len(indices))
    return answers


@contextmanager
def seeded(device: torch.device, seed: int) -> Iterator[None]:
    """Random numbers from `seed` on, whatever was drawn before, and without a trace afterwards."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


@contextmanager
def _without_defaults(model: Model) -> Iterator[None]:
    """The model's own generation settings set aside: a suppressed token or a penalty would hide what it knows."""
    from transformers import GenerationConfig

    own = model.generation_config
    model.generation_config = GenerationConfig()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        model.generation_config = own


def _batches(
    prompts: Sequence[Sequence[int]], asked: Sequence[int], decoding: Decoding, generator: _Generator
) -> Iterator[tuple[int, list[int]]]:
    """Positions of prompts of similar length, with the number of tokens that there is room for after each of them."""
    limit, context, copies = decoding.max_new_tokens, decoding.context, decoding.samples or 1

    def room(index: int) -> int:
        return limit if context is None else min(limit, context - len(prompts[index]))

    def alike(index: int) -> tuple[int, int | None]:
        return room(index), generator.batch_key(len(prompts[index]), room(index))

    ordered = sorted(asked, key=lambda index: -len(prompts[index]))
    for (tokens, _), group in itertools.groupby(ordered, alike):
        members = list(group)
        fitting = CACHE_BYTES // max(1, generator.token_bytes * (len(prompts[members[0]]) + tokens))
        size = max(1, min(BATCH_ROWS, fitting) // copies)
        for start in range(0, len(members), size):
            yield tokens, members[start : start + size]


@dataclass(frozen=True)
class GenerateMode:
    """How transformers' `generate` is called. cached: with the model's own cache. batched: with several prompts of one
    length at once."""

    cached: bool
    batched: bool


@torch.no_grad()
def _fastest_mode(model: Model) -> GenerateMode:
    """The fastest mode that gives for two short prompts the logits that the model gives for each without a cache.

    Some models allow no other: RWKV mixes the states of rows, xLSTM's cache has not the shape of its states,
    and BLT's config has no number of layers to make one for. Raises ModelError if `generate` cannot be used at all.
    """
    vocabulary = model.config.get_text_config(decoder=True).vocab_size
    ids = torch.tensor([[3, 4, 5], [8, 7, 6]], device=model.device) % vocabulary
    expected = _generated_logits(model, ids, GenerateMode(cached=False, batched=False))
    if expected is None:
        raise ModelError(f"{type(model).__name__} cannot generate answers")
    modes = [
        GenerateMode(cached=cached, batched=batched) for cached, batched in ((True, True), (True, False), (False, True))
    ]
    for mode in modes:
        logits = _generated_logits(model, ids, mode)
        if (
            logits is not None
            and (logits - expected).abs().max() <= torch.finfo(model.dtype).eps ** 0.5 * expected.std()
        ):
            return mode
    return GenerateMode(cached=False, batched=False)


def _generated_logits(model: Model, ids: torch.Tensor, mode: GenerateMode) -> torch.Tensor | None:
    """Logits of the first two tokens behind prompts of one length, (steps, rows, vocabulary); None if that fails."""
    from transformers import GenerationConfig

    config = GenerationConfig(  # type: ignore[no-untyped-call]
        max_new_tokens=2, min_new_tokens=2, pad_token_id=0, do_sample=False, use_cache=mode.cached,
        output_logits=True, return_dict_in_generate=True,
    )  # fmt: skip
    try:
        parts = [
            torch.stack(model.generate(rows, attention_mask=torch.ones_like(rows), generation_config=config).logits)
            for rows in ([ids] if mode.batched else [row[None] for row in ids])
        ]
    except (AttributeError, IndexError, RuntimeError, TypeError, ValueError) as error:
        if out_of_memory(error):
            raise
        return None  # whatever a model does with its cache
    return torch.cat(parts, dim=1).float()


def _of(choose: Choose, place: int) -> Choose:
    """The choice for one of several prompts, asked alone."""
    return lambda logits, rows, step: choose(logits, rows + place, step)


class _Generator:
    """Generates what follows prompts: by the loop of `decoding`, or by `generate` where the model's cache is another.

    token_bytes: what a token of one row takes in the cache, 0 if unknown.
    """

    def __init__(self, model: Model, stops: Sequence[int], decoding: Decoding) -> None:
        self.model, self.stops, self.decoding = model, stops, decoding
        self.loops = can_decode(model)
        self.token_bytes = cache_bytes(model) if self.loops else 0
        self.mode = None if self.loops else _fastest_mode(model)
        self.short = short_input(model)

    def batch_key(self, prompt: int, room: int) -> int | None:
        """What prompts have in common that may be answered at once; of one with so many tokens.

        `generate` pads them to one length, of which recurrent models know nothing. With LongRoPE the cache is computed
        anew where an answer grows beyond the short factors, which is at another step for each length.
        """
        return None if self._in_loop(prompt, room) else prompt

    def _in_loop(self, prompt: int, room: int) -> bool:
        return self.loops and (self.short is None or prompt + room <= self.short)

    def __call__(self, numbers: Sequence[int], prompts: Sequence[Sequence[int]], room: int) -> list[list[int]]:
        """Tokens of every answer, without its end, the samples of a prompt one after another.

        numbers: the prompts' places, which decide what is drawn for them.
        """
        copies = self.decoding.samples
        draws = self._draws(numbers, room, copies) if copies else None

        def choose(logits: torch.Tensor, rows: torch.Tensor, step: int) -> torch.Tensor:
            if draws is None:
                return logits.argmax(-1)
            return draw(self.decoding.sampling.kept(logits), draws[step, rows])

        if self._in_loop(max(map(len, prompts)), room):
            return decode(self.model, prompts, self.stops, room, copies or 1, choose)
        return self._generate([prompt for prompt in prompts for _ in range(copies or 1)], room, choose)

    def _draws(self, numbers: Sequence[int], room: int, copies: int) -> torch.Tensor:
        """Numbers in [0, 1) for every token of every sample, (room, samples of all prompts).

        Drawn beforehand and for each prompt by itself: neither the rows that are still there nor those of other batches
        or processes decide which numbers a row gets.
        """
        drawn = [np.random.default_rng([self.decoding.seed, number]).random((room, copies)) for number in numbers]
        return torch.from_numpy(np.concatenate(drawn, axis=1)).to(self.model.device)

    def _generate(self, prompts: Sequence[Sequence[int]], room: int, choose: Choose) -> list[list[int]]:
        from transformers import GenerationConfig

        mode = self.mode or GenerateMode(cached=True, batched=True)
        if len(prompts) > 1 and not mode.batched:
            answers = [self._generate([prompt], room, _of(choose, place)) for place, prompt in enumerate(prompts)]
            return [tokens for (tokens,) in answers]
        config = GenerationConfig(  # type: ignore[no-untyped-call]
            max_new_tokens=room,
            eos_token_id=self.stops,
            pad_token_id=self.stops[0],
            use_cache=mode.cached,
            do_sample=False,
        )
        ids, mask = (part.to(self.model.device) for part in pad_left(prompts, self.stops[0]))
        output = self.model.generate(
            ids, attention_mask=mask, generation_config=config, logits_processor=[_only(choose, ids.shape[1])]
        )
        return [until_end(tokens, self.stops) for tokens in output[:, ids.shape[1] :].tolist()]


def _only(choose: Choose, given: int) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """For `generate`: leaves only the tokens that `choose` takes, after the `given` ones of the prompts."""

    def process(ids: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        chosen = choose(logits, torch.arange(len(ids), device=ids.device), ids.shape[1] - given)
        return torch.full_like(logits, -torch.inf).scatter_(1, chosen[:, None], 0.0)

    return process


def draw(logits: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """A token from each distribution, (rows,), by inversion of its cumulative probabilities.

    logits: (rows, vocabulary); uniform: (rows,) float64 in [0, 1).
    """
    reached = logits.softmax(-1).cumsum(-1, dtype=torch.float64)
    # Scaled to the last sum, which rounding leaves beside 1, and to the right, past tokens that cannot be.
    return torch.searchsorted(reached, (uniform * reached[:, -1])[:, None], right=True)[:, 0]


def _answer(encoder: Encoder, tokens: Sequence[int], room: int) -> Answer:
    with panics_unheard():
        text = encoder.tokenizer.decode(tokens, skip_special_tokens=True).strip()
    return Answer(text, complete=len(tokens) < room)
