"""Whether a model knows rows better than rows nobody saw: the test before there is a reference."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def known(scores: Sequence[float], unseen: Sequence[float], level: float) -> NDArray[np.bool_]:
    """Which of the rows are known, by their log-probability in nats a token and that of unseen rows.

    A row is known if its rank among the unseen rows, itself counted, is within `level` of the top: the conformal
    p-value (1 + unseen rows that are no less probable) / (unseen rows + 1). So a row of the same kind that nobody saw
    passes for known with a probability of at most `level`, whatever the distribution; equals count against the row.
    Nothing is known against fewer than `fewest_unseen` rows.
    """
    ordered = np.sort(np.asarray(unseen, dtype=np.float64))
    no_less = len(ordered) - np.searchsorted(ordered, np.asarray(scores, dtype=np.float64), side="left")
    found: NDArray[np.bool_] = (1 + no_less) / (len(ordered) + 1) <= level
    return found


def fewest_unseen(level: float) -> int:
    """Unseen rows without which no row could ever be called known."""
    return math.ceil(1 / level) - 1
