"""Membership attacks: can scores tell rows that were to be forgotten from rows that no model saw?

The AUC is the mean, over the forget rows, of the share of unseen rows that score lower. The rows are fixed: they are
the request. What is random is how a model that never saw them would rank them, and unseen rows show that, each ranked
among the others: so what the ranks of the forget rows may differ by chance is what theirs do (`share_left.noise_of`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special  # its quantiles are those of scipy.stats, which takes a second to import

from .distances import Levels
from .resampling import Floats, sample_of
from .shapes import Lower, Shape, Share, Upper, finite
from .share_left import PRIOR_DEGREES, Noise, Scored, noise_of

CALIBRATED = "calibrated"
ATTACKS = ("loss", "min_k", "min_k_plus_plus", CALIBRATED)
"""loss: Yeom et al. 2018. min_k: Shi et al. 2024. min_k_plus_plus: Zhang et al. 2024.
calibrated: the loss less a shadow model's, Watson et al. 2022 (arXiv 2111.08440)."""
NINETEEN_OF_TWENTY = float(special.ndtri(0.95))
MIN_K_SHARE = 0.4
"""Share of least likely tokens that Min-K% and Min-K%++ average, as in MUSE (Shi et al. 2024)."""


class Attack(Shape):
    """Area under the ROC curve, in [0, 1]: 0.5 is guessing, above it forget rows look like training data.

    reference: what it is for a model that never saw the rows, None where nobody knows. difference: this model's AUC
    less that, without bounds where nothing shows what chance makes of it. Bounds are one-sided, at the failing level
    shared among the attacks. most: how far from the reference's, or from guessing where that is not known, the AUC may
    be at the passing level; noise: how far that would be of a model that never saw the rows, nineteen times of twenty.
    """

    name: str
    auc: Share
    lower: Lower
    upper: Upper
    reference: Share | None
    difference: float | None
    difference_lower: float | None
    difference_upper: float | None
    most: Upper
    noise: Upper


@dataclass(frozen=True, kw_only=True)
class Sides:
    """Scores of the forget rows, (n,), and of rows that no model saw, (m,), higher for what looks like training data,
    by one model."""

    members: ArrayLike
    others: ArrayLike


@dataclass(frozen=True, kw_only=True)
class Subjects:
    """Numbers of the subjects of forget rows, (n,), and of unseen rows, (m,), None where nobody says whose they are."""

    members: Sequence[int] | None = None
    others: Sequence[int] | None = None


def auc_margin(delta: float) -> float:
    """Rise of the AUC above 0.5 for two equal normal distributions shifted until they are `delta` apart in D."""
    return float(special.ndtr(np.sqrt(2) * special.ndtri((1 + delta) / 2)) - 0.5)


def attack(
    name: str,
    ours: Sides,
    reference: Sides | None = None,
    subjects: Subjects | None = None,
    levels: Levels | None = None,
) -> Attack:
    """AUC of telling forget rows from unseen ones, and how far it is from the reference model's of the same rows.

    Raises ValueError for NaN, empty samples, or a reference's scores of other rows.
    """
    levels, subjects = levels or Levels(), subjects or Subjects()
    own = _Ranks.of(ours)
    alone = _Bounds.of(own, None, subjects, levels)
    if reference is None:
        return _attack(name, own.auc, alone, None, alone)
    theirs = _Ranks.of(reference)
    if (theirs.members.shape, theirs.others.shape) != (own.members.shape, own.others.shape):
        raise ValueError("the reference's scores are of other rows")
    paired = _Bounds.of(own, theirs, subjects, levels)
    return _attack(name, own.auc, alone, theirs.auc, paired)


def calibrated(ours: Sides, shadow: Sides, subjects: Subjects | None = None, levels: Levels | None = None) -> Attack:
    """The attack of somebody who has another model that never saw the rows: by the score less that `shadow`'s.

    The reference's AUC is 0.5, what it is on average for a model that never saw the rows either: of two such models
    neither is the other's shadow, and exchanged they have 1 - AUC. A second reference's own is not taken for it, since
    one that knows the rows, or is of another kind, would excuse or accuse any model. Raises as `attack`.
    """
    found = attack(CALIBRATED, _less(ours, shadow), None, subjects, levels)
    return found.model_copy(
        update={
            "reference": 0.5,
            "difference": found.auc - 0.5,
            "difference_lower": found.lower - 0.5,
            "difference_upper": found.upper - 0.5,
        }
    )


def _less(ours: Sides, shadow: Sides) -> Sides:
    pairs = ((ours.members, shadow.members, "forget rows"), (ours.others, shadow.others, "unseen rows"))
    scores = [(sample_of(own, name), sample_of(other, name)) for own, other, name in pairs]
    if any(own.shape != other.shape for own, other in scores):
        raise ValueError("the reference's scores are of other rows")
    members, others = (own - other for own, other in scores)
    return Sides(members=members, others=others)


def _attack(name: str, auc: float, alone: _Bounds, reference: float | None, paired: _Bounds) -> Attack:
    difference = None if reference is None else auc - reference
    return Attack(
        name=name,
        auc=auc,
        lower=max(auc - alone.failing, 0.0),
        upper=min(auc + alone.failing, 1.0),
        reference=reference,
        difference=difference,
        difference_lower=None if difference is None else finite(difference - paired.failing),
        difference_upper=None if difference is None else finite(difference + paired.failing),
        most=abs(auc - 0.5 if difference is None else difference) + paired.passing,
        noise=paired.noise,
    )


def priv_leak(auc: float, reference: float) -> float | None:
    """MUSE's PrivLeak (Shi et al. 2024, section 3): relative difference of the AUCs of taking rows for unseen.

    MUSE's sign: negative where the rows are still known, positive where they are over-forgotten. None where the
    reference's AUC is 1, so that there is nothing to relate to.
    """
    return None if reference >= 1 else (reference - auc) / (1 - reference)


@dataclass(frozen=True)
class _Ranks:
    """Share of the unseen rows below each forget row, (n,), and of the other ones below each unseen row, (m,); ties
    count half. auc: share of pairs in which the forget row scores higher."""

    members: Floats
    others: Floats
    auc: float

    @classmethod
    def of(cls, sides: Sides) -> _Ranks:
        from scipy.stats import rankdata  # slow to import, and most commands do not judge

        first, second = sample_of(sides.members, "forget rows"), sample_of(sides.others, "unseen rows")
        ascending = np.sort(second)
        below = np.searchsorted(ascending, first, "left") + np.searchsorted(ascending, first, "right")
        among = (rankdata(second) - 1) / max(second.size - 1, 1)
        return cls(below / (2 * second.size), among, int(below.sum()) / (2 * first.size * second.size))


@dataclass(frozen=True)
class _Bounds:
    """What chance makes of a mean rank, or of its difference from the reference's, at either level. noise: at the
    passing one, of rows that scatter as unseen ones do, and what equal models need more nineteen times of twenty."""

    failing: float
    passing: float
    noise: float

    @classmethod
    def of(cls, ours: _Ranks, theirs: _Ranks | None, subjects: Subjects, levels: Levels) -> _Bounds:
        unseen = _scored(ours.others, theirs.others if theirs else None, subjects.others)
        request = _scored(ours.members, theirs.members if theirs else None, subjects.members)
        # A rank of one among m others moves by 1 / m at least.
        noise = noise_of(request, unseen, 1 / len(ours.others)) if len(ours.others) > 1 else None
        if noise is None:
            return cls(np.inf, np.inf, np.inf)
        # The limit lies far from what models that never saw the rows give, so rows whose subjects nobody names count as
        # independent where it must be surely passed, and as alike where it must surely not be.
        failing, passing = (_error(noise, request, alike=alike) for alike in (False, True))
        quantile, error = special.stdtrit(passing[1], 1 - levels.passing), np.sqrt(passing[0])
        return cls(
            special.stdtrit(failing[1], 1 - levels.failing / len(ATTACKS)) * np.sqrt(failing[0]),
            quantile * error * np.sqrt(_scatter(request.model - request.compared, noise)),
            (quantile + NINETEEN_OF_TWENTY) * error,
        )


def _scored(ours: Floats, theirs: Floats | None, subjects: Sequence[int] | None) -> Scored:
    return Scored(
        model=ours,
        start=np.zeros_like(ours),
        references=np.empty((0, len(ours))) if theirs is None else theirs[None],
        tokens=np.ones_like(ours),
        subjects=None if subjects is None else np.asarray(subjects),
    )


def _error(noise: Noise, request: Scored, *, alike: bool) -> tuple[float, float]:
    """Variance of the mean over the request, and its degrees of freedom, from those of each subject's mean.

    alike: whether rows of a subject count as alike where nothing shows whether they are.
    """
    subjects = request.subjects if request.subjects is not None else np.zeros(len(request.model), dtype=int)
    sizes = np.bincount(subjects)
    variance, degrees = noise.drift_variance, noise.degrees
    for size in sizes[sizes > 0]:
        if noise.components or alike:
            own, freedom = noise.of_mean(1 / size)
            own -= noise.drift_variance
        else:
            own, freedom = noise.variance / size, noise.degrees
        variance, degrees = variance + (size / sizes.sum()) ** 2 * own, min(degrees, freedom)
    return float(variance), max(degrees, 1.0)


def _scatter(moved: Floats, noise: Noise) -> float:
    """Variance of the forget rows in that of unseen ones, moderated (Smyth 2004), at least 1."""
    squares = float(((moved - moved.mean()) ** 2).sum())
    return max((PRIOR_DEGREES + squares / noise.variance) / (PRIOR_DEGREES + len(moved) - 1), 1.0)
