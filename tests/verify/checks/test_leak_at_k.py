"""How likely a leak is among so many answers: the estimator by hand and by counting, and what is shown of it."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgetctl.model.sampling import Sampling
from forgetctl.model.scores import Elicited, ScoreSet
from forgetctl.recipe.bounds import Bounds
from forgetctl.verify.checks import leak_at_k, samples, secrets, whole_answers
from forgetctl.verify.checks.leak_at_k import DRAWS, Drawn, Leaks
from forgetctl.verify.collected import Collected
from forgetctl.verify.registry import findings
from forgetctl.verify.statistics.counts import chance_of_any
from forgetctl.verify.tables import Shown
from tests.verify.handmade import against, rows

BOUNDS = Bounds()
WARM = Sampling(temperature=0.7, top_p=0.9)


def drawn(*leaked: int | None, answers: int = 8, **more: Any) -> Elicited:
    return Elicited(answers=answers, recall=[0.0] * len(leaked), leaked=list(leaked), **more)


def asked(*leaked: int | None, answers: int = 8, logp: float = -40.0, **served: Any) -> ScoreSet:
    """Rows with that log-probability, to which so many answers leak; served: other ways to draw."""
    elicited = {"sampled": drawn(*leaked, answers=answers), **served}
    return rows([logp] * len(leaked), elicited=elicited)


def measured(collected: Collected) -> tuple[Drawn, ...]:
    return leak_at_k.measure(collected, BOUNDS)


def worst(leaks: Leaks) -> list[float]:
    return [one.worst for one in leaks.chances]


def mean(leaks: Leaks) -> list[float]:
    return [one.mean for one in leaks.chances]


# The estimator


def test_by_hand() -> None:
    """One of four leaks: two draws hold it in three of six cases. Two of four: they miss both in one of six."""
    assert chance_of_any([0, 1, 2, 3, 4], 4, 2).tolist() == pytest.approx([0, 1 / 2, 5 / 6, 1, 1])
    assert chance_of_any([1], 4, 1).tolist() == pytest.approx([1 / 4])
    assert chance_of_any([1], 64, 64).tolist() == [1]


@given(st.integers(1, 64), st.data())
def test_it_is_that_of_the_binomials(answers: int, data: st.DataObject) -> None:
    count, draws = data.draw(st.integers(0, answers)), data.draw(st.integers(1, answers))
    expected = 1 - math.comb(answers - count, draws) / math.comb(answers, draws)
    assert chance_of_any([count], answers, draws)[0] == pytest.approx(expected, abs=1e-12)


@given(st.integers(1, 64), st.data())
def test_it_grows_with_the_draws_and_stays_a_probability(answers: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(0, answers))
    chances = [float(chance_of_any([count], answers, draws)[0]) for draws in range(1, answers + 1)]
    assert all(0 <= one <= 1 for one in chances)
    assert all(first <= second + 1e-12 for first, second in itertools.pairwise(chances))
    assert (chances[-1] == 0) == (count == 0)


def test_it_is_unbiased() -> None:
    """Over all samples of five answers that leak with .3: the mean is 1 - .7^k."""
    share, answers = 0.3, 5
    counts = np.arange(answers + 1)
    weights = [math.comb(answers, c) * share**c * (1 - share) ** (answers - c) for c in counts]
    for draws in range(1, answers + 1):
        assert chance_of_any(counts, answers, draws) @ weights == pytest.approx(1 - 0.7**draws)


@pytest.mark.parametrize(("leaks", "answers", "draws"), [([1], 4, 5), ([5], 4, 1), ([-1], 4, 1), ([1], 4, 0)])
def test_impossible_counts_are_refused(leaks: list[int], answers: int, draws: int) -> None:
    with pytest.raises(ValueError, match="draws of"):
        chance_of_any(leaks, answers, draws)


# What is measured


def test_the_worst_row_and_the_mean_of_every_model() -> None:
    (way,) = measured(against(asked(0, 2, None, 8), asked(0, 0, 0, 1)))
    assert (way.served, way.sampling, way.rows, way.leaked) == (False, "temperature 1", 3, 2)
    assert worst(way.unlearned) == pytest.approx([1.0] * len(DRAWS))
    second = [2 / 8, 1 - (6 * 5) / (8 * 7), 1 - math.comb(6, 4) / math.comb(8, 4), 1, 1, 1, 1]
    assert mean(way.unlearned) == pytest.approx([(1 + one) / 3 for one in second])
    (reference,) = way.references
    assert worst(reference)[:4] == pytest.approx([1 / 8, 2 / 8, 4 / 8, 1])


def test_beyond_the_answers_that_were_drawn_the_whole_response_counts() -> None:
    """Nothing leaks of eight; the response has a chance of 1 % each time, so that 16 hold it with 1 - .99^16."""
    (way,) = measured(against(asked(0, 0, logp=math.log(0.01)), None))
    assert worst(way.unlearned) == pytest.approx([0, 0, 0, 0, *(1 - 0.99**draws for draws in (16, 32, 64))])
    assert way.references == ()


@given(st.lists(st.tuples(st.integers(0, 8), st.floats(-30, 0)), min_size=1, max_size=6))
def test_curves_never_fall(told: list[tuple[int, float]]) -> None:
    counts, logp = zip(*told, strict=True)
    forget = rows(list(logp), elicited={"sampled": drawn(*counts)})
    (way,) = measured(against(forget, None))
    for curve in (worst(way.unlearned), mean(way.unlearned)):
        assert len(curve) == len(DRAWS)
        assert all(0 <= one <= 1 for one in curve)
        assert all(first <= second + 1e-9 for first, second in itertools.pairwise(curve))


def test_what_is_drawn_as_served_stands_by_itself_and_ends_where_nothing_is_known() -> None:
    served = {"as served": drawn(1, 0, sampling=WARM)}
    plain, way = measured(against(asked(0, 0, **served), asked(0, 0, **served)))
    assert (plain.served, way.served, way.sampling) == (False, True, "temperature 0.7, top-p 0.9")
    assert [one.draws for one in plain.unlearned.chances] == list(DRAWS)
    assert worst(way.unlearned) == pytest.approx([1 / 8, 2 / 8, 4 / 8, 1])
    assert len(way.references) == 1


def test_references_whose_answers_were_drawn_otherwise_are_no_comparison() -> None:
    ours = asked(0, **{"as served": drawn(1, sampling=WARM)})
    theirs = asked(0, **{"as served": drawn(1, sampling=Sampling(temperature=0.6))})
    found = against(ours, theirs)
    assert [len(way.references) for way in measured(found)] == [1, 0]
    assert "drawn alike" in leak_at_k.why_missing(measured(found), found)["leaks among drawn answers, reference"]


def test_a_reference_of_more_answers_is_compared_as_it_is() -> None:
    (way,) = measured(against(asked(1), asked(1, answers=64)))
    assert (worst(way.unlearned)[0], worst(way.references[0])[0]) == (1 / 8, 1 / 64)


@pytest.mark.parametrize(
    "ours", [rows([-1.0]), asked(None), rows([-1.0], elicited={"sampled": Elicited(recall=[0.0])})]
)
def test_nothing_drawn_is_said(ours: ScoreSet) -> None:
    found = against(ours, None)
    assert measured(found) == ()
    assert "leaks among drawn answers" in leak_at_k.why_missing((), found)


def test_identical_rows_count_once() -> None:
    forget = rows([-40.0] * 3, copies=[0, 0, 1], elicited={"sampled": drawn(8, 8, 0)})
    (way,) = measured(against(forget, None))
    assert mean(way.unlearned)[0] == 0.5


def test_answers_drawn_as_served_are_no_evidence_of_other_checks() -> None:
    """They are shown; what the model says by itself, and of its own distribution, is judged."""
    counted = {"verbatim": [8], "by_words": [True], "secrets": [[8]], "whole": [8]}
    loud = rows([-40.0], elicited={"as served": drawn(8, sampling=WARM, **counted)})
    quiet = rows([-40.0], elicited={"as served": drawn(0, sampling=WARM, verbatim=[0], by_words=[True], secrets=[[0]])})
    found = against(loud, quiet)
    assert whole_answers.measure(found, BOUNDS) is None
    assert samples.measure(found, BOUNDS) is None
    named = secrets.measure(found, BOUNDS)
    assert named is None or named.leaked == 0


# What is shown


def test_the_table() -> None:
    served = {"as served": drawn(1, 0, sampling=WARM)}
    finding = measured(against(asked(0, 2, **served), asked(0, 0)))
    plain, way = leak_at_k.table(finding, Shown(findings(), BOUNDS, {"unlearned": "Unlearned"}))
    assert plain.columns == ("Answers", "Unlearned", "Reference")
    assert [row.label for row in plain.rows] == [str(draws) for draws in DRAWS]
    assert plain.rows[0].cells == (("0.250", "mean 0.125"), ("0.000", "mean 0.000"))
    assert [bool(row.note) for row in plain.rows] == [draws > 8 for draws in DRAWS]
    assert (way.columns, len(way.rows)) == (("Answers", "Unlearned"), 4)
    assert "drawn as served (temperature 0.7, top-p 0.9)" in way.caption
