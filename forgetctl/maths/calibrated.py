"""The term that ends where a model that never saw the rows would be, instead of at minus infinity."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import huber_loss

from .batch import Rows, needed, objective


@objective(
    formula="mean (huber(logp / tokens - level) + mean over tokens of huber(logp_token - level_token))",
    source="forgetctl, maths/unseen.py",
    needs=("level",),
)
def level(rows: Rows, *, tokenwise: float = 1.0) -> Tensor:
    """Pull each row's log-probability a token to its own level, from above and from below."""
    levels = needed(rows.level, "the level of each token")
    token = huber_loss(needed(rows.token_logp, "tokens"), levels, reduction="none", delta=1.0)
    row = huber_loss(rows.logp / rows.tokens, rows.sums(levels) / rows.tokens, reduction="none")
    return rows.mean(row + tokenwise * rows.sums(token) / rows.tokens)
