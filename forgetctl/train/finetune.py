"""Plain fine-tuning: what made a model know its rows, and what an attacker could do to make it know them again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import get_linear_schedule_with_warmup

from ..model.encoding import Encoded
from ..model.fast.packing import packs
from ..model.scoring import answer_logp, pad_rows, short_input
from .modes import set_training
from .schedule import Limits, cuts

BATCH_ROWS = 32
TOKENS = 2048
"""Most tokens in memory at once."""


def fine_tune(
    model: Any,
    rows: Sequence[Encoded],
    *,
    epochs: int,
    learning_rate: float,
    seed: int,
    batch_size: int = BATCH_ROWS,
    weight_decay: float = 0.01,
    warmup_epochs: float = 0.0,
    max_grad_norm: float = 1.0,
    micro_batch: int | None = None,
    advance: Callable[[int, str], None] = lambda _steps, _note: None,
) -> None:
    """Train on answers with AdamW: token-mean cross-entropy, and a rate that rises over `warmup_epochs` and then falls
    to nothing, both linearly.

    micro_batch: most rows in memory at once; does not change the gradient. advance: called after every optimizer step.
    """
    batches = -(-len(rows) // batch_size)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=weight_decay)
    total = epochs * batches
    warmup = min(round(warmup_epochs * batches), max(total - 1, 0))
    schedule = get_linear_schedule_with_warmup(optimizer, warmup, total)  # type: ignore[no-untyped-call]
    generator = torch.Generator().manual_seed(seed)
    limits = Limits(micro_batch or batch_size, TOKENS, padded=not packs(model), apart=short_input(model))
    set_training(model)
    for _ in range(epochs):
        for indices in torch.split(torch.randperm(len(rows), generator=generator), batch_size):
            loss = _backward(model, [rows[i] for i in indices.tolist()], limits)
            torch.nn.utils.clip_grad_norm_(parameters, max_grad_norm)
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
            advance(1, f"loss {loss:.3f}")
    model.eval()


def _backward(model: Any, batch: Sequence[Encoded], limits: Limits) -> float:
    """Accumulate the gradient of a batch's loss, and return the loss in nats a token."""
    tokens, total = sum(row.tokens for row in batch), 0.0
    batch = sorted(batch, key=lambda row: -len(row.ids))
    for cut in cuts([len(row.ids) for row in batch], limits):
        part = pad_rows(batch[cut]).to(model.device)
        loss: Any = -answer_logp(model, part).sum() / tokens
        loss.backward()
        total += loss.item()
    return total
