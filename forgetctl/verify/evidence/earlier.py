"""Whether what earlier runs made a model forget stays forgotten in the model that came of it."""

from __future__ import annotations

from dataclasses import replace

from ...model.scores import ScoreSet
from ...recipe.bounds import Bounds
from ..checks.earlier import StaysForgotten
from ..statistics.counts import Excess, excess
from ..statistics.distances import paired_distance
from ..statistics.means import paired_shift
from .collected import EARLIER, Collected, Earlier, same_tokens
from .leaks import distinct, secrets_said, whole_said


def stays_forgotten(found: Collected, bounds: Bounds) -> tuple[StaysForgotten, ...]:
    """For each earlier run its rows as they are now against how they were when it was verified."""
    return tuple(_compared(number, pair, bounds) for number, pair in enumerate(found.earlier, 1))


def _compared(number: int, pair: Earlier, bounds: Bounds) -> StaysForgotten:
    name, then, now = f"{number} ({pair.then.name})", pair.then.sets[EARLIER], pair.now.sets[EARLIER]
    if not same_tokens(now, then):
        return StaysForgotten(name)
    units, levels = now.units, bounds.levels
    return StaysForgotten(
        name,
        paired_shift(now.per_token, then.per_token, units, levels),
        paired_distance(now.per_token, then.per_token, units, levels),
        _secrets(now, then),
        _whole(now, then),
    )


def _secrets(now: ScoreSet, then: ScoreSet) -> Excess | None:
    """Named secrets that come out now, against those that came out then; None where none was asked for both times."""
    ours, theirs = secrets_said([now]), secrets_said([then])
    if not ours or [len(row) for row in ours] != [len(row) for row in theirs]:
        return None
    pairs = [
        (our, their, line)
        for line, own, other in zip(now.lines, ours, theirs, strict=True)
        for our, their in zip(own, other, strict=True)
    ]
    return _excess(pairs)


def _whole(now: ScoreSet, then: ScoreSet) -> Excess | None:
    """Whole responses likewise, identical rows once."""
    ours, theirs = whole_said(now), whole_said(then)
    if not ours or not theirs:
        return None
    return _excess([(ours[row], theirs[row], now.lines[row]) for row in distinct(now)])


def _excess(pairs: list[tuple[bool | None, bool | None, int]]) -> Excess | None:
    asked = [(our, their, line) for our, their, line in pairs if our is not None and their is not None]
    if not asked:
        return None
    ours, theirs, lines = zip(*asked, strict=True)
    found = excess(ours, theirs, lines)
    return replace(found, lines=tuple(sorted(set(found.lines))))  # a row may name several secrets
