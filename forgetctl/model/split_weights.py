"""Weights that are bfloat16 for the model and float32 for the optimizer, in four bytes together.

A float32 weight is cut into the nearest bfloat16, which the model computes with, and the 16 bits that are missing from
it. Joined again they are the float32 weight, bit by bit, so an update far smaller than bfloat16's steps is kept.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .protocol import Layers

LOW = "low_half"
"""Attribute of a parameter that holds its missing 16 bits. It stays with the parameter, not with a copy of it."""


def split_weights(model: Layers) -> None:
    """Cut the model's trainable weights, one tensor at a time; bfloat16 ones have nothing missing.

    The model must be on its device already, since moving it moves no low halves.
    """
    for weight in model.parameters():
        if weight.requires_grad:
            high, low = split(weight.data.float())
            weight.data = high
            setattr(weight, LOW, low)


@torch.no_grad()
def join_weights(model: Layers) -> None:
    """Make the weights float32 again, one tensor at a time. A model that was not split stays as it is."""
    for weight in model.parameters():
        if is_split(weight):
            weight.data = join(weight.data, low_half(weight))
            delattr(weight, LOW)


def is_split(weight: Tensor) -> bool:
    """Whether the weight carries a low half."""
    return hasattr(weight, LOW)


def low_half(weight: Tensor) -> Tensor:
    """The weight's missing 16 bits, int16, of its shape."""
    low: Tensor = getattr(weight, LOW)
    return low


def split(master: Tensor) -> tuple[Tensor, Tensor]:
    """A float32 tensor as bfloat16, rounded to nearest, and the int16 that is missing from it."""
    high, low = (torch.empty_like(master, dtype=dtype) for dtype in (torch.bfloat16, torch.int16))
    split_into(high, low, master.clone())
    return high, low


def split_into(high: Tensor, low: Tensor, master: Tensor) -> None:
    """As `split` into tensors that are there already. The master's own values are lost: there is no room for a copy.

    Half a step rounds away from zero and not to even, else the rest would not always fit into 16 bits.
    """
    bits = master.view(torch.int32)
    low.copy_(bits)  # wraps: the lower 16 bits, from -32768 to 32767
    high.copy_(bits.sub_(low).view(torch.float32))  # exact: the lower 16 bits are zero now


def join(high: Tensor, low: Tensor) -> Tensor:
    """The float32 tensor that `split` cut."""
    return high.float().view(torch.int32).add_(low).view(torch.float32)
