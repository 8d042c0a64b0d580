"""THE definition of an answer's log-probability, shared by training and verification.

logp(answer | prompt) = sum over the answer's tokens, end of turn included, of log softmax(logits)[token], in
float32. Logits are computed at answer positions only, by models that can restrict them. Rows are computed one after
another in one sequence where the model can (`fast.packing`), padded on the right to the longest where it cannot; what
pads changes no score.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ..errors import ModelError
from .encoding import Encoded
from .fast.output_head import Compared, has_plain_head, head_gives_logp
from .fast.packing import packed, packs
from .memory import in_halves
from .protocol import Model, Output

MAX_ROWS = 64
MAX_TOKENS = 8192


@dataclass(frozen=True, kw_only=True)
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

    def first(self) -> PaddedRows:
        """The first row alone."""
        scored = self.row == 0
        return PaddedRows(
            input_ids=self.input_ids[:1],
            attention_mask=self.attention_mask[:1],
            predicts=self.predicts[:1],
            targets=self.targets[scored],
            row=self.row[scored],
        )

    def to(self, device: torch.device) -> PaddedRows:
        """The same on another device."""
        return PaddedRows(**{name: value.to(device) for name, value in vars(self).items()})


def pad_rows(rows: Sequence[Encoded]) -> PaddedRows:
    """Rows without their last token, which only is a target, padded on the right to the longest."""
    length = max(len(row.ids) for row in rows) - 1
    # Any id pads: attention and `predicts` ignore those positions.
    input_ids, following, attention_mask = torch.zeros(3, len(rows), length, dtype=torch.long)
    predicts = torch.zeros(len(rows), length, dtype=torch.bool)
    for index, row in enumerate(rows):
        ids, last = torch.tensor(row.ids), len(row.ids) - 1
        input_ids[index, :last], following[index, :last] = ids[:-1], ids[1:]
        attention_mask[index, :last] = 1
        predicts[index, row.start - 1 : last] = True if row.scored is None else torch.tensor(row.scored)
    return PaddedRows(
        input_ids=input_ids,
        attention_mask=attention_mask,
        predicts=predicts,
        targets=following[predicts],
        row=predicts.nonzero()[:, 0],
    )


def answer_logits(model: Model, batch: PaddedRows) -> Tensor:
    """Logits of the scored positions, (scored tokens, vocabulary), in the model's precision."""
    return _answer_logits(model, _forward(model, batch), batch)


def answer_activations(model: Model, batch: PaddedRows, layer: int) -> tuple[Tensor, Tensor]:
    """Logits as `answer_logits`, and the output of a layer, counted from 1, there: (scored tokens, width)."""
    output = _forward(model, batch, output_hidden_states=True)
    hidden = output.hidden_states[layer]
    scored = batch.predicts[batch.attention_mask.bool()][None] if packs(model) else batch.predicts
    return _answer_logits(model, output, batch), hidden[scored]


def _forward(model: Model, batch: PaddedRows, **options: object) -> Output:
    if packs(model):
        there = batch.attention_mask.bool()
        ids, scored = batch.input_ids[there][None], batch.predicts[there][None]
        options |= packed(batch.attention_mask.sum(1).tolist(), ids.device)
    else:
        # Without a mask: rows are padded on the right, and what comes later is out of sight of causal attention
        # anyway. With one, attention would be computed over the padding too, and without the kernels for the causal
        # case.
        ids, scored = batch.input_ids, batch.predicts
    return model(input_ids=ids, logits_to_keep=scored, use_cache=False, **options)


def _answer_logits(model: Model, output: Output, batch: PaddedRows) -> Tensor:
    logits = at_scored(output.logits, batch)
    if logits.shape[0] != len(batch.targets) or logits.ndim != 2:
        raise ModelError(f"{type(model).__name__} gives logits of other positions than its input has")
    return logits


def at_scored(values: Tensor, batch: PaddedRows) -> Tensor:
    """Values of the scored positions, (scored tokens, width), from those, or from what a model that does not heed
    `logits_to_keep` gives of all positions: (rows, length, width)."""
    return values[batch.predicts] if values.shape[:2] == batch.predicts.shape else values


def answer_logp(model: Model, batch: PaddedRows) -> Tensor:
    """Summed log-probability of each row's answer, (rows,) float32, with gradient."""
    if not _plain_head(model, batch):
        return logp_of(answer_logits(model, batch), batch)
    with head_gives_logp(model, batch.targets):
        return sum_rows(_forward(model, batch).logits, batch)


def answer_logp_and_kl(model: Model, batch: PaddedRows, compared: Compared) -> tuple[Tensor, Tensor] | None:
    """Summed log-probability of each row's answer, and KL(start || model) summed over the positions of it that are
    compared: (rows,) float32 each, with gradient. None for a model whose logits are not its head's product."""
    if not _plain_head(model, batch):
        return None
    with head_gives_logp(model, batch.targets, compared):
        logp, divergence = _forward(model, batch).logits.unbind(1)
    return sum_rows(logp, batch), sum_rows(divergence, batch)


def _plain_head(model: Model, batch: PaddedRows) -> bool:
    """`has_plain_head`, and the head is given the scored positions alone."""
    first = batch.first()
    return has_plain_head(model, lambda: SimpleNamespace(logits=_answer_logits(model, _forward(model, first), first)))


def logp_of(logits: Tensor, batch: PaddedRows) -> Tensor:
    """Summed log-probability of each row's answer, (rows,) float32, from its logits, (scored tokens, vocabulary)."""
    return sum_rows(-cross_entropy(logits.float(), batch.targets, reduction="none"), batch)


def sum_rows(per_token: Tensor, batch: PaddedRows) -> Tensor:
    """Values of scored tokens, (scored tokens,), summed by row, (rows,)."""
    return per_token.new_zeros(len(batch.input_ids)).index_add(0, batch.row, per_token)


@contextmanager
def evaluating(model: Model) -> Iterator[None]:
    """A model in training set to evaluation: dropout would blur its scores, and use up random numbers that training
    would have drawn."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


def short_input(model: Model) -> int | None:
    """The longest input in tokens that LongRoPE (Ding et al. 2024) rotates by its short factors, None for a model
    without it.

    A longer row makes whatever is computed with it be rotated by the long ones, so the two are computed apart.
    """
    rope = getattr(model.config.get_text_config(), "rope_parameters", None) or {}
    kinds = [rope, *(part for part in rope.values() if isinstance(part, dict))]  # of kinds of layers, where they differ
    bounds = [int(kind["original_max_position_embeddings"]) for kind in kinds if kind.get("rope_type") == "longrope"]
    return min(bounds, default=None)


def length_batches(
    rows: Sequence[Encoded], max_rows: int = MAX_ROWS, max_tokens: int = MAX_TOKENS, apart: int | None = None
) -> Iterator[list[int]]:
    """Indices of rows grouped by length, longest first, so that padding is nearly nil.

    apart: `short_input` of the model.
    """
    batch: list[int] = []
    for index in sorted(range(len(rows)), key=lambda i: -len(rows[i].ids)):
        length = len(rows[index].ids)
        longest = len(rows[batch[0]].ids) if batch else length
        differs = apart is not None and length - 1 <= apart < longest - 1  # the last token is no input
        if batch and (len(batch) == max_rows or longest * (len(batch) + 1) > max_tokens or differs):
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


@torch.no_grad()
def score(model: Model, rows: Sequence[Encoded], advance: Callable[[int], None] = lambda _: None) -> list[float]:
    """Summed answer log-probability of every row, in the order given.

    advance: called with the number of rows just done. Raises ModelError if a score is not finite, MemoryExceeded if
    even a row alone does not fit into the memory.
    """
    scores = [0.0] * len(rows)

    def compute(indices: Sequence[int]) -> None:
        batch = pad_rows([rows[index] for index in indices]).to(model.device)
        values = answer_logp(model, batch)
        if not torch.isfinite(values).all():
            raise ModelError("the model gives a log-probability that is not finite")
        for index, value in zip(indices, values.tolist(), strict=True):
            scores[index] = value
        advance(len(indices))

    for indices in length_batches(rows, apart=short_input(model)):
        in_halves(indices, compute)
    return scores
