"""Means of paired and unpaired scores: equivalence (TOST), robust to rows of the same subject, and a bound that heeds
skewness."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy import special  # its quantiles are those of scipy.stats, which takes a second to import

from .distances import Levels
from .resampling import Floats, Units, paired_samples, sample_of, single_sample
from .shapes import Lower, Nats, Shape, Upper


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


class Rise(Shape):
    """Cross-entropy a token before and now, the logarithm of perplexity, and its rise with one-sided bounds: lower at
    the failing, upper at the passing level."""

    before: Nats
    now: Nats
    rise: Nats
    lower: Lower
    upper: Upper
    n: int


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


def mean_below(values: ArrayLike, level: float) -> float:
    """Upper bound of a mean, (n,), corrected for the skewness of the values: Hall 1992 (JRSS B 54, pages 221-228).

    Unlike Student's, it keeps its level where a few rows hold most of the sum, so long as some of them were seen.
    Raises ValueError for NaN, or fewer than two values.
    """
    sample = sample_of(values, "values")
    if sample.size < 2:
        raise ValueError("one value has no spread")
    n, spread = sample.size, float(sample.std())
    quantile = float(special.stdtrit(n - 1, level)) / np.sqrt(n)
    if not spread:
        return float(sample.mean())
    skew = float(((sample - sample.mean()) ** 3).mean()) / spread**3
    moved = quantile - skew / (6 * n)
    tilted = 3 / skew * (np.cbrt(1 + skew * moved) - 1) if abs(skew) > 1e-6 else moved
    return float(sample.mean() - tilted * sample.std(ddof=1))


def cross_entropy_rise(
    now: ArrayLike, before: ArrayLike, tokens: ArrayLike, units: Units | None = None, levels: Levels | None = None
) -> Rise:
    """Rise of - sum logp / sum tokens over the same rows, from their summed log-probabilities, (n,) nats each.

    The mean rise a token is a ratio of two sums, linearised; its bounds heed skewness (`mean_below`).
    Raises ValueError for NaN, different lengths or empty samples.
    """
    after, first = sample_of(now, "log-probabilities"), sample_of(before, "log-probabilities")
    lengths = sample_of(tokens, "tokens")
    units, levels = units or Units.of(first.size), levels or Levels()
    if not after.size == first.size == lengths.size == units.index.size:
        raise ValueError(f"paired samples differ in length: {after.size}, {first.size}, {lengths.size}")
    lost = first - after
    rise = float(lost.sum() / lengths.sum())
    influence = units.totals((lost - rise * lengths)[:, None])[:, 0] * units.count / lengths.sum()
    lower, upper = -np.inf, np.inf
    if units.count > 1:
        lower, upper = rise - mean_below(-influence, levels.failing), rise + mean_below(influence, levels.passing)
    return Rise(
        before=float(-first.sum() / lengths.sum()),
        now=float(-after.sum() / lengths.sum()),
        rise=rise,
        lower=lower,
        upper=upper,
        n=int(units.count),
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
