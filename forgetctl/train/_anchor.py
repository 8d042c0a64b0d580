"""A decay of the weights towards where they began, which keeps what a model knows and no retain row reminds it of.

L2-SP of Li, Grandvalet and Davoine 2018 (arXiv 1802.01483), decoupled from the gradient as AdamW decouples weight
decay: after every step theta <- theta - share * (theta - theta_start).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import TrainerCallback

from ..model.split_weights import is_split, join, low_half, split_into


class Anchor(TrainerCallback):
    """Pulls the trainable weights of `model` to what they are now.

    share: of the distance, a step, while the learning rate is at `peak`; with a lower rate it is less in proportion.
    The copy is kept in the memory of the processor, beside a model on a GPU.
    """

    def __init__(self, model: nn.Module, share: float, peak: float) -> None:
        self.share, self.peak = share, peak
        self.start = {id(weight): _copy(weight) for weight in model.parameters() if weight.requires_grad}

    @torch.no_grad()
    def on_optimizer_step(self, args: Any, state: Any, control: Any, optimizer: Any = None, **_: Any) -> None:
        """Runs after the optimizer's step, at its rate."""
        for group in optimizer.param_groups:
            share = self.share * group["lr"] / self.peak
            for weight in group["params"]:
                _move(weight, self.start[id(weight)].to(weight.device, non_blocking=True), share)


def _copy(weight: Tensor) -> Tensor:
    whole = join(weight.data, low_half(weight)) if is_split(weight) else weight.detach()
    return whole.to("cpu", copy=True)


def _move(weight: Tensor, target: Tensor, share: float) -> None:
    if is_split(weight):
        split_into(weight.data, low_half(weight), join(weight.data, low_half(weight)).lerp_(target, share))
    else:
        weight.lerp_(target, share)
