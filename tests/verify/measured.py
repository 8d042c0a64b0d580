"""Findings that pass every check, and changes that break one of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from forgetctl.verify.findings import Closeness, Findings, Kept, Relearned, Samples, Secrets
from forgetctl.verify.statistics.counts import Excess
from forgetctl.verify.statistics.distances import Interval
from forgetctl.verify.statistics.means import Change, Shift
from forgetctl.verify.statistics.membership import Attack
from forgetctl.verify.verdict import ANSWERS, TRUTH_RATIO

# Against the default delta of 0.15, a margin of the mean of 0.378 and of the AUC of 0.105.
EQUAL = Interval(0.05, 0.0, 0.12, 400, "rows", 0.1)
DIFFERENT = Interval(0.40, 0.30, 0.50, 400, "rows", 0.1)
FEW_ROWS = Interval(0.05, 0.0, 0.40, 10, "rows", 0.6)
BORDERLINE = Interval(0.20, 0.08, 0.30, 100, "rows", 0.2)
SAME_MEAN = Shift(0.01, -0.05, 0.07, 1.0, 400)
OTHER_MEAN = Shift(0.30, 0.10, 0.50, 1.0, 400)
# The noise is 1.55 times what the lower bound is away, as it needs power too.
KEPT = Change(0.900, 0.895, -0.0056, -0.012, 0.001, 400, 0.0099)
LOST = Change(0.900, 0.800, -0.1111, -0.13, -0.09, 400, 0.0295)
OPEN = Change(0.900, 0.890, -0.0111, -0.06, 0.03, 400, 0.076)
NONE_OF_400 = Excess(0, 0, 400, 1.0, ())
HIDDEN = Attack("loss", 0.52, 0.45, 0.6, 0.51, 0.01, -0.05, 0.07)

ratios = Closeness(TRUTH_RATIO, EQUAL)
answers = Closeness(ANSWERS, EQUAL, 0.01, SAME_MEAN)

CLEAN = Findings(
    comparison="reference",
    forget=(ratios, answers),
    controls=(replace(answers, distance=DIFFERENT),),
    secrets=Secrets(3, 0, 0, 0, 0),
    kept=(Kept("retain probability", KEPT),),
)
FULL = replace(
    CLEAN,
    floor=(ratios, answers),
    whole_answers=NONE_OF_400,
    samples=Samples(40, 8, 0, 0, 0, 1.0),
    known_rows=NONE_OF_400,
    gibberish=NONE_OF_400,
    attacks=(HIDDEN,),
    relearned=Relearned(SAME_MEAN, EQUAL),
)
HOLDOUT = replace(CLEAN, comparison="holdout", forget=(answers,), secrets=Secrets(3, 0, 0, None, None))


def forget(**changes: Any) -> Findings:
    """CLEAN, with other answers of the forget rows."""
    return replace(CLEAN, forget=(ratios, replace(answers, **changes)))


def kept(start: Change, reference: Change | None = None) -> Findings:
    """CLEAN, with another change of usefulness."""
    return replace(CLEAN, kept=(Kept("retain probability", start, reference),))


def excess(more: int, fewer: int, p: float, lines: tuple[int, ...] = ()) -> Excess:
    """Paired counts of 400 rows."""
    return Excess(more, fewer, 400, p, lines)
