"""How usual tokens are, and which are facts: worked by hand."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgetctl.model.encoding import Encoded
from forgetctl.model.usage import PRIOR, USUAL, Usage, answer_of


def test_usage_by_hand() -> None:
    usage = Usage([(0, 1, 2), (0, 1, 1)])  # pairs 01 twice, 12, 11; singles 1 three times, 2 once; firsts 0 and 1 twice
    one, two = 3.5 / 5.5, 1.5 / 5.5
    expected = [math.log((2 + PRIOR * one) / (2 + PRIOR)), math.log((1 + PRIOR * two) / (2 + PRIOR))]
    assert usage.logp((0, 1, 2)).tolist() == pytest.approx(expected)


def test_a_token_that_was_never_seen_is_less_usual_than_any() -> None:
    usage = Usage([(0, 1, 2), (0, 1, 1)])
    assert usage.logp((0, 9))[0] < min(usage.logp((0, token))[0] for token in (1, 2))
    assert math.isfinite(usage.logp((7, 9))[0])


USUAL_WORDS = Usage([(1, 2, 3, 4)] * 50)
"""2 follows 1, 3 follows 2, and 4 follows 3."""


def test_facts_are_tokens_that_the_corpus_does_not_tell() -> None:
    """9 was never seen. After it 2 is no fact: a third of all tokens is one."""
    assert USUAL_WORDS.facts(Encoded((7, 1, 2, 3, 9, 2, 4), 2)).tolist() == [False, False, True, False, False]


def test_a_pair_that_is_never_seen_makes_a_common_token_no_fact_by_itself() -> None:
    """P(2) is 50.5 / 152; after 1, which 50 others follow, 20 of 70 parts of it are left for a token that does not."""
    other = USUAL_WORDS.logp((1, 3))[0]
    assert math.exp(other) == pytest.approx(20 * (50.5 / 152) / 70)


def test_only_scored_tokens_are_told_apart() -> None:
    row = Encoded((7, 1, 9, 2, 9), 2, scored=(True, False, True))
    assert USUAL_WORDS.facts(row).tolist() == [True, True]
    assert USUAL_WORDS.facts(Encoded((7, 1, 9, 2, 9), 2, scored=(False, True, False))).tolist() == [False]


def test_the_first_token_of_an_answer_follows_the_prompts_last() -> None:
    assert answer_of(Encoded((5, 1, 2, 3), 2)) == (1, 2, 3)
    assert USUAL_WORDS.facts(Encoded((5, 1, 2), 2)).tolist() == [False]


@given(st.lists(st.lists(st.integers(0, 9), min_size=2, max_size=9), min_size=1, max_size=20), st.integers(0, 9))
def test_probabilities_after_a_token_add_up_to_one(corpus: list[list[int]], before: int) -> None:
    """Over all tokens of the corpus and one that is none of them."""
    usage = Usage(corpus)
    shares = [math.exp(usage.logp((before, token))[0]) for token in [*usage.singles, 99]]
    assert sum(shares) == pytest.approx(1)


def test_the_limit() -> None:
    assert USUAL == 0.01
