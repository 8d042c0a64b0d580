"""The optimizer that a recipe names: AdamW with moments in float32 or in 8 bits, on whole or on split weights."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from ..model.split_weights import is_split, join, low_half, split_into
from ..recipe.recipe import Recipe

ADAM = {"betas": (0.9, 0.999), "eps": 1e-8}


def choose_optimizer(recipe: Recipe, model: nn.Module) -> tuple[type[Optimizer], dict[str, Any]]:
    """Class and keyword arguments of the optimizer, as `transformers.Trainer(optimizer_cls_and_kwargs=...)` takes them.

    The trainer itself makes the parameter groups, with no weight decay on norms and biases.
    """
    options = {"lr": recipe.learning_rate, **ADAM}
    kind: type[Optimizer] = AdamW
    if recipe.optimizer == "adamw8bit":
        from ._eight_bits import EightBitAdamW  # seconds to import

        kind = EightBitAdamW
    else:
        options["fused"] = True
    if any(is_split(weight) for weight in model.parameters()):
        return SplitOptimizer, {"kind": kind, **options}
    return kind, options


class SplitOptimizer(Optimizer):
    """Updates split weights as `kind` updates float32 ones, from the same gradients: bit by bit the same.

    One tensor at a time is joined, updated and split again, so that no more than one is in memory in float32.
    """

    def __init__(self, params: Iterable[Any], kind: type[Optimizer], **options: Any) -> None:
        """params: weights, all of which `split_weights` has cut, or groups of them. options: of `kind`."""
        super().__init__(params, options)
        self.updates = {
            weight: _Update(weight, kind, _options(group)) for group in self.param_groups for weight in group["params"]
        }

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        """Update every weight that has a gradient. Raises ValueError for a closure, which no trainer gives."""
        if closure is not None:
            raise ValueError("split weights are updated from gradients that are there already")
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self.updates[weight].step(_options(group))

    def state_dict(self) -> dict[str, Any]:
        """Everything that an exact continuation needs beside the bfloat16 weights, the low halves among it."""
        state = {number: update.state_dict() for number, update in enumerate(self.updates.values())}
        return {**super().state_dict(), "state": state}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from `state_dict`, low halves included; the bfloat16 weights are the model's own to load."""
        super().load_state_dict({**state_dict, "state": {}})  # which would round the state to the weights' precision
        for number, update in enumerate(self.updates.values()):
            update.load_state_dict(state_dict["state"][number])


def _options(group: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in group.items() if name != "params"}


class _Update:
    """One split weight, and an optimizer for the float32 weight that it stands for, which exists only in `step`."""

    def __init__(self, weight: nn.Parameter, kind: type[Optimizer], options: dict[str, Any]) -> None:
        self.weight = weight
        self.nothing = torch.empty(0, device=weight.device)
        self.master = nn.Parameter(self.nothing)
        self.optimizer = kind([self.master], **options)

    def step(self, options: dict[str, Any]) -> None:
        """Update once, with options such as the learning rate as they are now."""
        gradient: Tensor | None = self.weight.grad
        assert gradient is not None  # noqa: S101
        self.optimizer.param_groups[0].update(options)
        self.master.data = join(self.weight.data, low_half(self.weight))
        self.master.grad = gradient.float()
        self.optimizer.step()
        split_into(self.weight.data, low_half(self.weight), self.master.data)
        self.master.data, self.master.grad = self.nothing, None

    def state_dict(self) -> dict[str, Any]:
        """The low half and the optimizer's own state."""
        return {"low": low_half(self.weight), "optimizer": self.optimizer.state_dict()["state"]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Back from `state_dict`."""
        low_half(self.weight).copy_(state["low"])
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state["optimizer"], "param_groups": groups})
