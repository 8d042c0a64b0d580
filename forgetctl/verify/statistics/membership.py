"""Membership attacks: can scores tell rows that were to be forgotten from rows that no model saw?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special  # its quantiles are those of scipy.stats, which takes a second to import

from .distances import DRAWS, Levels
from .resampling import Floats, Units, sample_of
from .shapes import Lower, Shape, Share, Upper

ATTACKS = ("loss", "zlib", "min_k", "min_k_plus_plus")
"""loss: Yeom et al. 2018. zlib: Carlini et al. 2021. min_k: Shi et al. 2024. min_k_plus_plus: Zhang et al. 2024."""
MIN_K_SHARE = 0.4
"""Share of least likely tokens that the last two attacks average, as in MUSE (Shi et al. 2024)."""


class Attack(Shape):
    """Area under the ROC curve, in [0, 1]: 0.5 is guessing, above it forget rows look like training data.

    difference: this model's AUC less the reference's, None without one; every bound is one-sided.
    """

    name: str
    auc: Share
    lower: Lower
    upper: Upper
    reference: Share | None
    difference: float | None
    difference_lower: float | None
    difference_upper: float | None


def auc_margin(delta: float) -> float:
    """Rise of the AUC above 0.5 for two equal normal distributions shifted until they are `delta` apart in D."""
    return float(special.ndtr(np.sqrt(2) * special.ndtri((1 + delta) / 2)) - 0.5)


def attack(
    name: str,
    members: ArrayLike,
    others: ArrayLike,
    units: Units | None = None,
    levels: Levels | None = None,
    reference: tuple[ArrayLike, ArrayLike] | None = None,
    other_units: Units | None = None,
    *,
    seed: int = 0,
) -> Attack:
    """AUC of telling `members`, (n,), from `others`, (m,), by a score that is higher for members.

    reference: the reference model's scores of the same rows; the difference is then bounded too, in the same
    bootstrap samples. units, other_units: of the two samples. Raises ValueError for NaN or empty samples.
    """
    levels = levels or Levels()
    ranks = _Ranks.of(members, others)
    units = units or Units.of(len(ranks.below))
    other_units = other_units or Units.of(len(ranks.order))
    for labels, rows in ((units, ranks.below), (other_units, ranks.order)):
        if len(labels.index) != len(rows):
            raise ValueError(f"{len(rows)} rows, but {len(labels.index)} labels of subjects")
    weights = units.draws(DRAWS, seed)[:, units.index]
    other_weights = other_units.draws(DRAWS, seed + 1)[:, other_units.index]
    drawn, auc = ranks.aucs(weights, other_weights), ranks.auc
    fewest = min(units.count, other_units.count)
    lower, upper = _bounds(auc, drawn, fewest, levels)
    if reference is None:
        return Attack(
            name=name,
            auc=auc,
            lower=max(lower, 0.0),
            upper=min(upper, 1.0),
            reference=None,
            difference=None,
            difference_lower=None,
            difference_upper=None,
        )
    theirs = _Ranks.of(*reference)
    if (len(theirs.below), len(theirs.order)) != (len(ranks.below), len(ranks.order)):
        raise ValueError("the reference's scores are of other rows")
    difference = auc - theirs.auc
    below, above = _bounds(difference, drawn - theirs.aucs(weights, other_weights), fewest, levels)
    return Attack(
        name=name,
        auc=auc,
        lower=max(lower, 0.0),
        upper=min(upper, 1.0),
        reference=theirs.auc,
        difference=difference,
        difference_lower=below,
        difference_upper=above,
    )


def priv_leak(auc: float, reference: float) -> float | None:
    """MUSE's PrivLeak (Shi et al. 2024, section 3): relative difference of the AUCs of taking rows for unseen.

    MUSE's sign: negative where the rows are still known, positive where they are over-forgotten. None where the
    reference's AUC is 1, so that there is nothing to relate to.
    """
    return None if reference >= 1 else (reference - auc) / (1 - reference)


@dataclass(frozen=True)
class _Ranks:
    """Where n members stand among m others: how many others lie below each, and how many no higher; ties count half.

    order: the others in ascending order.
    """

    below: NDArray[np.int64]
    no_higher: NDArray[np.int64]
    order: NDArray[np.int64]

    @classmethod
    def of(cls, members: ArrayLike, others: ArrayLike) -> _Ranks:
        first, second = sample_of(members, "forget rows"), sample_of(others, "unseen rows")
        order = np.argsort(second, kind="stable")
        ascending = second[order]
        return cls(np.searchsorted(ascending, first, "left"), np.searchsorted(ascending, first, "right"), order)

    @property
    def auc(self) -> float:
        """Share of pairs in which the member scores higher."""
        return float((self.below + self.no_higher).mean() / (2 * len(self.order)))

    def aucs(self, weights: NDArray[np.float32], others: NDArray[np.float32]) -> Floats:
        """The AUC in each bootstrap sample, from how often each row occurs in it: (draws, n), (draws, m)."""
        passed = np.zeros((len(others), len(self.order) + 1))
        np.cumsum(others[:, self.order], axis=1, out=passed[:, 1:])
        wins = (weights * (passed[:, self.below] + passed[:, self.no_higher])).sum(1) / 2
        drawn: Floats = wins / (weights.sum(1) * others.sum(1))
        return drawn


def _bounds(estimate: float, drawn: Floats, units: int, levels: Levels) -> tuple[float, float]:
    """Lower bound at the failing level shared among the attacks, upper bound at the passing level."""
    # No less than one unit changing sides would do: a perfect attack on few rows has no spread of its own.
    error, degrees = max(float(drawn.std(ddof=1)), 1 / units), max(units - 1, 1)
    below = special.stdtrit(degrees, 1 - levels.failing / len(ATTACKS)) * error
    above = special.stdtrit(degrees, 1 - levels.passing) * error
    return float(estimate - below), float(estimate + above)
