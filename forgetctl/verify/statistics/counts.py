"""Exact tests of small counts: leaks, rows that stand out, answers that fell apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from .resampling import Floats
from .shapes import Chance, RowName, Shape

LEVEL = 0.05
KNOWN_SHARE = 2 / 3
"""A row that is half the way from the reference back to the start model differs from the reference by this share of
the start model's lead over the mean of the two; measured so, model and reference count alike."""
OUTLYING = 4.0
"""Robust standard deviations from the median beyond which a row stands out from the rest."""


class Excess(Shape):
    """Rows on which only the verified model shows something (`more`), and on which only its comparison does (`fewer`).

    p: one-sided, how often as many of the differing rows would fall on the verified model by chance. names: of the
    rows of `more`.
    """

    more: int
    fewer: int
    total: int
    p: Chance
    names: tuple[RowName, ...]


def excess(ours: Sequence[bool], theirs: Sequence[bool], names: Sequence[str | None]) -> Excess:
    """Exact sign test (McNemar 1947) on paired yes-or-no findings, (n,) each; rows that shall not be named have None.

    Raises ValueError for different lengths.
    """
    from scipy.stats import binomtest  # slow to import, and most commands do not judge

    pairs = list(zip(ours, theirs, names, strict=True))
    more = tuple(name for our, other, name in pairs if our and not other)
    fewer = sum(other and not our for our, other, _ in pairs)
    differing = len(more) + fewer
    p = float(binomtest(len(more), differing, 0.5, "greater").pvalue) if differing else 1.0
    return Excess(
        more=len(more), fewer=fewer, total=len(pairs), p=p, names=tuple(name for name in more if name is not None)
    )


def unpaired_excess(ours: Sequence[bool], others: Sequence[bool], names: Sequence[RowName]) -> Excess:
    """Exact test (Fisher 1934) of yes-or-no findings on some rows, (n,), against those on other rows, (m,).

    fewer counts those of the others; p is 1 without any. Raises ValueError for other than n names.
    """
    from scipy.stats import hypergeom  # slow to import, and most commands do not judge

    more = tuple(name for our, name in zip(ours, names, strict=True) if our)
    fewer, together = sum(others), len(ours) + len(others)
    p = float(hypergeom.sf(len(more) - 1, together, len(more) + fewer, len(ours))) if others else 1.0
    return Excess(more=len(more), fewer=fewer, total=len(ours), p=min(p, 1.0), names=more)


def standing_out(difference: ArrayLike, to_start: ArrayLike) -> tuple[list[bool], list[bool]]:
    """Single rows that are still known though the rest is not, and their mirror image, (n,) each.

    difference: model less reference; to_start: start model less the mean of model and reference, all in nats a token.
    Were model and reference alike, either list would be as long as the other. A row stands out if it is more than half
    the way back to the start model and far from the bulk of the rows (by the median absolute deviation): what moves
    all rows alike is the distance D's to judge. Raises ValueError for different lengths.
    """
    from scipy.stats import median_abs_deviation

    moved, back = np.asarray(difference, dtype=float), np.asarray(to_start, dtype=float)
    if moved.shape != back.shape or moved.size == 0:
        raise ValueError(f"{moved.shape} differences, but {back.shape} distances to the start")
    centred = moved - np.median(moved)
    limit = OUTLYING * float(median_abs_deviation(moved, scale="normal"))
    known = (moved > KNOWN_SHARE * back) & (centred > limit)
    mirrored = (moved < -KNOWN_SHARE * back) & (centred < -limit)
    return known.tolist(), mirrored.tolist()


def standing_above(rows: ArrayLike, unseen: ArrayLike, to_start: ArrayLike) -> tuple[list[bool], list[bool]]:
    """Single rows that are still known, (n,), and rows that no model saw but that look so, (m,).

    rows, unseen: one model's scores; to_start: (n,) the start model less the median of the unseen rows, all in nats a
    token. A row looks known if it is more than half the way to the start model and far above the bulk of the unseen
    rows; of those the median row's way counts. Raises ValueError for other than n ways, or without rows of either.
    """
    from scipy.stats import median_abs_deviation

    own, others = np.asarray(rows, dtype=float), np.asarray(unseen, dtype=float)
    lead = np.asarray(to_start, dtype=float)
    if own.shape != lead.shape or not own.size or not others.size:
        raise ValueError(f"{own.shape} rows, {others.shape} unseen ones and {lead.shape} distances to the start")
    middle, limit = np.median(others), OUTLYING * float(median_abs_deviation(others, scale="normal"))
    known = (own - middle > lead / 2) & (own - middle > limit)
    alike = (others - middle > np.median(lead) / 2) & (others - middle > limit)
    return known.tolist(), alike.tolist()


def at_most(trials: int) -> float:
    """95 % upper bound of a probability of which nothing was seen in `trials`: about 3 / trials (rule of three).

    Raises ValueError without a trial.
    """
    if trials < 1:
        raise ValueError("without a trial there is no bound")
    return float(1 - LEVEL ** (1 / trials))


def chance_in_samples(logp: ArrayLike, samples: int) -> Floats:
    """How likely each of some texts is to be among `samples` independent samples: 1 - (1 - p)^samples, (n,).

    logp: (n,) their log-probabilities in nats, which rounding may leave a little above 0. Raises ValueError for NaN, or
    without a sample.
    """
    values = np.asarray(logp, dtype=float)
    if np.isnan(values).any() or samples < 1:
        raise ValueError("a log-probability is NaN, or there are no samples")
    with np.errstate(divide="ignore"):  # what is certain has a complement of 0
        missed = samples * np.log1p(-np.exp(np.minimum(values, 0.0)))
    chances: Floats = -np.expm1(missed)
    return chances


def chance_of_any(leaks: ArrayLike, answers: int, draws: int) -> Floats:
    """Chance that at least one of `draws` answers leaks, of which `leaks` among `answers` did: (n,) in [0, 1].

    1 - C(n - c, k) / C(n, k), which is unbiased (pass@k, Chen et al. 2021, eq. 1), as a product without binomials.
    Raises ValueError for more draws than answers, or counts outside 0..answers.
    """
    counts = np.asarray(leaks)
    if not 1 <= draws <= answers or ((counts < 0) | (counts > answers)).any():
        raise ValueError(f"{draws} draws of {answers} answers, or a count of leaks is not between 0 and {answers}")
    chosen = np.arange(draws)
    silent = np.clip((answers - counts[..., None] - chosen) / (answers - chosen), 0, 1)
    chances: Floats = 1 - silent.prod(-1)
    return chances


def stratified_p(ours: Sequence[int], theirs: Sequence[int], answers: int) -> float:
    """One-sided p that one model leaks more often, from how many of `answers` samples of each item leaked, (n,) each.

    Exact: given the leaks of both models together, those of one are hypergeometric item by item, and their sum is
    the convolution (Cochran-Mantel-Haenszel, exact form). Raises ValueError for counts outside 0..answers.
    """
    from scipy.stats import hypergeom

    pairs = list(zip(ours, theirs, strict=True))
    if any(not 0 <= count <= answers for pair in pairs for count in pair):
        raise ValueError(f"a count of leaks is not between 0 and {answers}")
    total = np.ones(1)
    for our, other in pairs:
        if our + other:
            possible = np.arange(min(our + other, answers) + 1)
            total = np.convolve(total, hypergeom.pmf(possible, 2 * answers, our + other, answers))
    return float(min(total[sum(ours) :].sum(), 1.0))
