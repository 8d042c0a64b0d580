"""The last layer's gate, computed only where logits are read.

A gate (Shazeer 2020) adds to the states of a position what it makes of that position alone, and behind the last layer
nothing moves between positions any more. So where no logits are asked for, in prompts, it need not be computed. In a
model of two layers that is a tenth of a step, in one of twenty a hundredth.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn

from .lean import gated, is_lean_gate

_read: ContextVar[Tensor | None] = ContextVar("read", default=None)


def leave_out_unread(model: Any) -> None:
    """Let the last of a model's lean gates heed `reading`, if the model is such that it changes no logits that are
    read. On a processor only: a GPU would wait to be told how many positions there are."""
    gates = [module for module in model.modules() if is_lean_gate(module)]
    if gates and model.device.type == "cpu" and _matters_there_alone(model, gates[-1]):
        gates[-1].forward = MethodType(_where_read, gates[-1])


@contextmanager
def reading(model: Any, positions: Tensor) -> Iterator[None]:
    """While this lasts logits are read at the marked positions alone, (batch, length).

    Without effect where activations are computed again for the backward pass, which is after this has ended.
    """
    again = any(getattr(module, "gradient_checkpointing", False) for module in model.modules())
    token = _read.set(None if again else positions)
    try:
        yield
    finally:
        _read.reset(token)


def _where_read(self: Any, states: Tensor) -> Tensor:
    positions = _read.get()
    if positions is None:
        return gated(self, states)
    flat, places = states.flatten(0, 1), positions.flatten().nonzero()[:, 0]
    computed = gated(self, flat.index_select(0, places))
    return computed.new_zeros(flat.shape).index_copy(0, places, computed).view_as(states)


@torch.no_grad()
def _matters_there_alone(model: Any, gate: nn.Module) -> bool:
    """Whether the last position's logits stay the same, bit by bit, without what the gate gives at the others."""
    ids = torch.arange(3, 8, device=model.device)[None] % model.config.get_text_config().vocab_size
    expected = model(input_ids=ids, use_cache=False).logits[:, -1]
    last = (torch.arange(5, device=model.device) == 4)[:, None]
    handle = gate.register_forward_hook(lambda _module, _inputs, output: output * last)
    try:
        found = model(input_ids=ids, use_cache=False).logits[:, -1]
    finally:
        handle.remove()
    return torch.equal(found, expected)
