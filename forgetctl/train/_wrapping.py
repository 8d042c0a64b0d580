"""Models as the engines of several processes wrap them: whose forward to call, and whose attributes to ask for."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import kl_div, log_softmax

from ..model.protocol import Model
from ..model.scoring import answer_logits, pad_rows
from ..model.states import AnswerStates


class Through:
    """A model whose forward goes through the wrapper that shares its gradients; all else is the model's own."""

    def __init__(self, wrapper: Any, model: Model) -> None:
        self.wrapper, self.model = wrapper, model

    def __call__(self, **inputs: Any) -> Any:
        return self.wrapper(**inputs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)


class WithinForward:
    """Compares a sharded model with states kept of the start model.

    Outside of its forward a sharded model has no whole weights, so here the logits are its own forward's and not made
    again from its head; one row at a time, since those of many would not fit. The states must hold a head of their own.
    """

    def __init__(self, states: AnswerStates) -> None:
        self.states = states

    @torch.no_grad()
    def divergence_to(self, model: Model) -> float:
        """KL(the states || model), nats per answer token, as `AnswerStates.divergence_to`. All processes must ask."""
        total, tokens = 0.0, 0
        for index, row in enumerate(self.states.rows):
            now = _distributions(model, pad_rows([row]).to(model.device))
            start = self.states.log_probabilities([index])
            total += float(kl_div(now, start, reduction="sum", log_target=True))
            tokens += len(now)
        return total / tokens


def _distributions(model: Model, batch: Any) -> Tensor:
    return log_softmax(answer_logits(model, batch).float(), dim=-1)
