"""The levels that forgetting ends at, from a model that has not forgotten yet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..model.encoding import Encoded
from ..model.metrics import per_token
from ..model.processes import Ranks
from ..model.shares import shared_scores
from .unseen import unseen_levels


def learn_levels(
    model: Any,
    unseen: Sequence[Encoded],
    forget: Sequence[Encoded],
    retain: Sequence[Encoded],
    ranks: Ranks | None = None,
) -> list[float]:
    """In nats a token, of each forget row: see `unseen_levels`. unseen: holdout rows. model: the start model."""
    logp = shared_scores(ranks or Ranks(), model, unseen)
    scores = per_token(logp, [row.tokens for row in unseen])
    levels = unseen_levels(_answers(unseen), scores, _answers(forget), _answers(retain))
    return [float(level) for level in levels]


def _answers(rows: Sequence[Encoded]) -> list[tuple[int, ...]]:
    """Their tokens after the one that stands before."""
    return [row.ids[row.start - 1 :] for row in rows]
