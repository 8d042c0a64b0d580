"""Distances between two models' per-row scores, with the uncertainty that the number of rows leaves.

Both models answer the same prompts, so their scores come in pairs. TOFU's p-value (two-sample KS) ignores that
and only tests for a difference; `distance_interval` asks the question a verdict needs: is the distance surely small?
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special  # its quantiles are those of scipy.stats, which takes a second to import

from .resampling import Floats, UnitKind, Units, paired_samples, ranks_before, sample_of, single_sample
from .shapes import Distance, Lower, Noise, Shape, Upper

DRAWS = 1000
GRID = 400


@dataclass(frozen=True)
class KS:
    """Kolmogorov-Smirnov distance D in [0, 1], the asymptotic or exact two-sided p, and the smaller sample's size."""

    D: float
    p: float
    n: int


@dataclass(frozen=True)
class Levels:
    """Error rates: of a claim that a distance is small (passing) or large (failing), each one-sided."""

    passing: float = 0.01
    failing: float = 0.05


class Interval(Shape):
    """An estimate of D with its lower and upper confidence bounds, all in [0, 1].

    n: the smaller sample's rows. unit: what was resampled. noise: how large the upper bound would be, nine times of
    ten, were the two distributions equal; it shrinks with the square root of n.
    """

    D: Distance
    lower: Lower
    upper: Upper
    n: int
    unit: UnitKind
    noise: Noise

    def rows_needed(self, delta: float) -> int:
        """Rows like these with which equal distributions would have an upper bound below `delta`, nine times of ten."""
        return int(np.ceil(self.n * (self.noise / delta) ** 2))


def ks(a: ArrayLike, b: ArrayLike) -> KS:
    """TOFU's forget quality: two-sided two-sample KS test, as `scipy.stats.ks_2samp`.

    Raises ValueError for an empty sample or NaN.
    """
    from scipy.stats import ks_2samp  # slow to import, and most commands do not judge

    first, second = sample_of(a, "first sample"), sample_of(b, "second sample")
    with warnings.catch_warnings():
        # The exact p of nearly equal samples may round to above 1; scipy then takes the asymptotic one, also near 1.
        warnings.simplefilter("ignore", RuntimeWarning)
        result = ks_2samp(first, second)
    return KS(float(result.statistic), float(result.pvalue), min(first.size, second.size))


def paired_distance(
    a: ArrayLike, b: ArrayLike, units: Units | None = None, levels: Levels | None = None, *, seed: int = 0
) -> Interval:
    """Bounds on D = sup_x |F(x) - G(x)| from the scores that two models give the same rows, (n,) each.

    Upper: at each x, F - G is the difference of two paired proportions, bounded by inverting Tango's score test
    (1998); rows of one subject count by their effective number (Korn & Graubard 1998), with Student's t for few
    subjects. D < delta holds only if |F - G| < delta at every x, so by intersection-union (Berger 1982) the largest
    of these pointwise bounds needs no correction for the number of x.
    Lower: D less the quantile of sup |F* - F - G* + G| over bootstrap samples of the subjects, a simultaneous bound,
    but no more than the score test's bound where the two differ most: few rows that all differ vary too little.

    Raises ValueError for empty samples, NaN, or different lengths.
    """
    first, second, units = paired_samples(a, b, units)
    levels = levels or Levels()
    grid = _grid(first, second)
    steps = (first[:, None] <= grid).astype(float) - (second[:, None] <= grid)
    n, gap = first.size, steps.mean(0)
    residuals = units.totals(steps) - units.sizes()[:, None] * gap
    effective = _effective(n, (steps**2).sum(0) - n * gap**2, residuals, units)
    more, fewer = (steps > 0).mean(0) * effective, (steps < 0).mean(0) * effective
    quantile = _t(levels.passing, units.count)
    upper = max(
        _score_bound(more, fewer, effective, quantile).max(), _score_bound(fewer, more, effective, quantile).max()
    )
    noise = _noise(units, residuals, seed)
    error = np.sqrt((steps**2).mean(0) / effective).max()
    widest = np.abs(gap).argmax()
    few, many = sorted((float(more[widest]), float(fewer[widest])))
    rows = effective[[widest]]
    least = -_score_bound(np.array([few]), np.array([many]), rows, _t(levels.failing, units.count))[0]
    bounds = (float(least), float(upper))
    return _interval(float(np.abs(gap).max()), bounds, np.abs(noise).max(1), float(quantile * error), n, units, levels)


def unpaired_distance(
    a: ArrayLike,
    b: ArrayLike,
    units: Units | None = None,
    others: Units | None = None,
    levels: Levels | None = None,
    *,
    seed: int = 0,
) -> Interval:
    """As `paired_distance`, for scores of different rows, (n,) and (m,).

    The pointwise upper bounds are Agresti & Caffo's (2000) for independent proportions.
    """
    first, units = single_sample(a, units, "first sample")
    second, others = single_sample(b, others, "second sample")
    levels = levels or Levels()
    if ranks_before(second, first):  # the draws of a sample must not depend on which side it stands on
        first, second, units, others = second, first, others, units
    grid = _grid(first, second)
    observed, adjusted, residuals, variances = [], [], [], []
    for sample, own in ((first, units), (second, others)):
        below = (sample[:, None] <= grid).astype(float)
        share = below.mean(0)
        residual = own.totals(below) - own.sizes()[:, None] * share
        effective = _effective(sample.size, sample.size * share * (1 - share), residual, own)
        nearer = (share * effective + 1) / (effective + 2)
        variances.append(nearer * (1 - nearer) / (effective + 2))
        observed.append(share)
        adjusted.append(nearer)
        residuals.append(residual)
    quantile = _t(levels.passing, min(units.count, others.count))
    error = np.sqrt(variances[0] + variances[1])
    upper = np.max(np.abs(adjusted[0] - adjusted[1]) + quantile * error)
    drawn = _noise(units, residuals[0], seed) - _noise(others, residuals[1], seed + 1)
    gap, smaller = np.abs(observed[0] - observed[1]), units if units.count <= others.count else others
    widest = gap.argmax()
    least = np.abs(adjusted[0] - adjusted[1])[widest] - _t(levels.failing, smaller.count) * error[widest]
    n, bounds = min(first.size, second.size), (float(least), float(upper))
    return _interval(float(gap.max()), bounds, np.abs(drawn).max(1), float(quantile * error.max()), n, smaller, levels)


def swap_p(a: ArrayLike, b: ArrayLike, units: Units | None = None, *, seed: int = 0) -> float:
    """p-value of D under swapping the two models' scores within a pair, all rows of a subject together.

    Exact up to the number of draws for any dependence between the two scores of a row, where the KS test's own p
    assumes that there is none and hardly ever rejects. Raises ValueError as `paired_distance` does.
    """
    first, second, units = paired_samples(a, b, units)
    grid = _points(np.unique(np.concatenate([first, second])))
    totals = units.totals((first[:, None] <= grid).astype(float) - (second[:, None] <= grid))
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=(2 * DRAWS - 1, units.count))
    observed = np.abs(totals.sum(0)).max()
    drawn = np.abs(signs @ totals).max(1)
    return float((1 + (drawn >= observed - 1e-9).sum()) / (len(drawn) + 1))


def _grid(first: Floats, second: Floats) -> Floats:
    """Where the distribution functions are compared: at every value, or at quantiles and where they differ most."""
    values = np.unique(np.concatenate([first, second]))
    gap = np.searchsorted(np.sort(first), values, "right") / first.size
    gap -= np.searchsorted(np.sort(second), values, "right") / second.size
    return np.union1d(_points(values), values[[np.abs(gap).argmax()]])


def _points(values: Floats) -> Floats:
    """Ascending values, or of very many some evenly spread ones."""
    if values.size <= GRID:
        return values
    points: Floats = values[np.linspace(0, values.size - 1, GRID).astype(int)]
    return points


def _effective(n: int, squares: Floats, residuals: Floats, units: Units) -> Floats:
    """Rows at each x that would, were they independent, give the variance that the units give; at most n.

    Where no row differs there is no variance to tell: copies then count once, and rows of a subject as they do where
    they are most alike.
    """
    plain = squares / (n - 1) if n > 1 else squares
    clustered = (residuals**2).sum(0) / n * units.count / max(units.count - 1, 1)
    design = np.divide(clustered, plain, out=np.zeros_like(plain), where=plain > 1e-9)
    design[plain <= 1e-9] = n / units.count if units.kind == "rows" else design.max()
    effective: Floats = n / np.maximum(design, 1.0)
    return effective


def _score_bound(more: Floats, fewer: Floats, n: Floats, quantile: float) -> Floats:
    """Upper bound of a difference of paired proportions, from `more` and `fewer` discordant rows (Tango 1998)."""
    low, high = (more - fewer) / n, np.ones_like(n)
    for _ in range(30):
        delta = (low + high) / 2
        linear = (2 * n - more + fewer) * delta - more - fewer
        share = (np.sqrt(np.maximum(linear**2 + 8 * n * fewer * delta * (1 - delta), 0)) - linear) / (4 * n)
        variance = n * (2 * share + delta * (1 - delta))
        inside = more - fewer - n * delta >= -quantile * np.sqrt(np.maximum(variance, 0))
        low, high = np.where(inside, delta, low), np.where(inside, high, delta)
    return high


def _noise(units: Units, residuals: Floats, seed: int) -> NDArray[np.float32]:
    """Bootstrap samples of an estimated curve less the estimate: (draws, x)."""
    drawn = units.draws(DRAWS, seed)
    noise: NDArray[np.float32] = drawn @ residuals.astype(np.float32)
    noise /= (drawn @ units.sizes().astype(np.float32))[:, None]
    return noise


def _t(level: float, units: int) -> float:
    """Student's quantile for that many units."""
    return float(special.stdtrit(max(units - 1, 1), 1 - level))


def _interval(
    gap: float,
    pointwise: tuple[float, float],
    largest: NDArray[np.float32],
    error: float,
    n: int,
    units: Units,
    levels: Levels,
) -> Interval:
    """pointwise: lower and upper. largest: sup of the bootstrap noise, by draw; error: the upper bound's slack."""
    # The bootstrap is too narrow for few units; Student's quantile over the normal one widens it.
    slack = float(np.quantile(largest, 1 - levels.failing)) * _t(levels.failing, units.count)
    slack /= float(special.ndtri(1 - levels.failing))
    lower, upper = min(gap - slack, pointwise[0]), min(max(pointwise[1], gap), 1.0)
    unseen = _t(levels.passing, units.count) ** 2  # the score bound of a difference of which no unit shows anything
    noise = max(float(np.quantile(largest, 0.9)) + error, unseen / (units.count + unseen))
    return Interval(D=gap, lower=max(lower, 0.0), upper=upper, n=n, unit=units.kind, noise=noise)
