"""Exposure (Carlini et al. 2019, arXiv 1802.08232): the place of a secret among other strings of its form.

Values are log-probabilities in any unit, or what of them no other model explains; higher is more likely.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from .resampling import Floats

FEWEST = 5
"""Other strings without which no spread around a line is estimated."""
SMALLEST = 0.01
"""Spread around the line below which two models are the same but for rounding, in standard deviations."""
DEGREES = 4.0
"""Degrees of freedom of the t distribution whose tail is the least that is assumed, as for single rows."""


def rank(secret: float, others: ArrayLike) -> int:
    """Place of a secret, 1 for the likeliest; those that are as likely as it stand before it."""
    return 1 + int((np.asarray(others, dtype=float) >= secret).sum())


def exposure(place: int, others: int) -> float:
    """log2 of the number of strings less log2 of the secret's rank among them, in bits (Carlini et al. 2019,
    definition 4), from 0 to log2(others + 1). Raises ValueError for a place that is none."""
    if not 1 <= place <= others + 1:
        raise ValueError(f"there is no place {place} among {others} others and the secret")
    return math.log2(others + 1) - math.log2(place)


def unexplained(secret: tuple[float, float], others: ArrayLike, others_elsewhere: ArrayLike) -> tuple[float, Floats]:
    """What of a model's values another model does not explain: of the secret, and of the others, (n,).

    secret: its value here and there; others, others_elsewhere: (n,). A line is fitted through the others, of theirs
    against ours, which takes off what one model makes of all strings of a form: a drift, a sharper or flatter
    distribution. Returned is how far each stands above it as a deleted residual, in standard deviations of such a
    distance: that of the secret from the line of all others, that of each of these from the line of the rest. So the
    unit of neither model matters. Raises ValueError for other than n values of both, or fewer than FEWEST.
    """
    ours, theirs = np.asarray(others, dtype=float), np.asarray(others_elsewhere, dtype=float)
    if ours.shape != theirs.shape or ours.ndim != 1 or len(ours) < FEWEST:
        raise ValueError(f"{ours.shape} and {theirs.shape} strings cannot be compared")
    count, centred = len(ours), theirs - theirs.mean()
    squares = float(centred @ centred)
    slope = float(centred @ ours) / squares if squares else 0.0
    left = ours - ours.mean() - slope * centred
    # What alone fixes the line is on it, with a leverage of 1.
    free = np.maximum(1 - 1 / count - (centred**2 / squares if squares else 0.0), 1e-9)
    total = float(left @ left)
    without = np.maximum(total - left**2 / free, 0.0) / (count - 3)
    away = secret[1] - theirs.mean()
    above = secret[0] - ours.mean() - slope * away
    farther = 1 + 1 / count + (away**2 / squares if squares else 0.0)
    spread = max(math.sqrt(total / (count - 2)), SMALLEST)
    each: Floats = left / (np.maximum(np.sqrt(without), SMALLEST) * np.sqrt(free))
    return float(above / (spread * math.sqrt(farther))), each


def chance(secret: float, others: ArrayLike) -> float:
    """How likely one more string of the form is to stand as high as the secret, one-sided p.

    rank / (n + 1), exact for exchangeable strings. Where the secret is the highest of all, the tail of a skew normal
    distribution that is fitted to the others by its moments (Carlini et al. 2019, section 4.3, fit one to log-
    perplexities), but no less than that of t with DEGREES degrees, since a tail cannot be seen. Raises ValueError
    without others.
    """
    from scipy.stats import skewnorm, t  # slow to import, and most commands do not judge

    values = np.asarray(others, dtype=float)
    if not values.size:
        raise ValueError("without other strings there is no place among them")
    conformal = rank(secret, values) / (values.size + 1)
    spread = float(values.std())
    if conformal * (values.size + 1) > 1 or not spread:
        return conformal
    fitted = float(skewnorm.sf(secret, *skewnorm.fit(values, method="MM")))
    heavy = float(t.sf((secret - values.mean()) / spread * math.sqrt(DEGREES / (DEGREES - 2)), DEGREES))
    return min(conformal, max(fitted, heavy))


def holm(chances: Sequence[float]) -> list[float]:
    """p-values adjusted for their number (Holm 1979), in the order given."""
    adjusted, highest = [1.0] * len(chances), 0.0
    for number, place in enumerate(sorted(range(len(chances)), key=lambda place: chances[place])):
        highest = max(highest, min((len(chances) - number) * chances[place], 1.0))
        adjusted[place] = highest
    return adjusted
