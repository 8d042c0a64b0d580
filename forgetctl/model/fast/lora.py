"""Layers with adapters of low rank (Hu et al. 2021), whose products are added up where the layer's own lies already.

peft writes an adapter's product, scales it and adds it to the layer's: three passes over states as wide as the layer.
A product of matrices can scale and add by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ..protocol import AutogradContext, Layers
from ._forwards import replace_forward


def add_in_place(model: Layers) -> None:
    """Replace the forward of every linear layer of the model that has one plain adapter, without dropout."""
    for layer in model.modules():
        if hasattr(layer, "lora_A") and _is_plain(layer):
            replace_forward(layer, _adapted_of)


def _is_plain(layer: Any) -> bool:
    if not isinstance(layer.base_layer, nn.Linear):  # an embedding's adapter has its parts under other names
        return False
    (name, *others) = layer.lora_A
    return (
        not others
        and not layer.lora_variant
        and isinstance(layer.lora_dropout[name], nn.Identity)
        and layer.lora_B[name].bias is None
    )


@cache
def _adapted_of(kind: Any) -> Callable[..., Tensor]:
    def adapted(self: Any, states: Tensor, *others: Any, **named: Any) -> Tensor:
        """base(states) + scaling * B(A(states)), or what peft makes of it where the adapter is off or more is asked
        for."""
        if self.disable_adapters or self.merged or others or named:
            theirs: Tensor = kind.forward(self, states, *others, **named)
            return theirs
        own = self.base_layer(states)
        if type(self.base_layer) is not nn.Linear:
            own = own.clone()  # a quantised layer's output may be a view of what its backward pass reads
        (name,) = self.lora_A
        down, up = (part[name].weight.to(own.dtype) for part in (self.lora_A, self.lora_B))
        added: Tensor = _Added.apply(own, states.to(own.dtype), down, up, self.scaling[name])  # type: ignore[no-untyped-call]
        return added

    return adapted


class _Context(AutogradContext, Protocol):
    scaling: float


class _Added(torch.autograd.Function):
    """own + scaling * states @ down.T @ up.T, in the memory of `own`."""

    @staticmethod
    def forward(context: _Context, own: Tensor, states: Tensor, down: Tensor, up: Tensor, scaling: float) -> Tensor:
        narrow = states.flatten(0, -2) @ down.T
        own.view(-1, own.shape[-1]).addmm_(narrow, up.T, alpha=scaling)
        context.mark_dirty(own)
        context.save_for_backward(states, narrow, down, up)
        context.scaling = scaling
        return own

    @staticmethod
    def backward(context: _Context, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        states, narrow, down, up = context.saved_tensors
        gradient = gradients[0].flatten(0, -2)
        of_narrow = (gradient @ up).mul_(context.scaling)
        of_states = (of_narrow @ down).view_as(states) if context.needs_input_grad[1] else None
        of_up = (gradient.T @ narrow).mul_(context.scaling)
        return gradients[0], of_states, of_narrow.T @ states.flatten(0, -2), of_up, None
