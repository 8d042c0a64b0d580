"""Log-probabilities straight from the output head, with a single buffer of logits.

A cross-entropy over full logits keeps them, their float32 copy and their gradient: at a vocabulary of 128k that is most
of a training run's memory, and the passes over it cost more than some layers. Here the softmax's gradient replaces the
logits in place. torch's own `linear_cross_entropy` needs less memory still, but computes the logits twice, and in
float32 under autocast: on a CPU it took 1.4 times as long in float32 and twice as long in bfloat16.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.functional import kl_div

from ..protocol import AutogradContext, Model, Output

BUFFER_VALUES = 2**20
"""Values of logits that a processor turns over at once: few enough to stay in its cache."""
GPU_BUFFER_VALUES = 2**25
"""The same for a GPU: enough to keep it at work, and no more than 128 MiB in float32."""


def rows_at_once(vocabulary: int, device: torch.device) -> int:
    """Rows of logits that are turned over at once."""
    return max(1, (BUFFER_VALUES if device.type == "cpu" else GPU_BUFFER_VALUES) // vocabulary)


class _Context(AutogradContext, Protocol):
    """logits: left by the forward for its backward pass, which overwrites them."""

    logits: Tensor | None


class _ComparedContext(_Context, Protocol):
    start: Callable[[Tensor], Tensor]


def _taken(context: _Context) -> Tensor:
    """The logits that a forward left for its backward pass, which overwrites them."""
    logits, context.logits = context.logits, None
    if logits is None:
        raise RuntimeError("the logits were overwritten by an earlier backward pass")
    return logits


def _of_product(
    context: AutogradContext, slope: Tensor, hidden: Tensor, weight: Tensor
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of hidden states and weight from that of their product, where they are asked for."""
    needs_hidden, needs_weight, *_ = context.needs_input_grad
    return slope @ weight if needs_hidden else None, slope.T @ hidden if needs_weight else None


class _TargetLogp(torch.autograd.Function):
    """log softmax(hidden @ weight.T)[target] of every position, in float32."""

    @staticmethod
    def forward(context: _Context, hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        logits = hidden @ weight.T
        context.save_for_backward(hidden, weight, targets)
        context.logits = logits  # not an input or output, and overwritten by the backward pass
        return torch.cat([_picked(_logp(part, room), wanted) for part, room, wanted in _parts(logits, targets)])

    @staticmethod
    def backward(context: _Context, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, targets = context.saved_tensors
        logits = _taken(context)
        (gradient,) = gradients
        for part, room, scale, wanted in _parts(logits, gradient, targets):
            softmax = torch.softmax(part, -1, dtype=torch.float32, out=room)
            softmax.scatter_add_(1, wanted[:, None], torch.full_like(scale, -1)[:, None])
            torch.mul(softmax, -scale[:, None], out=part)
        return *_of_product(context, logits, hidden, weight), None


@dataclass(frozen=True)
class Compared:
    """Positions whose whole distribution is compared with another's. there: (n,), which of all positions they are.
    start: the other's log-probabilities, (m, vocabulary) float32, of those among them that (m,) indices name."""

    there: Tensor
    start: Callable[[Tensor], Tensor]


class _ComparedLogp(torch.autograd.Function):
    """As `_TargetLogp`, and beside it KL(start || model) over the whole vocabulary: (n, 2), float32."""

    @staticmethod
    def forward(
        context: _ComparedContext, hidden: Tensor, weight: Tensor, targets: Tensor, start: Callable[[Tensor], Tensor]
    ) -> Tensor:
        logits = hidden @ weight.T
        every = torch.arange(len(logits), device=logits.device)
        context.save_for_backward(hidden, weight, targets)
        context.logits, context.start = logits, start
        scores, divergence = [], []
        for part, room, wanted, where in _parts(logits, targets, every):
            now = _logp(part, room)
            scores.append(_picked(now, wanted))
            divergence.append(kl_div(now, start(where), reduction="none", log_target=True).sum(-1))
        return torch.stack([torch.cat(scores), torch.cat(divergence)], 1)

    @staticmethod
    def backward(context: _ComparedContext, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, targets = context.saved_tensors
        logits = _taken(context)
        of_logp, of_kl = gradients[0].unbind(1)
        every = torch.arange(len(logits), device=logits.device)
        for part, room, first, second, wanted, where in _parts(logits, of_logp, of_kl, targets, every):
            slope = torch.softmax(part, -1, dtype=torch.float32, out=room).mul_((second - first)[:, None])
            slope.scatter_add_(1, wanted[:, None], first[:, None])
            torch.sub(slope, context.start(where).exp_().mul_(second[:, None]), out=part)
        return *_of_product(context, logits, hidden, weight), None, None


def compared_logp(hidden: Tensor, weight: Tensor, targets: Tensor, compared: Compared) -> Tensor:
    """`target_logp` of every position, and KL(start || model) in nats of those that are compared, else 0: (n, 2).

    The start's distributions are made a few rows at a time, in either direction, and never kept.
    """
    kind, there = hidden.device.type, compared.there
    others = target_logp(hidden[~there], weight, targets[~there])
    if torch.is_autocast_enabled(kind):
        dtype = torch.get_autocast_dtype(kind)
        hidden, weight = hidden.to(dtype), weight.to(dtype)
    both: Tensor = _ComparedLogp.apply(hidden[there], weight, targets[there], compared.start)  # type: ignore[no-untyped-call]
    joined = both.new_zeros(len(targets), 2)
    joined[there] = both
    joined[~there, 0] = others
    return joined


def target_logp(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """Log-probability of each target, (n,) float32, from hidden states (n, width) and a head's weight (vocabulary,
    width), computed in the precision of autocast if it is on. Without gradient no more than a part is in memory."""
    kind = hidden.device.type
    if torch.is_autocast_enabled(kind):
        dtype = torch.get_autocast_dtype(kind)
        hidden, weight = hidden.to(dtype), weight.to(dtype)
    if torch.is_grad_enabled() and (hidden.requires_grad or weight.requires_grad):
        return _apply(hidden, weight, targets)
    size = max(256, rows_at_once(len(weight), hidden.device))
    parts = zip(torch.split(hidden, size), torch.split(targets, size), strict=True)
    return torch.cat([_apply(some, weight, wanted) for some, wanted in parts])


def _apply(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    scores: Tensor = _TargetLogp.apply(hidden, weight, targets)  # type: ignore[no-untyped-call]
    return scores


def _parts(logits: Tensor, *others: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """A few rows of logits at a time, with float32 room for as many, and the same rows of the others."""
    size = rows_at_once(logits.shape[1], logits.device)
    room = torch.empty(min(size, len(logits)), logits.shape[1], device=logits.device)
    for part, *rest in zip(*(torch.split(values, size) for values in (logits, *others)), strict=True):
        yield part, room[: len(part)], *rest


def _logp(logits: Tensor, room: Tensor) -> Tensor:
    return torch.log_softmax(logits, -1, dtype=torch.float32, out=room)


def _picked(values: Tensor, places: Tensor) -> Tensor:
    """One value of each row."""
    return values.gather(1, places[:, None])[:, 0]


@contextmanager
def head_gives_logp(model: Model, targets: Tensor, compared: Compared | None = None) -> Iterator[None]:
    """While this lasts the model's "logits" are the targets' log-probabilities, (n,), of the positions it keeps; with
    `compared` what `compared_logp` gives, (n, 2).

    Computed within the head's own call, so that whatever gathers its weights before the call has done so.
    """
    head = model.get_output_embeddings()

    def forward(hidden: Tensor) -> Tensor:
        flat = hidden.reshape(-1, hidden.shape[-1])
        if compared is None:
            return target_logp(flat, head.weight, targets)
        return compared_logp(flat, head.weight, targets, compared)

    head.forward = forward  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        del head.forward


_plain: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()


def has_plain_head(model: Model, forward: Callable[[], Output]) -> bool:
    """Whether the model's logits are its head's product with the hidden states and nothing else.

    Not so with adapters or a bias on the head, quantised heads, soft-capped or scaled logits. Looked at once for each
    model, by what it does rather than by what its config says. forward: calls the model on a few rows.
    """
    head = model.get_output_embeddings()
    if head not in _plain:
        # By its forward: sharding gives the head a class of its own, and quantised heads are kinds of nn.Linear, too.
        product = type(head).forward is nn.Linear.forward and head.bias is None
        _plain[head] = product and _is_last(head, forward)
    return _plain[head]


@torch.no_grad()
def _is_last(head: nn.Linear, forward: Callable[[], Output]) -> bool:
    caught: list[Tensor] = []
    handle = head.register_forward_hook(lambda _module, _inputs, output: caught.append(output))
    try:
        logits: Tensor = forward().logits
    finally:
        handle.remove()
    return len(caught) == 1 and logits.shape == caught[0].shape and torch.equal(logits.float(), caught[0].float())


@contextmanager
def head_inputs(model: Model) -> Iterator[list[Tensor]]:
    """While this lasts no logits are computed; what they would be computed from is collected, in the order of calls."""
    head = model.get_output_embeddings()
    caught: list[Tensor] = []

    def forward(hidden: Tensor) -> Tensor:
        caught.append(hidden)
        return hidden

    head.forward = forward  # type: ignore[method-assign, assignment]
    try:
        yield caught
    finally:
        del head.forward
