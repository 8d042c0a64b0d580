"""THE definition of an answer's log-probability, shared by training and verification.

logp(answer | prompt) = sum over the answer's tokens, end of turn included, of log softmax(logits)[token], in
float32. Logits are computed at answer positions only. Batches are padded on the right to their longest row, and
masks are built from lengths, so neither padding nor what is used as padding can change a score.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, kl_div, log_softmax

from ..errors import ModelError
from .encoding import Encoded

MAX_ROWS = 64
MAX_TOKENS = 8192


@dataclass(frozen=True)
class PaddedRows:
    """Rows as the model takes them.

    input_ids, attention_mask, predicts: (rows, length); `predicts` marks positions whose next token is scored.
    targets: (scored tokens,) that next token; row: (scored tokens,) the row it belongs to.
    """

    input_ids: Tensor
    attention_mask: Tensor
    predicts: Tensor
    targets: Tensor
    row: Tensor

    def to(self, device: torch.device) -> PaddedRows:
        """The same on another device."""
        return PaddedRows(**{name: value.to(device) for name, value in vars(self).items()})


def pad_rows(rows: Sequence[Encoded]) -> PaddedRows:
    """Pad on the right to the longest row."""
    length = max(len(row.ids) for row in rows)
    # Any id pads: attention and `predicts` ignore those positions.
    input_ids = torch.zeros(len(rows), length, dtype=torch.long)
    attention_mask = torch.zeros(len(rows), length, dtype=torch.long)
    predicts = torch.zeros(len(rows), length, dtype=torch.bool)
    for index, row in enumerate(rows):
        input_ids[index, : len(row.ids)] = torch.tensor(row.ids)
        attention_mask[index, : len(row.ids)] = 1
        predicts[index, row.start - 1 : len(row.ids) - 1] = True
    targets = input_ids.roll(-1, dims=1)[predicts]
    return PaddedRows(input_ids, attention_mask, predicts, targets, predicts.nonzero()[:, 0])


def answer_logits(model: Any, batch: PaddedRows) -> Tensor:
    """Logits of the scored positions, (scored tokens, vocabulary), in the model's precision."""
    output = model(
        input_ids=batch.input_ids,
        attention_mask=batch.attention_mask,
        logits_to_keep=batch.predicts,
        use_cache=False,
    )
    logits: Tensor = output.logits
    if logits.shape[0] != len(batch.targets) or logits.ndim != 2:
        raise ModelError(f"{type(model).__name__} cannot restrict its logits to the answers; its forward is too old")
    return logits


def answer_logp(model: Any, batch: PaddedRows) -> Tensor:
    """Summed log-probability of each row's answer, (rows,) float32, with gradient."""
    token_logp = -cross_entropy(answer_logits(model, batch).float(), batch.targets, reduction="none")
    return token_logp.new_zeros(len(batch.input_ids)).index_add(0, batch.row, token_logp)


def length_batches(
    rows: Sequence[Encoded], max_rows: int = MAX_ROWS, max_tokens: int = MAX_TOKENS
) -> Iterator[list[int]]:
    """Indices of rows grouped by length, longest first, so that padding is nearly nil."""
    batch: list[int] = []
    for index in sorted(range(len(rows)), key=lambda i: -len(rows[i].ids)):
        longest = len(rows[batch[0]].ids) if batch else len(rows[index].ids)
        if batch and (len(batch) == max_rows or longest * (len(batch) + 1) > max_tokens):
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


@torch.no_grad()
def score(model: Any, rows: Sequence[Encoded], advance: Callable[[int], None] = lambda _: None) -> list[float]:
    """Summed answer log-probability of every row, in the order given.

    advance: called with the number of rows just done. Raises ModelError if a score is not finite.
    """
    scores = [0.0] * len(rows)
    for indices in length_batches(rows):
        batch = pad_rows([rows[index] for index in indices]).to(model.device)
        values = answer_logp(model, batch)
        if not torch.isfinite(values).all():
            raise ModelError("the model gives a log-probability that is not finite")
        for index, value in zip(indices, values.tolist(), strict=True):
            scores[index] = value
        advance(len(indices))
    return scores


class AnswerStates:
    """A model's final hidden states at the scored positions and its output head, kept after the model is freed.

    They give its full next-token distributions again at a fraction of the memory of a second model.
    """

    def __init__(self, model: Any, rows: Sequence[Encoded]) -> None:
        """Raises ModelError if logits are not the head's output up to soft-capping or scaling."""
        self.rows = list(rows)
        self.head = model.get_output_embeddings()
        self.config = model.config.get_text_config()
        self.hidden: list[Tensor] = [torch.empty(0)] * len(rows)
        for indices in length_batches(rows):
            self._capture(model, indices)

    @torch.no_grad()
    def _capture(self, model: Any, indices: list[int]) -> None:
        batch = pad_rows([self.rows[index] for index in indices]).to(model.device)
        caught: list[Tensor] = []
        handle = self.head.register_forward_pre_hook(lambda _module, args: caught.append(args[0]))
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

    @property
    def vocabulary(self) -> int:
        """Number of tokens that the distributions are over."""
        return int(self.head.weight.shape[0])

    def _logits(self, hidden: Tensor) -> Tensor:
        logits: Tensor = self.head(hidden)
        if scale := getattr(self.config, "logits_scaling", None):
            logits = logits / scale
        if scale := getattr(self.config, "logit_scale", None):
            logits = logits * scale
        if cap := getattr(self.config, "final_logit_softcapping", None):
            logits = torch.tanh(logits / cap) * cap
        return logits

    @torch.no_grad()
    def divergence_from(self, model: Any) -> float:
        """KL(model || these states): nats per answer token, over the full vocabulary, mean over all answer tokens.

        Raises ModelError if the model has a vocabulary of another size.
        """
        if model.get_output_embeddings().weight.shape[0] != self.vocabulary:
            raise ModelError("the two models have vocabularies of different size")
        total, tokens = 0.0, 0
        for indices in length_batches(self.rows, max_rows=MAX_ROWS // 4):
            batch = pad_rows([self.rows[index] for index in indices]).to(model.device)
            other = log_softmax(answer_logits(model, batch).float(), dim=-1)
            hidden = torch.cat([self.hidden[index] for index in indices])
            own = log_softmax(self._logits(hidden).float(), dim=-1)
            total += float(kl_div(own, other, reduction="sum", log_target=True))
            tokens += len(batch.targets)
        return total / tokens
