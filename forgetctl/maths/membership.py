"""Membership attacks: can scores tell rows that were to be forgotten from rows that no model saw?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from .resampling import Floats, Units
from .statistics import DRAWS, Levels

ATTACKS = ("loss", "zlib", "min_k", "min_k_plus_plus")
"""loss: Yeom et al. 2018. zlib: Carlini et al. 2021. min_k: Shi et al. 2024. min_k_plus_plus: Zhang et al. 2024."""
MIN_K_SHARE = 0.4
"""Share of least likely tokens that the last two attacks average, as in MUSE (Shi et al. 2024)."""


@dataclass(frozen=True)
class Attack:
    """Area under the ROC curve, in [0, 1]: 0.5 is guessing, above it forget rows look like training data.

    difference: this model's AUC less the reference's, None without one; every bound is one-sided.
    """

    name: str
    auc: float
    lower: float
    upper: float
    reference: float | None = None
    difference: float | None = None
    difference_lower: float | None = None
    difference_upper: float | None = None


def auc_margin(delta: float) -> float:
    """Rise of the AUC above 0.5 for two equal normal distributions shifted until they are `delta` apart in D."""
    return float(stats.norm.cdf(np.sqrt(2) * stats.norm.ppf((1 + delta) / 2)) - 0.5)


def attack(
    name: str,
    members: ArrayLike,
    others: ArrayLike,
    units: Units | None = None,
    levels: Levels | None = None,
    reference: tuple[ArrayLike, ArrayLike] | None = None,
    *,
    seed: int = 0,
) -> Attack:
    """AUC of telling `members`, (n,), from `others`, (m,), by a score that is higher for members.

    reference: the reference model's scores of the same rows; the difference is then bounded too, in the same
    bootstrap samples. Both rows of a pair keep the file's order. Raises ValueError for NaN or empty samples.
    """
    levels = levels or Levels()
    wins = _wins(members, others)
    units = units or Units.of(len(wins))
    weights = units.draws(DRAWS, np.random.default_rng(seed))[:, units.index]
    holdout = Units.of(wins.shape[1])
    other_weights = holdout.draws(DRAWS, np.random.default_rng(seed + 1))
    drawn = _weighted(wins, weights, other_weights)
    auc = float(wins.mean())
    lower, upper = _bounds(auc, drawn, units.count, levels)
    if reference is None:
        return Attack(name, auc, max(lower, 0.0), min(upper, 1.0))
    theirs = _wins(*reference)
    if theirs.shape != wins.shape:
        raise ValueError(f"{wins.shape} rows of the model, but {theirs.shape} of its reference")
    difference = auc - float(theirs.mean())
    below, above = _bounds(difference, drawn - _weighted(theirs, weights, other_weights), units.count, levels)
    return Attack(name, auc, max(lower, 0.0), min(upper, 1.0), float(theirs.mean()), difference, below, above)


def priv_leak(auc: float, reference: float) -> float | None:
    """MUSE's PrivLeak (Shi et al. 2024, section 3): relative difference of the AUCs of taking rows for unseen.

    MUSE's sign: negative where the rows are still known, positive where they are over-forgotten. None where the
    reference's AUC is 1, so that there is nothing to relate to.
    """
    return None if reference >= 1 else (reference - auc) / (1 - reference)


def _wins(members: ArrayLike, others: ArrayLike) -> Floats:
    """1 where a member scores higher, 1/2 where equal, (n, m)."""
    first, second = np.asarray(members, dtype=float)[:, None], np.asarray(others, dtype=float)[None, :]
    if not first.size or not second.size or np.isnan(first).any() or np.isnan(second).any():
        raise ValueError("an attack needs scores of forget rows and of unseen rows, and none may be NaN")
    wins: Floats = (first > second) + 0.5 * (first == second)
    return wins


def _weighted(wins: Floats, weights: Floats, others: Floats) -> Floats:
    """AUC in each bootstrap sample, (draws,)."""
    total: Floats = ((weights @ wins) * others).sum(1) / (weights.sum(1) * others.sum(1))
    return total


def _bounds(estimate: float, drawn: Floats, units: int, levels: Levels) -> tuple[float, float]:
    """Lower bound at the failing level shared among the attacks, upper bound at the passing level."""
    error, degrees = float(drawn.std(ddof=1)), max(units - 1, 1)
    below = stats.t.ppf(1 - levels.failing / len(ATTACKS), degrees) * error
    above = stats.t.ppf(1 - levels.passing, degrees) * error
    return float(estimate - below), float(estimate + above)
