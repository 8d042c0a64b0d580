"""The error rate of a PASS at the hardest case, computed over every outcome instead of simulated."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from forgetctl.verify.statistics.distances import paired_distance

DELTA, LEVEL = 0.15, 0.01


def upper(n: int, more: int, fewer: int) -> float:
    """The bound for two-valued scores: `more` rows are lower for the first model, `fewer` for the second."""
    first = np.zeros(n)
    second = np.zeros(n)
    second[:more] = 1
    first[more : more + fewer] = 1
    return paired_distance(first, second).upper


@pytest.mark.parametrize(("n", "back"), [(60, 0.02), (100, 0.05), (200, 0.15)])
def test_a_distance_of_delta_passes_in_one_percent_at_most(n: int, back: float) -> None:
    """D is exactly delta at a single point: a row moves up with probability delta + back, down with `back`.

    The probability of every (more, fewer) is multinomial; summed over those whose bound is below delta it is the
    rate at which such a model would pass. For each `fewer` the passing `more` lie below a threshold, which is looked
    for around the one before.
    """
    share, passing = 0.0, 0
    for fewer in range(n // 2 + 1):
        if stats.binom.pmf(fewer, n, back) < 1e-9:
            continue
        while passing > 0 and upper(n, fewer + passing - 1, fewer) >= DELTA:
            passing -= 1
        while fewer + passing <= n - fewer and upper(n, fewer + passing, fewer) < DELTA:
            passing += 1
        more = np.arange(fewer, fewer + passing)
        counts = np.stack([more, np.full_like(more, fewer), n - more - fewer], axis=1)
        share += float(stats.multinomial.pmf(counts, n, [DELTA + back, back, 1 - DELTA - 2 * back]).sum())
    assert 0 < share <= LEVEL
