"""Distances between two models' per-row scores, with the uncertainty that the number of rows leaves.

Both models answer the same prompts, so their scores come in pairs. TOFU's p-value (two-sample KS) ignores that
and only tests for a difference; `distance_interval` asks the question a verdict needs: is the distance surely small?
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class KS:
    """Kolmogorov-Smirnov distance D in [0, 1], the asymptotic or exact two-sided p, and the smaller sample's size."""

    D: float
    p: float
    n: int


@dataclass(frozen=True)
class Interval:
    """An estimate of D with its lower and upper confidence bounds, all in [0, 1]."""

    D: float
    lower: float
    upper: float
    n: int


def _sample(values: ArrayLike, name: str) -> Floats:
    sample = np.asarray(values, dtype=float)
    if sample.ndim != 1 or sample.size == 0:
        raise ValueError(f"{name}: expected a non-empty list of numbers, got shape {sample.shape}")
    if np.isnan(sample).any():
        raise ValueError(f"{name}: holds NaN")
    return sample


def ks(a: ArrayLike, b: ArrayLike) -> KS:
    """TOFU's forget quality: two-sided two-sample KS test, as `scipy.stats.ks_2samp`.

    Raises ValueError for an empty sample or NaN.
    """
    first, second = _sample(a, "first sample"), _sample(b, "second sample")
    with warnings.catch_warnings():
        # The exact p of nearly equal samples may round to above 1; scipy then takes the asymptotic one, also near 1.
        warnings.simplefilter("ignore", RuntimeWarning)
        result = stats.ks_2samp(first, second)
    return KS(float(result.statistic), float(result.pvalue), min(first.size, second.size))


def distance_interval(a: ArrayLike, b: ArrayLike, *, paired: bool, alpha: float = 0.05) -> Interval:
    """Bounds on the distance D between two distributions of scores, from samples of shape (n,) and (m,).

    D = sup_x |F(x) - G(x)|. At each x the difference is a mean (paired) or a difference of means (unpaired) of
    indicators, with a known standard error. The upper bound is the largest pointwise one-sided bound: D < delta
    holds only if |F - G| < delta at every x, so by intersection-union (Berger 1982) rejecting "D >= delta" when
    upper < delta errs at most alpha of the time without correction. The lower bound is a union over x, for which
    pointwise errors are not valid; it is distribution-free and wide for few rows, so that a FAIL is rare by chance.
    A pointwise standard error of zero is floored at that of a single discordant row.

    Raises ValueError for empty samples, NaN, or paired samples of different length.
    """
    first, second = _sample(a, "first sample"), _sample(b, "second sample")
    if paired and first.size != second.size:
        raise ValueError(f"paired samples differ in length: {first.size} and {second.size}")
    grid = np.unique(np.concatenate([first, second]))
    below_first = first[:, None] <= grid
    below_second = second[:, None] <= grid
    gap = below_first.mean(0) - below_second.mean(0)
    n = min(first.size, second.size)
    if paired:
        difference = below_first.astype(float) - below_second
        variance = np.maximum(difference.var(0), 1 / n) / n
    else:
        variance = below_first.var(0) / first.size + below_second.var(0) / second.size
        variance = np.maximum(variance, 1 / n**2)
    error = np.sqrt(variance)
    upper = np.max(np.abs(gap) + stats.norm.ppf(1 - alpha) * error)
    # Dvoretzky-Kiefer-Wolfowitz (Massart 1990) for both samples: valid for any n, paired or not.
    slack = np.sqrt(-np.log(alpha / 2) / 2 * (1 / first.size + 1 / second.size))
    lower = np.abs(gap).max() - slack
    return Interval(float(np.abs(gap).max()), float(max(lower, 0.0)), float(min(upper, 1.0)), n)
