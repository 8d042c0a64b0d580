"""A model's next-token distributions, kept without the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import kl_div, log_softmax

from ..errors import ModelError
from .encoding import Encoded
from .scoring import MAX_ROWS, answer_logits, length_batches, pad_rows


class AnswerStates:
    """A model's final hidden states at the scored positions and its output head, kept after the model is freed.

    They give its full next-token distributions again at a fraction of the memory of a second model.
    """

    def __init__(self, model: Any, rows: Sequence[Encoded]) -> None:
        """Raises ModelError if logits are not the head's output up to soft-capping or scaling."""
        self.rows = list(rows)
        # A copy: the model's own head may be trained on, or shares its weights with embeddings that are.
        self.head = deepcopy(model.get_output_embeddings()).requires_grad_(False)
        self.config = model.config.get_text_config()
        self.hidden: list[Tensor] = [torch.empty(0)] * len(rows)
        for indices in length_batches(rows):
            self._capture(model, indices)

    @torch.no_grad()
    def _capture(self, model: Any, indices: list[int]) -> None:
        batch = pad_rows([self.rows[index] for index in indices]).to(model.device)
        caught: list[Tensor] = []
        handle = model.get_output_embeddings().register_forward_pre_hook(lambda _module, args: caught.append(args[0]))
        try:
            logits = answer_logits(model, batch)
        finally:
            handle.remove()
        if not torch.allclose(self._logits(caught[0]).float(), logits.float(), atol=1e-2, rtol=1e-3):
            raise ModelError(
                f"{type(model).__name__} transforms its logits in a way that cannot be repeated from the head"
            )
        for position, index in enumerate(indices):
            self.hidden[index] = caught[0][batch.row == position]

    def _logits(self, hidden: Tensor) -> Tensor:
        logits: Tensor = self.head(hidden)
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

    @torch.no_grad()
    def log_probabilities(self, indices: Sequence[int]) -> Tensor:
        """Log-probabilities at the scored positions of these rows, (scored tokens, vocabulary)."""
        hidden = torch.cat([self.hidden[index] for index in indices])
        return log_softmax(self._logits(hidden).float(), dim=-1)

    @torch.no_grad()
    def divergence_from(self, model: Any) -> float:
        """KL(model || these states): nats per answer token, over the full vocabulary, mean over all answer tokens.

        Raises ModelError if the model has a vocabulary of another size.
        """
        return self._mean(model, lambda own, other: kl_div(own, other, reduction="sum", log_target=True))

    @torch.no_grad()
    def divergence_to(self, model: Any) -> float:
        """KL(these states || model), as `divergence_from` but in the other direction."""
        return self._mean(model, lambda own, other: kl_div(other, own, reduction="sum", log_target=True))

    def _mean(self, model: Any, divergence: Callable[[Tensor, Tensor], Tensor]) -> float:
        if model.get_output_embeddings().weight.shape[0] != self.vocabulary:
            raise ModelError("the two models have vocabularies of different size")
        total, tokens = 0.0, 0
        for indices in length_batches(self.rows, max_rows=MAX_ROWS // 4):
            batch = pad_rows([self.rows[index] for index in indices]).to(model.device)
            other = log_softmax(answer_logits(model, batch).float(), dim=-1)
            total += float(divergence(self.log_probabilities(indices), other))
            tokens += len(batch.targets)
        return total / tokens
