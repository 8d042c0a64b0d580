"""Where rows would lie for a model that never saw them, learned from holdout rows: the levels that forgetting ends at.

A model that is driven away from a row does not know where to stop. Rows that it never saw show where: how their tokens'
log-probabilities are distributed, how their answers' means are, and which lie high in both can be told in part from how
usual tokens are after one another. Nothing here sees what a verdict is reached from.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Answer = Sequence[int]
"""Token ids of an answer after the token that stands before it."""

PRIOR = 20.0
"""Pairs that the frequency of single tokens counts for (Dirichlet smoothing; MacKay & Peto 1995)."""
FEWEST = 20
"""Holdout rows below which a distribution cannot be told."""


class Usage:
    """How usual tokens are after one another in a corpus of answers."""

    def __init__(self, corpus: Iterable[Answer]) -> None:
        self.singles: Counter[int] = Counter()
        self.pairs: Counter[tuple[int, int]] = Counter()
        self.firsts: Counter[int] = Counter()
        for answer in corpus:
            self.singles.update(answer[1:])
            self.pairs.update(pairwise(answer))
            self.firsts.update(answer[:-1])
        self.total = sum(self.singles.values())

    def logp(self, answer: Answer) -> Floats:
        """Log-probability of each of the answer's tokens under the smoothed pair frequencies, (tokens,) nats.

        A token that the corpus lacks counts as seen half a time.
        """
        kinds = len(self.singles) + 1
        probabilities = []
        for before, token in pairwise(answer):
            single = (self.singles[token] + 0.5) / (self.total + 0.5 * kinds)
            probabilities.append((self.pairs[before, token] + PRIOR * single) / (self.firsts[before] + PRIOR))
        return np.log(probabilities)


def unseen_levels(
    holdout: Sequence[Answer], logp: Sequence[ArrayLike], rows: Sequence[Answer], corpus: Iterable[Answer]
) -> list[Floats]:
    """The log-probability, in nats, at which each answer token of `rows` would lie had the model never seen them.

    logp: the start model's, of each answer token of the `holdout` rows. corpus: answers of rows that are kept.
    A polynomial in `Usage.logp` and the place in the answer is fitted to the holdout's tokens. It ranks the tokens of
    `rows`, which get the holdout's quantiles of their ranks. In the same way each row gets a mean, moved by as much as
    the fit expects `rows` to differ from the holdout, and its tokens are scaled to it. So tokens and answers are
    distributed as unseen ones are, and what reads easily lies high.
    Raises ValueError for fewer than 20 holdout rows, or scores that are not finite.
    """
    if len(holdout) < FEWEST:
        raise ValueError(f"{len(holdout)} holdout rows, {FEWEST} are needed")
    unseen = [np.asarray(values, dtype=float) for values in logp]
    tokens = np.concatenate(unseen)
    if not np.isfinite(tokens).all():
        raise ValueError("a score of the holdout is not finite")
    usage = Usage(corpus)
    known, asked = _features(usage, holdout), _features(usage, rows)
    curve = np.linalg.lstsq(np.concatenate(known), tokens, rcond=None)[0]
    expected = [part @ curve for part in asked]
    shift = _means(expected).mean() - _means([part @ curve for part in known]).mean()
    goals = _placed(_means(expected), _means(unseen)) + shift
    levels = np.split(_placed(np.concatenate(expected), tokens), np.cumsum([len(part) for part in expected])[:-1])
    return [level * (min(goal, 0.0) / level.mean()) for level, goal in zip(levels, goals, strict=True)]


def _features(usage: Usage, answers: Sequence[Answer]) -> list[Floats]:
    """Of each answer, (tokens, 4): one, usage, its square, one over the token's place."""
    found = []
    for answer in answers:
        usual = usage.logp(answer)
        found.append(np.stack([np.ones_like(usual), usual, usual**2, 1 / np.arange(1, len(usual) + 1)], axis=1))
    return found


def _means(parts: Sequence[Floats]) -> Floats:
    return np.array([part.mean() for part in parts])


def _placed(expected: Floats, sample: Floats) -> Floats:
    """The quantiles of `sample` that belong to the ranks of `expected`."""
    ranks = expected.argsort(kind="stable").argsort(kind="stable")
    placed: Floats = np.quantile(sample, (ranks + 0.5) / len(expected))
    return placed
