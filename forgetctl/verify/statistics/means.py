"""Means of paired and unpaired scores: equivalence (TOST) and non-inferiority, robust to rows of the same subject."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy import special  # its quantiles are those of scipy.stats, which takes a second to import

from .distances import Levels
from .resampling import Floats, Units, paired_samples, single_sample
from .shapes import Lower, Nats, Noise, Relative, Shape, Upper

NINE_OF_TEN = float(special.ndtri(0.9))


class Shift(Shape):
    """A difference of two means with one-sided bounds, in the scores' own unit.

    spread: standard deviation of the second sample, the unit of `equivalence_margin`. The bounds are those of the
    difference in that unit, times it: they allow for the spread being an estimate too.
    """

    difference: Nats
    lower: Lower
    upper: Upper
    spread: Nats
    n: int


class Change(Shape):
    """A mean before and now, and the relative change now / before - 1 with one-sided bounds.

    lower: at the passing level, upper: at the failing level. noise: how far the lower bound would be from an
    unchanged mean, nine times of ten; it shrinks with the square root of n.
    """

    before: float
    now: float
    relative: Relative
    lower: Lower
    upper: Upper
    n: int
    noise: Noise

    def rows_needed(self, loss: float) -> int | None:
        """Rows with which an unchanged mean would be shown to have lost less than `loss`, nine times of ten; None
        where nothing can be said, with a single row or without any loss allowed."""
        return int(np.ceil(self.n * (self.noise / loss) ** 2)) if loss > 0 and np.isfinite(self.noise) else None


def equivalence_margin(delta: float) -> float:
    """The shift, in standard deviations, at which two normal distributions are `delta` apart in D.

    D = 2 Phi(shift / 2) - 1, so one bound on D sets the bound on the means too.
    """
    return 2 * float(special.ndtri((1 + delta) / 2))


def paired_shift(a: ArrayLike, b: ArrayLike, units: Units | None = None, levels: Levels | None = None) -> Shift:
    """Mean of a - b over the same rows, (n,) each, with t bounds at the passing level.

    Two one-sided tests (TOST, Schuirmann 1987) find the means equivalent within m if -m < lower and upper < m.
    Raises ValueError for NaN, empty samples or different lengths.
    """
    first, second, units = paired_samples(a, b, units)
    difference, spread = first - second, _spread(second)
    standard = difference.mean() / spread if spread else np.inf
    error = _error(difference / spread - standard * _spread_influence(second, spread), units) if spread else np.inf
    return _shift(float(difference.mean()), float(standard), float(error), units.count, spread, first.size, levels)


def unpaired_shift(
    a: ArrayLike,
    b: ArrayLike,
    units: Units | None = None,
    others: Units | None = None,
    levels: Levels | None = None,
) -> Shift:
    """Difference of the means of two samples of different rows, (n,) and (m,), as `paired_shift`."""
    first, units = single_sample(a, units, "first sample")
    second, others = single_sample(b, others, "second sample")
    spread, count = _spread(second), min(units.count, others.count)  # never more than Welch's degrees of freedom
    difference, n = float(first.mean() - second.mean()), min(first.size, second.size)
    if not spread:
        return _shift(difference, np.inf, np.inf, count, spread, n, levels)
    standard = difference / spread
    own = _error(second / spread + standard * _spread_influence(second, spread), others)
    error = float(np.hypot(_error(first / spread, units), own))
    return _shift(difference, standard, error, count, spread, n, levels)


def relative_change(
    now: ArrayLike, before: ArrayLike, units: Units | None = None, levels: Levels | None = None
) -> Change:
    """Change of a positive mean over the same rows, (n,) each, by the ratio estimator's linearisation.

    Raises ValueError for NaN, empty samples, different lengths, or a mean before that is not positive.
    """
    after, first, units = paired_samples(now, before, units)
    levels = levels or Levels()
    if not first.mean() > 0:
        raise ValueError("a mean that was not positive before has no relative change")
    ratio = float(after.mean() / first.mean())
    error = _error((after - ratio * first) / first.mean(), units)
    slack = {
        level: float(special.stdtrit(max(units.count - 1, 1), 1 - level)) * error for level in vars(levels).values()
    }
    return Change(
        before=float(first.mean()),
        now=float(after.mean()),
        relative=ratio - 1,
        lower=ratio - 1 - slack[levels.passing],
        upper=ratio - 1 + slack[levels.failing],
        n=first.size,
        noise=slack[levels.passing] + NINE_OF_TEN * error,
    )


def _error(values: Floats, units: Units) -> float:
    """Standard error of the mean, by units."""
    if units.count < 2:
        return float("inf")
    residuals = units.totals((values - values.mean())[:, None])[:, 0]
    return float(np.sqrt((residuals**2).sum() * units.count / (units.count - 1)) / values.size)


def _spread(values: Floats) -> float:
    return float(values.std(ddof=1)) if values.size > 1 and np.ptp(values) > 0 else 0.0


def _spread_influence(values: Floats, spread: float) -> Floats:
    """What each row adds to the estimate of the standard deviation, relative to it."""
    influence: Floats = (((values - values.mean()) / spread) ** 2 - 1) / 2
    return influence


def _shift(
    difference: float, standard: float, error: float, units: int, spread: float, n: int, levels: Levels | None
) -> Shift:
    """standard, error: the difference and its standard error in units of the spread."""
    slack = float(special.stdtrit(max(units - 1, 1), 1 - (levels or Levels()).passing)) * error
    if not np.isfinite(slack):
        return Shift(difference=difference, lower=-np.inf, upper=np.inf, spread=spread, n=n)
    lower, upper = (standard - slack) * spread, (standard + slack) * spread
    return Shift(difference=difference, lower=lower, upper=upper, spread=spread, n=n)
