"""Decoding token by token for many prompts at once, where rows leave as they end.

`transformers`' own `generate` carries every row on until the last one ends, copies the whole cache at every token, and
computes a prompt once for each of its samples. For models whose cache is one of keys and values by layer, this loop
does without; all others are left to `generate`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from ..protocol import Model

if TYPE_CHECKING:
    from transformers import PreTrainedConfig


ROOM = 64
"""Positions that the cache grows by."""
DROP_SHARE = 1 / 8
"""Share of ended rows from which on copying the cache without them is worth it."""
TAKEN = {"input_ids", "attention_mask", "position_ids", "past_key_values", "logits_to_keep"}

Choose = Callable[[Tensor, Tensor, int], Tensor]
"""Next tokens, (rows,), from logits in float32, (rows, vocabulary), numbers of the rows, (rows,), and the step."""


_decodable: WeakKeyDictionary[Model, bool] = WeakKeyDictionary()


def can_decode(model: Model) -> bool:
    """Whether the loop gives what the model gives by itself: it keeps plain keys and values, takes what the loop hands
    it, and says after prompts that are padded on the left what it says after each of them alone.

    Looked at once for each model, the last by what it does: some count positions from elsewhere, or by places in the
    cache, or carry a state through the padding.
    """
    if model not in _decodable:
        takes = set(inspect.signature(model.forward).parameters) >= TAKEN
        _decodable[model] = takes and keeps_plain_states(model.config) and _pads(model)
    return _decodable[model]


def keeps_plain_states(config: PreTrainedConfig) -> bool:
    """Whether nothing but keys and values of attention, all of them or those of a window, goes from token to token."""
    try:
        layers = _new_cache(config).layers
    except AttributeError:  # of an architecture that has none
        return False
    return bool(layers) and all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in layers)


@torch.no_grad()
def _pads(model: Model) -> bool:
    """Compares prompts of different lengths at once, and a token behind them, with each alone."""
    vocabulary = model.config.get_text_config(decoder=True).vocab_size
    prompts = [[id % vocabulary for id in range(first, last)] for first, last in ((3, 6), (5, 11))]
    ids, mask = (part.to(model.device) for part in pad_left([prompt[:-1] for prompt in prompts], 0))
    positions, cache = (mask.cumsum(1) - 1).clamp_min(0), _cache(model)
    last = torch.tensor([prompt[-1:] for prompt in prompts], device=model.device)
    together = [_next_logits(model, ids, mask, positions, cache)]
    mask, positions = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1), positions[:, -1:] + 1
    together.append(_next_logits(model, last, mask, positions, cache))
    rounding = torch.finfo(model.dtype).eps ** 0.5
    for row, prompt in enumerate(prompts):
        alone = model(input_ids=torch.tensor([prompt], device=model.device), use_cache=False).logits[0, -2:].float()
        padded = torch.stack([step[row] for step in together])
        if (padded - alone).abs().max() > rounding * alone.std():
            return False
    return True


class _RoomyLayer(DynamicLayer):  # type: ignore[no-untyped-call]
    """Keys and values of a layer with room for tokens to come, so that a token does not copy all before it.

    Where the layer has a sliding window, the mask hides what lies outside.
    """

    def update(self, key_states: Tensor, value_states: Tensor, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        """Add the new states, (rows, heads, tokens, width), and return all."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            self.stored = tuple(states[:, :, :0] for states in (key_states, value_states))
            self.tokens = 0
        before, self.tokens = self.tokens, self.tokens + key_states.shape[2]
        if self.tokens > self.stored[0].shape[2]:
            self._hold(tuple(stored[:, :, :before] for stored in self.stored))
        for stored, new in zip(self.stored, (key_states, value_states), strict=True):
            stored[:, :, before : self.tokens] = new
        self.keys, self.values = (stored[:, :, : self.tokens] for stored in self.stored)
        return self.keys, self.values

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep these rows, in this order, as often as they are named."""
        assert self.keys is not None  # noqa: S101  nothing is selected before the prompts are through
        assert self.values is not None  # noqa: S101
        self._hold((self.keys[indices], self.values[indices]))
        self.keys, self.values = (stored[:, :, : self.tokens] for stored in self.stored)

    def _hold(self, states: tuple[Tensor, ...]) -> None:
        rows, heads, tokens, _ = states[0].shape
        self.stored = tuple(part.new_empty(rows, heads, self.tokens + ROOM, part.shape[3]) for part in states)
        for stored, part in zip(self.stored, states, strict=True):
            stored[:, :, :tokens] = part


def _new_cache(config: Any) -> DynamicCache:
    return DynamicCache(config=config)


def _cache(model: Model) -> DynamicCache:
    cache = _new_cache(model.config)
    cache.layers = [_RoomyLayer() for _ in cache.layers]  # type: ignore[no-untyped-call]
    return cache


def cache_bytes(model: Model) -> int:
    """What the cache takes for one token of one row."""
    cache, one = _new_cache(model.config), torch.zeros(1, 1, dtype=torch.long, device=model.device)
    _next_logits(model, one, torch.ones_like(one), torch.zeros_like(one), cache)
    return sum(int(keys.nbytes + values.nbytes) for keys, values, _ in cache if keys is not None)


def decode(
    model: Model, prompts: Sequence[Sequence[int]], stops: Sequence[int], room: int, copies: int, choose: Choose
) -> list[list[int]]:
    """Tokens that follow each prompt, `copies` answers one after the other, without the one of `stops` that ends them.

    An answer of `room` tokens was not ended by the model. Prompts are padded on the left.
    """
    ids, mask = pad_left(prompts, stops[0])
    ids, mask = ids.to(model.device), mask.to(model.device)
    ends = torch.tensor(stops, device=model.device)
    rows = torch.arange(len(prompts), device=model.device).repeat_interleave(copies)
    positions, cache = (mask.cumsum(1) - 1).clamp_min(0), _cache(model)
    generated = torch.full((len(rows), room), stops[0], device=model.device)
    logits = _next_logits(model, ids, mask, positions, cache)
    if copies > 1:
        cache.batch_select_indices(rows)
        logits, mask, positions = logits[rows], mask[rows], positions[rows]
    rows, ended = torch.arange(len(rows), device=model.device), torch.zeros_like(rows, dtype=torch.bool)
    for step in range(room):
        tokens = choose(logits, rows, step)
        generated[rows, step] = torch.where(ended, stops[0], tokens)
        ended |= torch.isin(tokens, ends)
        left = len(rows) - int(ended.sum())
        if not left or step == room - 1:
            break
        positions, mask = positions[:, -1:] + 1, torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
        if len(rows) - left >= DROP_SHARE * len(rows):
            kept = (~ended).nonzero()[:, 0]
            cache.batch_select_indices(kept)
            rows, tokens, mask, positions, ended = (part[kept] for part in (rows, tokens, mask, positions, ended))
        logits = _next_logits(model, tokens[:, None], mask, positions, cache)
    return [until_end(tokens, stops) for tokens in generated.tolist()]


def _next_logits(model: Model, ids: Tensor, mask: Tensor, positions: Tensor, cache: DynamicCache) -> Tensor:
    output = model(
        input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True,
        logits_to_keep=1,
    )  # fmt: skip
    logits: Tensor = output.logits[:, -1].float()
    return logits


def until_end(tokens: Sequence[int], stops: Sequence[int]) -> list[int]:
    """The tokens before the first of `stops`."""
    return list(takewhile(lambda token: token not in stops, tokens))


def pad_left(prompts: Sequence[Sequence[int]], pad: int) -> tuple[Tensor, Tensor]:
    """Ids and mask, (prompts, longest)."""
    longest = max(map(len, prompts))
    ids = torch.tensor([[pad] * (longest - len(prompt)) + list(prompt) for prompt in prompts])
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    return ids, mask
