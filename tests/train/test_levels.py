"""Levels of rows had they never been seen: hand-worked usage, and recovery where the truth is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from forgetctl.model.encoding import Encoded
from forgetctl.train.levels import unseen_levels


def world(seed: int, rows: int, shift: float = 0.0) -> tuple[list[Encoded], np.ndarray]:
    """Answers whose unseen log-probabilities follow from how many rare tokens they hold, with noise."""
    random = np.random.default_rng(seed)
    share = random.uniform(0.1 + shift, 0.5 + shift, rows)
    lengths = random.integers(10, 60, rows)
    answers = [
        [0, *np.where(random.random(n) < s, random.integers(10, 1000, n), random.integers(1, 10, n)).tolist()]
        for n, s in zip(lengths, share, strict=True)
    ]
    rare = np.array([np.mean([token >= 10 for token in answer[1:]]) for answer in answers])
    return list(map(encoded, answers)), -2 - 6 * rare + random.normal(0, 0.3, rows)


def encoded(answer: Sequence[int], scored: tuple[bool, ...] | None = None) -> Encoded:
    """An answer behind its first token."""
    return Encoded(tuple(answer), 1, scored=scored)


def corpus_of(seed: int, rows: int) -> list[tuple[int, ...]]:
    return [row.ids for row in world(seed, rows)[0]]


def test_levels_are_distributed_as_unseen_rows_and_follow_the_rows() -> None:
    corpus = corpus_of(1, 400)
    holdout, scores = world(2, 200)
    rows, truth = world(3, 200)
    levels = unseen_levels(holdout, scores, rows, corpus)
    assert levels.mean() == pytest.approx(truth.mean(), abs=0.1)
    assert levels.std() == pytest.approx(truth.std(), rel=0.15)
    assert np.corrcoef(levels, truth)[0, 1] > 0.8


def test_rows_that_read_harder_than_the_holdout_lie_lower() -> None:
    corpus = corpus_of(1, 400)
    holdout, scores = world(2, 200)
    rows, truth = world(3, 200, shift=0.2)
    levels = unseen_levels(holdout, scores, rows, corpus)
    assert truth.mean() < scores.mean() - 1
    assert levels.mean() == pytest.approx(truth.mean(), abs=0.25)


def test_levels_do_not_depend_on_the_order_of_the_holdout() -> None:
    corpus = corpus_of(1, 100)
    holdout, scores = world(2, 50)
    rows, _ = world(3, 40)
    order = np.random.default_rng(0).permutation(50)
    shuffled = unseen_levels([holdout[i] for i in order], scores[order], rows, corpus)
    np.testing.assert_allclose(shuffled, unseen_levels(holdout, scores, rows, corpus))


@pytest.mark.parametrize("rows", [0, 19])
def test_too_few_holdout_rows_are_refused(rows: int) -> None:
    holdout, scores = world(2, rows) if rows else ([], np.array([]))
    with pytest.raises(ValueError, match="20 are needed"):
        unseen_levels(holdout, scores, [encoded([0, 1])], [[0, 1]])


def test_scores_that_are_not_finite_are_refused() -> None:
    holdout, scores = world(2, 30)
    scores[3] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        unseen_levels(holdout, scores, [encoded([0, 1])], [[0, 1]])


def test_only_scored_tokens_count() -> None:
    """A row of which parts are marked has the level of the tokens that are: the same with any others around them."""
    corpus = corpus_of(1, 100)
    holdout, scores = world(2, 50)
    rows, _ = world(3, 40)
    padded = [encoded((5, 700, *row.ids, 700), (False, False, *[True] * row.tokens, False)) for row in rows]
    np.testing.assert_allclose(
        unseen_levels(holdout, scores, padded, corpus), unseen_levels(holdout, scores, rows, corpus)
    )
