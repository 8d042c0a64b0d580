"""What is left of scores in files: no lengths of the request's rows, and everything that the verdict needs."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgetctl.model.coarse_scores import RECALL, coarse, length_class
from forgetctl.model.scores import LEAST_LIKELY, Elicited, FactTokens, Scores, ScoreSet

ROWS = ScoreSet(
    names=["1", "2"],
    answer_logp=[-2.0, -30.09],
    answer_tokens=[10, 20],
    paraphrase_logp=[-4.0, -6.0],
    paraphrase_tokens=[4, 9],
    perturbed_logp=[[-4.0, -9.0], [-15.0]],
    perturbed_tokens=[[4, 3], [5]],
    min_k=[-1.2341, -2.0],
    min_k_plus_plus=[0.126, -0.5],
    exact_memorisation=[7 / 9, 1 / 3],
    extraction_strength=[2 / 13, 0.0],
    elicited={"greedy": Elicited(recall=[5 / 7, None], secrets=[[1], []])},
)


def scored(role: Any = "unlearned", **sets: ScoreSet) -> Scores:
    return Scores(role=role, name="model", sets=sets)


def test_worked_by_hand() -> None:
    found = coarse(scored(forget=ROWS)).forget
    assert found.answer_tokens == [20, 20]
    assert found.answer_logp == [-4.0, -30.08]  # -.2 and -1.504 a token
    assert found.per_token.tolist() == pytest.approx([-0.2, -1.504])
    assert found.response_logp == [-2.0, None]
    assert found.summed.tolist() == [-2.0, LEAST_LIKELY]
    assert (found.paraphrase_tokens, found.paraphrase_logp) == ([9, 9], [-9.0, -6.003])  # -1 and -.667 a token
    assert (found.perturbed_tokens, found.perturbed_logp) == ([[4, 4], [4]], [[-4.0, -12.0], [-12.0]])
    assert (found.min_k, found.min_k_plus_plus) == ([-1.234, -2.0], [0.126, -0.5])
    assert (found.exact_memorisation, found.extraction_strength) == ([0.8, 0.35], [0.2, 0.0])
    assert found.elicited["greedy"].recall == [0.8, None]
    assert found.elicited["greedy"].secrets == [[1], []]


def test_shares_of_fact_tokens_are_as_coarse_as_others() -> None:
    facts = FactTokens(pairs=900, different=300, tokens=6, first_choices=[5 / 7, None], likely=0.012)
    rows = ROWS.model_copy(update={"facts": facts})
    found = coarse(scored(forget=rows, holdout=rows))
    assert found.forget.facts == facts.model_copy(update={"first_choices": [0.75, None]})
    assert found.sets["holdout"].facts == facts
    assert coarse(found) == found


def test_short_answers_stay_short_ones() -> None:
    """Their scores have more noise, which the verdict takes into account."""
    assert [length_class(length, 36) for length in (60, 36, 7, 6, 2, 1)] == [36, 36, 36, 6, 6, 1]
    rows = ROWS.model_copy(update={"answer_tokens": [3, 20]})
    assert coarse(scored(forget=rows)).forget.answer_tokens == [3, 20]


@given(st.lists(st.one_of(st.none(), st.floats(0, 1)), min_size=2, max_size=2), st.floats(0, 1))
def test_the_mean_of_the_recall_stays(few: list[float | None], again: float) -> None:
    recall = [*few, *[again] * 20]
    names = [str(number) for number in range(len(recall))]
    rows = ScoreSet(
        names=names,
        answer_logp=[-1.0] * len(recall),
        answer_tokens=[9] * len(recall),
        elicited={"greedy": Elicited(recall=recall)},
    )
    written = coarse(scored(forget=rows)).forget.elicited["greedy"].recall
    before, after = ([value for value in values if value is not None] for values in (recall, written))
    assert [value is None for value in recall] == [value is None for value in written]
    assert all(0 <= value <= 1 and math.isclose(value * 5, round(value * 5)) for value in after)
    assert abs(sum(before) - sum(after)) <= RECALL / 2 + 1e-9


def test_the_start_models_sums_are_not_kept() -> None:
    assert coarse(scored("start", forget=ROWS)).forget.response_logp is None


@pytest.mark.parametrize("name", ["retain", "holdout", "real_authors", "world_facts"])
def test_rows_that_nobody_asked_about_stay_as_they_are(name: str) -> None:
    assert coarse(scored(**{"forget": ROWS, name: ROWS})).sets[name] == ROWS


@pytest.mark.parametrize("name", ["rephrased-1", "earlier"])
def test_rows_of_a_request_in_other_sets_lose_their_lengths_too(name: str) -> None:
    rows = ROWS.model_copy(update={"answer_tokens": [4, 20]})
    assert coarse(scored(**{"forget": ROWS, name: rows})).sets[name].answer_tokens == [20, 20]


def test_other_tokens_are_still_seen_to_be_other_ones() -> None:
    ours, other = (ROWS.model_copy(update={"answer_tokens": tokens}) for tokens in ([11, 20], [12, 20]))
    assert coarse(scored("reference", forget=other), scored(forget=ours)).forget.answer_tokens == [21, 21]
    assert coarse(scored("reference", forget=ours), scored(forget=ours)).forget.answer_tokens == [20, 20]
    file = coarse(scored("reference", forget=ours))
    assert coarse(file, scored(forget=ours)) == file  # of a file nobody knows more


LENGTHS = st.lists(st.integers(1, 200), min_size=2, max_size=2)


@given(st.lists(st.floats(-500, 0), min_size=2, max_size=2), LENGTHS)
def test_nothing_more_changes_the_second_time(logp: list[float], tokens: list[int]) -> None:
    once = coarse(scored(forget=ROWS.model_copy(update={"answer_logp": logp, "answer_tokens": tokens})))
    assert coarse(once) == once
    assert Scores.model_validate(once.model_dump(mode="json")) == once
    means = [value / count for value, count in zip(logp, tokens, strict=True)]
    assert once.forget.per_token.tolist() == pytest.approx(means, abs=0.00051)
