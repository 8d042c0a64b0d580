"""A model's next-token distributions, kept without the model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import deepcopy
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import kl_div, log_softmax

from ..errors import ModelError
from .encoding import Encoded
from .head import head_inputs, rows_at_once
from .memory import in_halves
from .scoring import answer_logits, length_batches, pad_rows, short_input


class AnswerStates:
    """A model's final hidden states at the scored positions and its output head, kept after the model is freed.

    They give its full next-token distributions again at a fraction of the memory of a second model.
    """

    def __init__(self, model: Any, rows: Sequence[Encoded], *, copy_head: bool = False) -> None:
        """copy_head: for a model whose head, or whose embeddings that share its weights, will be trained on.

        Raises ModelError if logits are not the head's output up to soft-capping or scaling.
        """
        head = model.get_output_embeddings()
        self.rows = list(rows)
        self.head = deepcopy(head).requires_grad_(False) if copy_head else head
        self.config = model.config.get_text_config()
        self.hidden: list[Tensor] = [torch.empty(0)] * len(rows)
        for number, indices in enumerate(length_batches(rows, apart=short_input(model))):
            if number == 0:
                self._check(model, pad_rows([self.rows[indices[-1]]]).to(model.device))
            in_halves(indices, partial(self._capture, model))

    @torch.no_grad()
    def _capture(self, model: Any, indices: Sequence[int]) -> None:
        batch = pad_rows([self.rows[index] for index in indices]).to(model.device)
        with head_inputs(model) as caught:
            answer_logits(model, batch)
        for position, index in enumerate(indices):
            self.hidden[index] = caught[0][batch.row == position]

    @torch.no_grad()
    def _check(self, model: Any, batch: Any) -> None:
        """On one row, since the logits of many would not fit into the memory."""
        with head_inputs(model) as caught:
            answer_logits(model, batch)
        logits = answer_logits(model, batch)
        if not torch.allclose(self._logits(caught[0]).float(), logits.float(), atol=1e-2, rtol=1e-3, equal_nan=True):
            raise ModelError(
                f"{type(model).__name__} transforms its logits in a way that cannot be repeated from the head"
            )

    def _logits(self, hidden: Tensor) -> Tensor:
        # Not `self.head(hidden)`: one that is shared with the model may give log-probabilities for now (`engine.head`).
        logits: Tensor = type(self.head).forward(self.head, hidden)
        if scale := getattr(self.config, "logits_scaling", None):
            logits = logits / scale
        if scale := getattr(self.config, "logit_scale", None):
            logits = logits * scale
        if cap := getattr(self.config, "final_logit_softcapping", None):
            logits = torch.tanh(logits / cap) * cap
        return logits

    @property
    def vocabulary(self) -> int:
        """Number of tokens that the distributions are over."""
        return int(self.head.weight.shape[0])

    def subset(self, indices: Sequence[int]) -> AnswerStates:
        """The states of some of the rows; the head is shared."""
        part = object.__new__(AnswerStates)
        part.head, part.config = self.head, self.config
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
        return log_softmax(self._logits(hidden).float(), dim=-1)

    def divergence_from(self, model: Any) -> float:
        """KL(model || these states): nats per answer token, over the full vocabulary, mean over all answer tokens.

        Raises ModelError if the model has a vocabulary of another size.
        """
        return self._of(model)._divergence(self)

    def divergence_to(self, model: Any) -> float:
        """KL(these states || model), as `divergence_from` but in the other direction."""
        return self._divergence(self._of(model))

    def divergence_of(self, other: AnswerStates) -> float:
        """KL(other || these states), as `divergence_from`, of states of the same rows.

        Raises ModelError if the other model has a vocabulary of another size.
        """
        if other.vocabulary != self.vocabulary:
            raise ModelError("the two models have vocabularies of different size")
        return other._divergence(self)

    def _of(self, model: Any) -> AnswerStates:
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
