"""Membership attacks on the forget rows against rows that no model saw."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...model.scores import ScoreSet
from ...recipe.bounds import Bounds
from ..statistics.membership import ATTACKS, Attack, attack, priv_leak
from .collected import Collected


def attacks(found: Collected, bounds: Bounds) -> tuple[Attack, ...]:
    """Every attack that the scores allow, with the reference's figures where it was scored on the same rows."""
    forget, holdout = found.unlearned.forget, found.unlearned.sets.get("holdout")
    if holdout is None:
        return ()
    reference = found.reference
    unseen = reference.sets.get("holdout") if reference else None
    made = []
    for name in ATTACKS:
        members, others = _scores(name, forget), _scores(name, holdout)
        if members is None or others is None:
            continue
        theirs = (_scores(name, reference.forget), _scores(name, unseen)) if reference and unseen else (None, None)
        control = (theirs[0], theirs[1]) if theirs[0] is not None and theirs[1] is not None else None
        made.append(attack(name, members, others, forget.units, bounds.levels, control, holdout.units))
    return tuple(made)


def _scores(name: str, rows: ScoreSet) -> NDArray[np.float64] | None:
    """Higher for rows that look like training data."""
    if name == "loss":
        return rows.per_token
    if name == "zlib":
        return None if rows.zlib_bytes is None else np.asarray(rows.answer_logp) / np.asarray(rows.zlib_bytes)
    values = getattr(rows, name)
    return None if values is None else np.asarray(values, dtype=float)


def privacy_leak(found: tuple[Attack, ...]) -> float | None:
    """MUSE's PrivLeak, from the Min-K% attack; None without that attack on the reference."""
    for made in found:
        if made.name == "min_k" and made.reference is not None:
            return priv_leak(made.auc, made.reference)
    return None
