"""Per-row metrics: probability, truth ratio, choice, model utility and ROUGE."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from forgetctl.model.metrics import (
    TRUTH_RATIO_VARIANT,
    choice_probability,
    forget_truth_ratio,
    model_utility,
    per_token,
    probability,
    rouge_l_recall,
    truth_ratio,
    useful_truth,
)

logps = st.floats(-50, 0)
answer = st.tuples(logps, st.integers(1, 40))
row = st.tuples(answer, st.lists(answer, min_size=1, max_size=5))


def ratios(rows: list[tuple[tuple[float, int], list[tuple[float, int]]]]) -> list[float]:
    """truth_ratio of rows given as (paraphrase, [wrong answers]), each answer (logp, tokens)."""
    right = [paraphrase for paraphrase, _ in rows]
    found = truth_ratio(
        [logp for logp, _ in right],
        [tokens for _, tokens in right],
        [[logp for logp, _ in wrong] for _, wrong in rows],
        [[tokens for _, tokens in wrong] for _, wrong in rows],
    )
    return [float(ratio) for ratio in found]


# Probability


def test_per_token_by_hand() -> None:
    assert per_token([-2.0, -3.0, 0.0], [4, 2, 7]).tolist() == [-0.5, -1.5, 0.0]


def test_probability_by_hand() -> None:
    # Four tokens of probability 1/2 each, and two tokens of 1/4 and 1/9: geometric mean 1/6.
    logp = [4 * math.log(1 / 2), math.log(1 / 4) + math.log(1 / 9)]
    assert probability(logp, [4, 2]) == pytest.approx([1 / 2, 1 / 6])


@settings(deadline=None)
@given(st.lists(answer, min_size=1, max_size=10))
def test_probability_lies_in_the_unit_interval(answers: list[tuple[float, int]]) -> None:
    found = probability([logp for logp, _ in answers], [tokens for _, tokens in answers])
    assert ((found >= 0) & (found <= 1)).all()


@pytest.mark.parametrize(
    ("logp", "tokens", "why"),
    [
        ([-1.0, float("nan")], [1, 1], "is NaN"),
        ([-1.0], [0], "without tokens"),
        ([-1.0, -1.0], [3, -2], "without tokens"),
        ([-1.0, -1.0], [1], r"\(2,\) log-probabilities but \(1,\) lengths"),
        ([], [1], r"\(0,\) log-probabilities but \(1,\) lengths"),
        ([[-1.0]], [1], r"\(1, 1\) log-probabilities"),
    ],
)
def test_numbers_without_a_mean_per_token(logp: list[float], tokens: list[int], why: str) -> None:
    for function in (per_token, probability):
        with pytest.raises(ValueError, match=why):
            function(logp, tokens)


# Truth ratio


def test_truth_ratio_by_hand() -> None:
    # Right answer: exp(-4/4) = e^-1. Wrong answers: exp(-4/2) = e^-2 and exp(-12/3) = e^-4, geometric mean e^-3.
    assert ratios([((-4.0, 4), [(-4.0, 2), (-12.0, 3)])]) == pytest.approx([math.exp(-2)])  # 0.1353


def test_truth_ratio_is_geometric_not_arithmetic() -> None:
    (found,) = ratios([((-4.0, 4), [(-4.0, 2), (-12.0, 3)])])
    arithmetic = (math.exp(-2) + math.exp(-4)) / 2 / math.exp(-1)  # 0.2088
    assert abs(found - arithmetic) > 0.05
    assert TRUTH_RATIO_VARIANT == "geometric"


def test_truth_ratio_is_one_when_wrong_is_as_likely_as_right() -> None:
    assert ratios([((-6.0, 3), [(-2.0, 1), (-8.0, 4)])]) == [1.0]


def test_rows_may_have_different_numbers_of_wrong_answers() -> None:
    one, two = ((-1.0, 1), [(-2.0, 1)]), ((-1.0, 1), [(-3.0, 1), (-5.0, 1)])
    assert ratios([one, two]) == pytest.approx([math.exp(-1), math.exp(-3)])


@settings(deadline=None)
@given(st.lists(row, min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_truth_ratio_of_a_row_depends_on_that_row_only(
    rows: list[tuple[tuple[float, int], list[tuple[float, int]]]], random: object
) -> None:
    order = list(range(len(rows)))
    random.shuffle(order)  # type: ignore[attr-defined]
    found = ratios(rows)
    assert ratios([rows[i] for i in order]) == [found[i] for i in order]


@settings(deadline=None)
@given(row, st.randoms(use_true_random=False))
def test_truth_ratio_does_not_depend_on_the_order_of_wrong_answers(
    one: tuple[tuple[float, int], list[tuple[float, int]]], random: object
) -> None:
    paraphrase, wrong = one
    shuffled = list(wrong)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert ratios([(paraphrase, shuffled)]) == pytest.approx(ratios([one]))


@pytest.mark.parametrize(
    ("paraphrase", "tokens", "wrong", "wrong_tokens", "why"),
    [
        ([-1.0], [1], [[]], [[]], "without perturbed answers"),
        ([-1.0], [1], [[-1.0, float("nan")]], [[1, 1]], "is NaN"),
        ([float("nan")], [1], [[-1.0]], [[1]], "is NaN"),
        ([-1.0], [0], [[-1.0]], [[1]], "without tokens"),
        ([-1.0], [1], [[-1.0]], [[0]], "without tokens"),
        ([-1.0], [1], [[-1.0, -2.0]], [[1]], "log-probabilities but"),
        ([-1.0, -1.0], [1, 1], [[-1.0]], [[1]], "2 paraphrases but 1 sets"),
        ([-1.0], [1], [[-1.0]], [[1], [1]], "1 paraphrases but 1 sets"),
        ([-1.0, -1.0], [1], [[-1.0]], [[1]], "log-probabilities but"),
    ],
)
def test_rows_without_a_truth_ratio(
    paraphrase: list[float], tokens: list[int], wrong: list[list[float]], wrong_tokens: list[list[int]], why: str
) -> None:
    with pytest.raises(ValueError, match=why):
        truth_ratio(paraphrase, tokens, wrong, wrong_tokens)


# Aggregate


def test_forget_truth_ratio_by_hand() -> None:
    # min(R, 1/R): 1/4, 1, 1/2; mean 7/12.
    assert forget_truth_ratio([4.0, 1.0, 0.5]) == pytest.approx(7 / 12)


@settings(deadline=None)
@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=20))
def test_forget_truth_ratio_does_not_tell_r_from_its_inverse(values: list[float]) -> None:
    found = forget_truth_ratio(values)
    assert 0 <= found <= 1
    assert forget_truth_ratio([1 / value for value in values]) == pytest.approx(found)
    assert forget_truth_ratio(values[::-1]) == pytest.approx(found)


@pytest.mark.parametrize("values", [[], [float("nan")], [1.0, float("nan")]])
def test_forget_truth_ratio_of_nothing_or_nan(values: list[float]) -> None:
    with pytest.raises(ValueError):
        forget_truth_ratio(values)


# TOFU's model utility


def test_arithmetic_truth_ratio_by_hand() -> None:
    # Right answer e^-1; wrong answers e^-2 and e^-4, arithmetic mean (0.135335 + 0.018316) / 2 = 0.076825.
    found = truth_ratio([-4.0], [4], [[-4.0, -12.0]], [[2, 3]], arithmetic=True)
    assert found == pytest.approx([(math.exp(-2) + math.exp(-4)) / 2 / math.exp(-1)])  # 0.2088


@settings(max_examples=50, deadline=None)
@given(row)
def test_arithmetic_is_never_below_geometric_and_equal_for_one(
    one: tuple[tuple[float, int], list[tuple[float, int]]],
) -> None:
    (logp, tokens), wrong = one
    sums, lengths = [value for value, _ in wrong], [length for _, length in wrong]
    found = {way: truth_ratio([logp], [tokens], [sums], [lengths], arithmetic=way)[0] for way in (True, False)}
    assert found[True] >= found[False] * (1 - 1e-9)
    first = [truth_ratio([logp], [tokens], [sums[:1]], [lengths[:1]], arithmetic=way)[0] for way in (True, False)]
    assert first[0] == pytest.approx(first[1])


def test_choice_probability_by_hand() -> None:
    # True answer 1/2; wrong ones 1/4 and 1/8 (two tokens of it): 1/2 / (7/8) = 4/7. Alone against an equal one: 1/2.
    half, quarter, eighth = math.log(1 / 2), math.log(1 / 4), 2 * math.log(1 / 8)
    found = choice_probability([half, half], [1, 1], [[quarter, eighth], [half]], [[1, 2], [1]])
    assert found == pytest.approx([4 / 7, 1 / 2])


@settings(max_examples=50, deadline=None)
@given(st.lists(row, min_size=1, max_size=6))
def test_choice_probability_is_a_share_and_more_alternatives_lower_it(
    rows: list[tuple[tuple[float, int], list[tuple[float, int]]]],
) -> None:
    logp, tokens = [answer[0] for answer, _ in rows], [answer[1] for answer, _ in rows]
    sums = [[value for value, _ in wrong] for _, wrong in rows]
    lengths = [[length for _, length in wrong] for _, wrong in rows]
    found = choice_probability(logp, tokens, sums, lengths)
    assert ((found >= 0) & (found <= 1)).all()
    more = choice_probability(logp, tokens, [[*one, -1.0] for one in sums], [[*one, 1] for one in lengths])
    assert (more <= found).all()


@pytest.mark.parametrize(
    ("wrong", "wrong_tokens", "why"),
    [
        ([[-1.0]], [[1]], "2 answers but 1 sets"),
        ([[-1.0], [-1.0]], [[1]], "2 answers but 2 sets"),
        ([[-1.0], [-1.0]], [[1], [0]], "without tokens"),
        ([[-1.0], [float("nan")]], [[1], [1]], "is NaN"),
        ([[-1.0], [-1.0]], [[1], [1, 2]], "log-probabilities but"),
        ([[-1.0], []], [[1], []], "without perturbed answers"),
    ],
)
def test_rows_without_a_choice(wrong: list[list[float]], wrong_tokens: list[list[int]], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        choice_probability([-1.0, -2.0], [1, 1], wrong, wrong_tokens)


def test_useful_truth_by_hand() -> None:
    assert useful_truth([0.0, 0.25, 1.0, 3.0]).tolist() == [1.0, 0.75, 0.0, 0.0]
    assert useful_truth([]).shape == (0,)


def test_useful_truth_keeps_nan() -> None:
    assert np.isnan(useful_truth([0.5, float("nan")])).tolist() == [False, True]


def test_model_utility_by_hand() -> None:
    # Harmonic mean of 8 x 1 and 1/2: 9 / (8 + 2).
    assert model_utility([1.0] * 8 + [0.5]) == pytest.approx(0.9)
    assert model_utility([0.3] * 9) == pytest.approx(0.3)
    assert model_utility([1.0] * 8 + [0.0]) == 0.0


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0.001, 1), min_size=9, max_size=9))
def test_model_utility_lies_between_least_and_mean(parts: list[float]) -> None:
    found = model_utility(parts)
    assert min(parts) - 1e-9 <= found <= sum(parts) / 9 + 1e-9
    assert model_utility(parts[::-1]) == pytest.approx(found)


@pytest.mark.parametrize("count", [0, 1, 8, 10])
def test_model_utility_needs_nine_parts(count: int) -> None:
    with pytest.raises(ValueError, match=f"nine measures, got {count}"):
        model_utility([0.5] * count)


@pytest.mark.parametrize("zero", [1, 0])
def test_model_utility_of_nan_is_refused_before_or_after_a_zero(zero: int) -> None:
    parts = [0.5] * 9
    parts[zero], parts[1 - zero] = 0.0, float("nan")
    with pytest.raises(ValueError, match="no measures, or one that is NaN"):
        model_utility(parts)


# ROUGE-L


@pytest.mark.parametrize(
    ("response", "answer", "recall"),
    [
        ("the quick brown fox", "the quick brown fox", 1.0),
        ("the quick brown fox", "the slow brown fox", 3 / 4),  # the .. brown fox
        ("a b c d", "d c b a", 1 / 4),  # any single word is a longest common subsequence
        ("a b c d", "a c d b", 3 / 4),  # a c d
        ("one two", "one two three four", 1.0),  # recall does not punish what is added
        ("one two three four", "one two", 2 / 4),
        ("alpha beta", "gamma", 0.0),
        ("Alpha, beta!", "alpha beta", 1.0),  # case and punctuation do not count
        ("the cats were running", "the cat is runs", 3 / 4),  # stems: cat, run
        ("she writes novels", "writing a novel", 2 / 3),  # stems: write, novel
        ("one two", "", 0.0),
    ],
)
def test_rouge_l_recall_by_hand(response: str, answer: str, recall: float) -> None:
    assert rouge_l_recall([response], [answer]) == pytest.approx([recall])


WORDS = st.lists(st.sampled_from("running runs ran Flies, flying; authors' authoring x1 of and generous".split()))


@given(WORDS, WORDS)
def test_rouge_l_recall_is_the_librarys_with_its_stemmer(one: list[str], other: list[str]) -> None:
    response, answer = " ".join(["books", *one]), " ".join(other)
    expected = RougeScorer(["rougeL"], use_stemmer=True).score(response, answer)["rougeL"].recall
    assert rouge_l_recall([response], [answer]) == pytest.approx([expected])


def test_rouge_l_recall_is_row_by_row() -> None:
    assert rouge_l_recall(["a b", "c d"], ["a b", "d x"]).tolist() == [1.0, 0.5]
    assert rouge_l_recall([], []).shape == (0,)


def test_rouge_l_recall_needs_an_answer_for_each_response() -> None:
    with pytest.raises(ValueError):
        rouge_l_recall(["a", "b"], ["a"])


def test_results_are_float64() -> None:
    tokens = np.array([3], dtype=np.int32)
    assert per_token(np.array([-1.0], dtype=np.float32), tokens).dtype == np.float64
