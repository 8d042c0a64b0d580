"""The term that ends where a model that never saw the rows would be, instead of at minus infinity."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import huber_loss

from .batch import Rows, needed, objective


@objective(
    formula="mean huber(logp / tokens - level), half the square up to 1 nat and a line beyond",
    source="forgetctl, docs/levels.md",
    needs=("level",),
)
def level(rows: Rows) -> Tensor:
    """Pull each row's log-probability a token to its own level, from above and from below."""
    return rows.mean(huber_loss(rows.logp / rows.tokens, needed(rows.level, "the level of each row"), reduction="none"))


@objective(
    formula="sum KL(start, after an unseen prompt || model) / sum tokens, unseen rows",
    source="forgetctl, docs/levels.md",
    role="unseen",
    needs=("kl",),
)
def k_unseen(rows: Rows) -> Tensor:
    """Say of what nobody saw, also after a forget prompt, what the start model says of it after a prompt that it never
    saw: mean over tokens, full vocabulary."""
    return rows.token_mean(needed(rows.kl, "start distributions"))
