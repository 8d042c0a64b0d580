"""Bounds on means and shares of scores from 0 to 1 that hold for every distribution and any number of rows.

Where two rows in a hundred lose everything, 30 % of samples of 60 rows hold none of them, and show neither a loss nor
any spread. No bound from such a sample may be close, so these are not: they need a few hundred rows.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike
from scipy import special  # its quantiles are those of scipy.stats, which takes a second to import

from .distances import Levels
from .resampling import Floats, Units, paired_samples, sample_of
from .shapes import Lower, Relative, Shape, Share, Upper

NINE_OF_TEN = float(special.ndtri(0.9))
STEPS = 60
"""Halvings of an interval in which a bound is looked for."""
MOST = 10.0
"""Relative change beyond which there is no bound."""
ROUNDING = 1e-6
"""By which a probability may lie above 1."""
MOST_ROWS = 20_000
"""More are not advised."""


class Change(Shape):
    """A mean before and now, and the relative change now / before - 1 with one-sided bounds.

    lower: at the passing level, upper: at the failing level. rows_needed: with which an unchanged mean would be shown
    to have lost less than the limit, nine times of ten; None where rows like these never would.
    """

    before: float
    now: float
    relative: Relative
    lower: Lower
    upper: Upper
    n: int
    rows_needed: int | None


class ShareExcess(Shape):
    """How many of `total` rows show something here and not there (`more`), and there alone (`fewer`).

    lower, upper: of the difference of the two shares, one-sided, at the failing and at the passing level. rows_needed:
    with which as large a share would surely lie below the limit, None where none would do.
    """

    more: int
    fewer: int
    total: int
    lower: Share
    upper: Share
    rows_needed: int | None


def bounded_change(
    now: ArrayLike, before: ArrayLike, loss: float, units: Units | None = None, levels: Levels | None = None
) -> Change:
    """Change of a mean of scores in [0, 1] over the same rows, (n,) each, whatever their distribution.

    By betting (Waudby-Smith & Ramdas 2024, section 4; Stark 2009 for audits of elections): were the mean now at most
    1 + c times that before, prod (1 + l (now - (1 + c) before)) would have expectation 1 or less, so that by Markov's
    inequality it reaches 1 / level no more often than the level says. The stake l is fixed by the number of rows
    beforehand. The bounds are the c at which the product does. Rows of one unit are one bet on their sum.
    loss: the relative loss that shall be excluded, for which the stake is chosen.
    Raises ValueError for scores outside [0, 1], NaN, different lengths, or a mean before that is not positive.
    """
    after, first, units = paired_samples(now, before, units)
    levels = levels or Levels()
    if min(after.min(), first.min()) < 0 or max(after.max(), first.max()) > 1 + ROUNDING:
        raise ValueError("a score lies outside 0 to 1")
    after, first = np.minimum(after, 1.0), np.minimum(first, 1.0)
    if not first.mean() > 0:
        raise ValueError("a mean that was not positive before has no relative change")
    rows = units.totals(np.column_stack([after, first])) / units.sizes().max()
    ratio = float(after.mean() / first.mean())
    return Change(
        before=float(first.mean()),
        now=float(after.mean()),
        relative=ratio - 1,
        lower=_least(rows, loss, levels.passing),
        upper=_most(rows, loss, levels.failing),
        n=first.size,
        rows_needed=_rows_needed(rows, ratio, loss, levels.passing),
    )


def _stake(count: int, loss: float, level: float) -> float:
    """Half of what an unchanged score pays best for at that number of rows, and no more than can be lost."""
    return min(1.0, 2 * np.log(1 / level) / (loss * count)) if loss > 0 else 1.0


def _wins(rows: Floats, change: float, stake: float) -> Floats:
    """Logarithm of what each row does to the stakes: (n, 2), now and before -> (n,)."""
    return _paid(rows[:, 0] - (1 + change) * rows[:, 1], stake)


def _paid(gains: Floats, stake: float) -> Floats:
    """Logarithm of stakes that win or lose, (n,); who loses all of one has next to nothing left."""
    paid: Floats = np.log1p((stake * gains).clip(min=-1 + 1e-12))
    return paid


def _least(rows: Floats, loss: float, level: float) -> float:
    """The largest change that is surely exceeded. It is -1 where nothing is, since no mean falls below 0."""
    stake, enough = _stake(len(rows), loss, level), np.log(1 / level)
    highest = min(1 / stake - 1, MOST)  # beyond, a row could lose more than all
    return _edge(lambda change: bool(_wins(rows, change, stake).sum() >= enough), -1.0, highest)


def _most(rows: Floats, loss: float, level: float) -> float:
    """The smallest change that is surely not reached; infinite where none is."""
    stake, enough = _stake(len(rows), loss, level), np.log(1 / level)

    def excluded(change: float) -> bool:
        return bool(_paid((1 + change) * rows[:, 1] - rows[:, 0], stake).sum() >= enough)

    edge = -_edge(lambda change: excluded(-change), -MOST, 1.0)
    return edge if edge < MOST else float("inf")


def _edge(holds: Callable[[float], bool], low: float, high: float) -> float:
    """Up to where in [low, high] a claim holds that holds below some point and not above; low where it never does."""
    if holds(high):
        return high
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


def _rows_needed(rows: Floats, ratio: float, loss: float, level: float) -> int | None:
    """From rows like these, had their mean not changed: bets win on average, and by as much more for power."""
    if loss <= 0 or ratio <= 0:
        return None
    unchanged = np.column_stack([rows[:, 0] / ratio, rows[:, 1]])
    needed = []
    for stake in np.geomspace(0.01, 1, 20):
        paid = _wins(unchanged, -loss, stake)
        if (gain := float(paid.mean())) > 0:
            # n gain - z spread sqrt(n) = log(1 / level)
            half = NINE_OF_TEN * float(paid.std()) / (2 * gain)
            needed.append((half + np.sqrt(half**2 + np.log(1 / level) / gain)) ** 2)
    return int(np.ceil(min(needed))) if needed else None


def share_bounds(count: int, total: int, level: float) -> tuple[float, float]:
    """Exact one-sided bounds of a share of which `count` of `total` were seen (Clopper & Pearson 1934).

    Raises ValueError without trials, or for more than all.
    """
    if not 0 <= count <= total or total < 1:
        raise ValueError(f"{count} of {total} is no share")
    lower = float(special.betaincinv(count, total - count + 1, level)) if count else 0.0
    upper = float(special.betaincinv(count + 1, total - count, 1 - level)) if count < total else 1.0
    return lower, upper


def excess_share(ours: ArrayLike, theirs: ArrayLike, limit: float, levels: Levels | None = None) -> ShareExcess:
    """Bounds on the difference of two shares of the same rows, from what each of both shows, (n,) yes or no each.

    Both are exact, and no closer than they must be. Upper: the share here less that there is no more than the share of
    rows that show it here alone. Lower: that share's lower bound less the upper bound of the share there alone, at
    half of the level each. Raises ValueError for different lengths, or without rows.
    """
    levels = levels or Levels()
    first, second = sample_of(ours, "rows").astype(bool), sample_of(theirs, "rows").astype(bool)
    if first.shape != second.shape:
        raise ValueError(f"paired samples differ in length: {first.size} and {second.size}")
    more, fewer, total = int((first & ~second).sum()), int((second & ~first).sum()), first.size
    half = levels.failing / 2 if fewer else levels.failing
    lower = share_bounds(more, total, half)[0] - (share_bounds(fewer, total, half)[1] if fewer else 0.0)
    return ShareExcess(
        more=more,
        fewer=fewer,
        total=total,
        lower=max(lower, 0.0),
        upper=share_bounds(more, total, levels.passing)[1],
        rows_needed=_rows_below(more / total, limit, levels.passing),
    )


def _rows_below(share: float, limit: float, level: float) -> int | None:
    """Rows with which that share would have an upper bound below the limit."""
    rows = np.unique(np.geomspace(1, MOST_ROWS, 2000).astype(int))
    seen = np.ceil(share * rows)
    some = seen < rows
    enough = rows[some][special.betaincinv(seen[some] + 1, (rows - seen)[some], 1 - level) < limit]
    return int(enough[0]) if enough.size else None
