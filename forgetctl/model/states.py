"""A model's next-token distributions, kept without the model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import kl_div, log_softmax

from ..errors import ModelError
from .encoding import Encoded
from .fast.output_head import head_inputs, rows_at_once
from .memory import in_halves
from .protocol import Model
from .scoring import answer_logits, at_scored, length_batches, pad_rows, short_input


@dataclass(frozen=True)
class Finish:
    """What a model makes of its head's product: logits times `scale`, which `cap` then bends, unless it is None, to
    stay within -cap and cap."""

    scale: float
    cap: float | None

    def __call__(self, logits: Tensor) -> Tensor:
        """The model's logits, of the same shape."""
        if self.scale != 1:
            logits = logits * self.scale
        return logits if self.cap is None else torch.tanh(logits / self.cap) * self.cap


def finishes(config: Any) -> list[Finish]:
    """Every finish that a config's numbers may mean; what a number of the name is for differs between models."""
    divided = [1 / number for number in _numbers(config, "logits_scaling")]
    scales = [1.0, *divided, *_numbers(config, "logit_scale", "lm_head_multiplier")]
    caps = [None, *_numbers(config, "final_logit_softcapping", "logits_soft_cap", "output_logit_soft_cap")]
    return [Finish(scale, cap) for scale, cap in product(scales, caps)]


def _numbers(config: Any, *names: str) -> list[float]:
    return [float(number) for name in names if (number := getattr(config, name, None))]


class AnswerStates:
    """A model's final hidden states at the scored positions and its output head, kept after the model is freed.

    They give its full next-token distributions again at a fraction of the memory of a second model.
    """

    def __init__(self, model: Model, rows: Sequence[Encoded], *, copy_head: bool = False) -> None:
        """copy_head: for a model whose head, or whose embeddings that share its weights, will be trained on.

        Raises ModelError if logits are not the head's output up to soft-capping or scaling.
        """
        head = model.get_output_embeddings()
        self.rows = list(rows)
        self.head = deepcopy(head).requires_grad_(False) if copy_head else head
        self.hidden: list[Tensor] = [torch.empty(0)] * len(rows)
        scored = [row for row in self.rows if row.tokens]
        self.finish = self._finish(model, min(scored, key=lambda row: len(row.ids))) if scored else Finish(1.0, None)
        for indices in length_batches(rows, apart=short_input(model)):
            in_halves(indices, partial(self._capture, model))

    @torch.no_grad()
    def _capture(self, model: Model, indices: Sequence[int]) -> None:
        batch = pad_rows([self.rows[index] for index in indices]).to(model.device)
        with head_inputs(model) as caught:
            answer_logits(model, batch)
        hidden = at_scored(caught[0], batch)
        for position, index in enumerate(indices):
            self.hidden[index] = hidden[batch.row == position]

    @torch.no_grad()
    def _finish(self, model: Model, row: Encoded) -> Finish:
        """How the model's logits follow from its head's product, found on one row, since the logits of many would not
        fit into the memory."""
        batch = pad_rows([row]).to(model.device)
        with head_inputs(model) as caught:
            answer_logits(model, batch)
        logits, products = answer_logits(model, batch).float(), self._products(at_scored(caught[0], batch)).float()
        known = finishes(model.config.get_text_config())
        chosen = min(known, key=lambda finish: float((finish(products) - logits).abs().nan_to_num().max()))
        if not torch.allclose(chosen(products), logits, atol=1e-2, rtol=1e-3, equal_nan=True):
            raise ModelError(
                f"{type(model).__name__} transforms its logits in a way that cannot be repeated from the head"
            )
        return chosen

    def _products(self, hidden: Tensor) -> Tensor:
        # Not `self.head(hidden)`: a head shared with the model may give log-probabilities now (`fast.output_head`).
        logits: Tensor = type(self.head).forward(self.head, hidden)
        return logits

    @property
    def vocabulary(self) -> int:
        """Number of tokens that the distributions are over."""
        return int(self.head.weight.shape[0])

    def subset(self, indices: Sequence[int]) -> AnswerStates:
        """The states of some of the rows; the head is shared."""
        part = object.__new__(AnswerStates)
        part.head, part.finish = self.head, self.finish
        part.rows = [self.rows[index] for index in indices]
        part.hidden = [self.hidden[index] for index in indices]
        return part

    def log_probabilities(self, indices: Sequence[int]) -> Tensor:
        """Log-probabilities at the scored positions of these rows, (scored tokens, vocabulary)."""
        return self.distributions(self.states_of(indices))

    def states_of(self, indices: Sequence[int]) -> Tensor:
        """Hidden states at the scored positions of these rows, (scored tokens, width)."""
        return torch.cat([self.hidden[index] for index in indices])

    @torch.no_grad()
    def distributions(self, hidden: Tensor) -> Tensor:
        """Log-probabilities that belong to some of the states, (n, width): (n, vocabulary), float32."""
        return log_softmax(self.finish(self._products(hidden)).float(), dim=-1)

    def divergence_from(self, model: Model) -> float:
        """KL(model || these states): nats per answer token, over the full vocabulary, mean over all answer tokens.

        Raises ModelError if the model has a vocabulary of another size.
        """
        return self._of(model)._divergence(self)

    def divergence_to(self, model: Model) -> float:
        """KL(these states || model), as `divergence_from` but in the other direction."""
        return self._divergence(self._of(model))

    def divergence_of(self, other: AnswerStates) -> float:
        """KL(other || these states), as `divergence_from`, of states of the same rows.

        Raises ModelError if the other model has a vocabulary of another size.
        """
        if other.vocabulary != self.vocabulary:
            raise ModelError("the two models have vocabularies of different size")
        return other._divergence(self)

    def _of(self, model: Model) -> AnswerStates:
        if model.get_output_embeddings().weight.shape[0] != self.vocabulary:
            raise ModelError("the two models have vocabularies of different size")
        return AnswerStates(model, self.rows)

    @torch.no_grad()
    def _divergence(self, other: AnswerStates) -> float:
        """KL(self || other), a few positions at a time: whole distributions of all rows would not fit."""
        total = 0.0
        for own, there in zip(self._pieces(), other._pieces(), strict=True):
            total += float(
                kl_div(other.distributions(there), self.distributions(own), reduction="sum", log_target=True)
            )
        return total / sum(len(hidden) for hidden in self.hidden)

    def _pieces(self) -> Iterator[Tensor]:
        return iter(torch.split(torch.cat(self.hidden), rows_at_once(self.vocabulary, self.head.weight.device)))
