"""The share of the start model's lead that is left: by hand, by its properties, and against simulated truth."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from forgetctl.verify.statistics.share_left import (
    ASSUMED_CORRELATION,
    Noise,
    Question,
    Scored,
    ShareLeft,
    components_of,
    noise_of,
    share_left,
)

Floats = NDArray[np.float64]
ASKED = Question(
    bound=0.1,
    overshoot=0.25,
    rows=True,
    weights="tokens",
    passing=0.01,
    failing=0.05,
    row_level=0.05 / 20,
    any_row_level=0.05 / 20,
)
T_3 = {0.99: 4.5407, 0.95: 2.3534}
"""Student's t with 3 degrees of freedom, from a printed table."""


def scored(model: Any, start: Any, *references: Any, tokens: Any = None, subjects: Any = None) -> Scored:
    rows = len(model)
    return Scored(
        model=np.asarray(model, dtype=float),
        start=np.asarray(start, dtype=float),
        references=np.asarray(references, dtype=float).reshape(-1, rows),
        tokens=np.ones(rows) if tokens is None else np.asarray(tokens, dtype=float),
        subjects=None if subjects is None else np.asarray(subjects),
    )


def judged(asked: Scored, unseen: Scored | None, **changes: Any) -> ShareLeft:
    noise = noise_of(asked, unseen)
    assert noise is not None
    start = noise_of(asked.of_start, unseen.of_start if unseen else None)
    return share_left(asked, noise, start, dataclasses.replace(ASKED, **changes))


UNSEEN = scored([1.5, -0.5, 1.5, -0.5], [0.5, 0.5, -0.5, -0.5], [0, 0, 0, 0])
"""The model's drift is .5, the noise 1, -1, 1, -1; the start's drift is 0."""
VARIANCE = 4 / 3


def test_every_figure_by_hand() -> None:
    """Four rows whose answers have 1, 1, 1 and 5 tokens; reference 0, start 20, the model 2.5 of which .5 are drift."""
    rows = scored([2.5] * 4, [20] * 4, [0] * 4, tokens=[1, 1, 1, 5])
    square = 3 / 64 + 25 / 64
    variance = VARIANCE * (square * (1 - ASSUMED_CORRELATION) + ASSUMED_CORRELATION) + VARIANCE / 4
    found = judged(rows, UNSEEN)
    assert found.share == pytest.approx(0.1)
    assert found.lead == 20
    assert found.noise == pytest.approx(VARIANCE**0.5)
    assert found.correlation == ASSUMED_CORRELATION
    slack = T_3[0.99] * variance**0.5
    assert found.low == pytest.approx((2 - slack) / 20, abs=1e-4)
    assert found.high == pytest.approx((2 + slack) / 20, abs=1e-4)
    assert (found.outcome, found.reason) == ("OPEN", "not surely below")
    assert (found.known, found.half, found.sure) == (4, (), ())


@pytest.mark.parametrize(
    ("moved", "outcome", "reason"),
    [
        (0.0, "PASS", "below"),
        (0.2, "OPEN", "not surely below"),
        (9.0, "OPEN", "not surely below"),
        (9.1, "FAIL", "above"),
        (-9.1, "PASS", "below"),
        (-9.2, "OPEN", "not surely above"),
        (-18.0, "OPEN", "not surely above"),
        (-18.1, "FAIL", "overshot"),
    ],
)
def test_where_the_outcome_changes(moved: float, outcome: str, reason: str) -> None:
    """A row of lead 60: limits 6 and -15; by chance sqrt(4/3 + 4/12) times t, 3.038 to fail and 5.862 to pass."""
    found = judged(scored([0.5 + moved], [60], [0]), UNSEEN)
    assert (found.outcome, found.reason) == (outcome, reason)


def test_one_known_row_of_twenty() -> None:
    """Wholly known it keeps 5 % of all, which is below the bound. Row noise 1.155, t of 4 degrees at .0025 is 5.598:
    6.46 of lead beyond the half."""
    left = np.zeros(20)
    for share, outcome, reason in ((0.1, "PASS", "below"), (0.6, "OPEN", "half known row"), (0.7, "FAIL", "known row")):
        left[7] = share
        found = judged(scored(0.5 + 50 * left, [50] * 20, [0] * 20), UNSEEN)
        assert (found.outcome, found.reason) == (outcome, reason), share
        assert found.half == ((7,) if share > 0.5 else ())
        assert found.sure == ((7,) if share == 0.7 else ())


def test_a_row_among_very_many_must_differ_from_every_row_that_was_never_seen() -> None:
    """t of 4 degrees at a millionth is 41.6: 48 of 50 lead beyond what no model saw."""
    left = np.zeros(20)
    for share, sure in ((0.9, ()), (1.0, (7,))):
        left[7] = share
        rows = scored(0.5 + 50 * left, [50] * 20, [0] * 20)
        assert judged(rows, UNSEEN, any_row_level=1e-6).sure == sure


def test_memory_in_part_of_the_rows_is_not_made_up_for_by_the_others() -> None:
    """Nothing is left on average, and no row is above half; but never-seen rows do not scatter so."""
    rows = [0.5 + 40 * share for share in (0.4, -0.4) * 10]
    found = judged(scored(rows, [40] * 20, [0] * 20), UNSEEN)
    assert (found.share, found.outcome) == (pytest.approx(0), "OPEN")


def test_rows_that_the_start_model_hardly_knew_are_no_known_rows() -> None:
    """Six standard deviations are 6.93; a row of less lead is part of the share alone."""
    found = judged(scored([0.5, 0.5, 0.5, 7.0], [60, 60, 60, 6.5], [0] * 4), UNSEEN)
    assert (found.known, found.half) == (3, ())


def test_analysis_of_variance_by_hand() -> None:
    """Five people of two rows: means 0, 2, 4, 6, 8 about 4, each row 1 from its mean."""
    rows = np.array([[mean + side for mean in (0, 2, 4, 6, 8) for side in (-1, 1)]], dtype=float)
    found = components_of(rows, np.repeat(np.arange(5), 2))
    assert found is not None
    assert (found.within, found.within_df) == (10 / 5, 5)
    assert (found.between, found.between_df, found.size) == (2 * (16 + 4 + 0 + 4 + 16) / 4, 4, 2)
    assert found.correlation == pytest.approx(9 / 11)
    assert found.of_mean(0.5)[0] == pytest.approx(10)  # of two rows: the variance of the means seen
    assert found.of_mean(0.1)[0] == pytest.approx(10)  # of ten rows it may be no less
    assert found.of_mean(1.0) == (pytest.approx(11), pytest.approx(11**2 / (10**2 / 4 + 1 / 5)))
    more = components_of(rows, np.repeat(np.arange(5), 2), least=0.5)
    assert more is not None
    assert (more.within, more.between) == (2.5, 20.5)


@pytest.mark.parametrize("subjects", [[0, 0, 1, 1, 2, 2, 3, 3], list(range(8)), [0] * 8])
def test_few_people_or_one_row_each_show_no_correlation(subjects: list[int]) -> None:
    assert components_of(np.random.default_rng(0).normal(size=(1, 8)), np.array(subjects)) is None


def test_short_answers_have_more_noise() -> None:
    """Nine of ten unseen answers have 8 tokens; a mean over two has four times the variance."""
    unseen = scored(UNSEEN.model, UNSEEN.start, [0] * 4, tokens=[8] * 4)
    noise = noise_of(scored([1], [1], [1]), unseen)
    assert noise is not None
    assert noise.inflation(np.array([2.0, 8, 30])).tolist() == [4, 1, 1]
    long, short = (judged(scored([0.5], [60], [0], tokens=[count]), unseen) for count in (9, 2))
    assert (long.outcome, short.outcome) == ("PASS", "OPEN")


def test_references_differ_among_themselves_as_a_model_does_from_their_mean() -> None:
    """Of three references two independent contrasts: their squares add up to those about the mean, times 1 + 1/3."""
    references = np.random.default_rng(1).normal(size=(3, 40))
    noise = noise_of(scored(np.zeros(40), np.zeros(40), *references), None)
    assert noise is not None
    squares = ((references - references.mean(0)) ** 2).sum(0)
    drifts = ((references.mean(1) - references.mean()) ** 2).sum() * 40
    assert (noise.source, noise.degrees) == ("references", 2 * 39)
    assert noise.variance == pytest.approx(4 / 3 * (squares.sum() - drifts) / (2 * 39))
    assert noise.drift_variance == pytest.approx(4 / 3 * drifts / 40 / 2)


def test_a_reference_alone_leaves_the_scatter_of_the_rows() -> None:
    """Half of the lead is left, and the rows scatter by 1 about that: 4 squares, 3 degrees, correlation assumed."""
    rows = scored([6, 4, 6, 4], [10] * 4, [0] * 4)
    noise = noise_of(rows, None)
    assert noise is not None
    assert (noise.source, noise.degrees, noise.drift) == ("own rows", 3, 0)
    assert noise.variance == pytest.approx(4 / 3 / (1 - ASSUMED_CORRELATION))
    by_subject = noise_of(dataclasses.replace(rows, subjects=np.array([0, 1, 0, 1])), None)
    assert by_subject is None  # each person's rows agree, which shows no noise at all


@pytest.mark.parametrize(
    ("rows", "unseen"),
    [
        (scored([1], [9], [0]), None),
        (scored([1, 2], [9, 9]), None),
        (scored([1, 2], [9, 9]), scored([3], [3])),
        (scored([1, 2], [9, 9], [0, 0]), scored([3, 3], [3, 3], [1, 1])),
    ],
)
def test_without_noise_there_is_no_measure(rows: Scored, unseen: Scored | None) -> None:
    assert noise_of(rows, unseen) is None


def test_a_share_of_tokens_differs_by_one_of_them_at_least() -> None:
    equal = scored([0.5] * 4, [0.5] * 4, [0.5] * 4)
    noise = noise_of(scored([0], [1], [0]), equal, resolution=0.1)
    assert noise is not None
    assert noise.variance == pytest.approx(0.01 / 4)


def test_without_references_unseen_rows_of_the_same_model_stand_for_them() -> None:
    """Unseen rows at -5.5 for the model and -5 for the start; the rows at -5.5 and -1: nothing of 4 is left."""
    unseen = scored([-5, -6, -5.5, -5.5], [-5, -5, -4.5, -5.5])
    found = judged(scored([-5.5] * 6, [-1] * 6), unseen)
    assert found.share == pytest.approx(0)
    assert found.lead == pytest.approx(4)
    assert found.noise == pytest.approx((0.5 / 3) ** 0.5)


def test_lead_weights_are_least_squares() -> None:
    """d = 1, 4 of leads 2, 4: (2 * 1 + 4 * 4) / (4 + 16); by tokens 5 / 6."""
    unseen = scored(UNSEEN.model, UNSEEN.start, [0] * 4)
    rows = scored([1.5, 4.5], [2, 4], [0, 0])
    assert judged(rows, unseen, weights="lead").share == pytest.approx(18 / 20)
    assert judged(rows, unseen).share == pytest.approx(5 / 6)


def test_leads_of_chance_alone_are_no_control() -> None:
    """Squares of noise add up, which least squares would take for a lead."""
    random = np.random.default_rng(2)
    unseen = scored(*random.normal(size=(3, 200)))
    controls = [
        judged(scored(*random.normal(size=(3, 20))), unseen, weights="lead", rows=False).control for _ in range(200)
    ]
    assert sum(controls) <= 0.05 * 200


def test_the_control_is_the_start_model_by_its_own_unseen_rows() -> None:
    """A model whose unseen rows are all over the place makes no start model unknown."""
    wild = scored(40 * UNSEEN.model, UNSEEN.start, [0] * 4)
    found = judged(scored([0.0] * 5, [20] * 5, [0] * 5), wild)
    assert found.control
    assert found.outcome == "OPEN"
    assert not judged(scored([0.5] * 5, [1] * 5, [0] * 5), UNSEEN).control


def test_rows_needed_by_hand() -> None:
    """Five people of one row and one of noise each within: (t + 1.2816)^2 (.98 / n + .02 + drift) <= (.1 lead)^2."""
    noise = Noise(
        source="unseen rows",
        drift=0,
        start_drift=0,
        variance=1,
        degrees=1e6,
        drift_variance=0,
        components=(),
        tokens=1,
    )
    start = dataclasses.replace(noise)
    found = [
        share_left(scored([0.0], [lead], [0]), noise, start, ASKED).rows_needed for lead in (40.0, 20.0, 18.0, 0.0)
    ]
    # (2.3263 + 1.2816)^2 = 13.018; .75 / n + .25 <= 16 / 13.018 and 4 / 13.018 and 3.24 / 13.018
    assert found == [1, 14, None, None]


# Properties

numbers = st.floats(-20, 20)
shares = st.floats(-0.5, 1.5)


@settings(max_examples=50, deadline=None)
@given(shares, st.integers(1, 30), st.integers(0, 10**6))
def test_the_share_is_what_was_left(share: float, count: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    reference, lead = random.normal(size=count), random.uniform(1, 30, count)
    rows = scored(reference + share * lead + 0.5, reference + lead, reference, tokens=random.integers(1, 50, count))
    assert judged(rows, UNSEEN).share == pytest.approx(share)
    assert judged(rows, UNSEEN, weights="lead").share == pytest.approx(share)
    found = judged(rows, UNSEEN)
    assert found.low < share < found.high


@settings(max_examples=50, deadline=None)
@given(st.floats(0.01, 100), numbers, st.integers(0, 10**6), st.booleans())
def test_neither_unit_nor_drift_nor_order_matters(unit: float, drift: float, seed: int, labelled: bool) -> None:
    random = np.random.default_rng(seed)
    rows, unseen = random.normal(size=(3, 9)), random.normal(size=(3, 40))
    rows[1] += 12
    subjects, tokens = np.arange(40) // 5 if labelled else None, random.integers(1, 40, 9)
    before = judged(scored(*rows, tokens=tokens), scored(*unseen, subjects=subjects))
    rows, unseen = unit * rows, unit * unseen
    rows[0], unseen[0] = rows[0] + drift, unseen[0] + drift
    order = random.permutation(9)
    after = judged(scored(*rows[:, order], tokens=tokens[order]), scored(*unseen, subjects=subjects))
    assert (after.outcome, after.reason, after.control) == (before.outcome, before.reason, before.control)
    assert (after.share, after.low, after.high) == pytest.approx((before.share, before.low, before.high), rel=1e-6)


# Rates, where the truth is known


def simulated(share: float, seed: int, *, noise: float = 1.0, correlation: float = 0.0, lead: float = 15) -> str:
    """Ten rows of one person against twenty people of twenty unseen rows: the outcome."""
    random = np.random.default_rng(seed)

    def draws(people: int, count: int, scale: float) -> Floats:
        alike = random.normal(size=(3, people, 1)) * correlation**0.5
        own = random.normal(size=(3, people, count)) * (1 - correlation) ** 0.5
        drawn: Floats = ((alike + own) * scale / 2**0.5).reshape(3, -1)
        return drawn

    rows, unseen = draws(1, 10, noise), scored(*draws(20, 20, 1.0), subjects=np.repeat(np.arange(20), 20))
    leads = lead * random.lognormal(-0.06, 0.34, 10)
    rows[0] += share * leads
    rows[1] += leads
    return judged(scored(*rows), unseen, passing=0.0075).outcome


@pytest.mark.parametrize(
    ("share", "stress", "outcome", "least", "most"),
    [
        (0.0, {}, "PASS", 0.85, 1.0),
        (0.0, {}, "FAIL", 0.0, 0.005),
        (0.1, {}, "PASS", 0.0, 0.0175),
        (0.1, {"noise": 1.5}, "PASS", 0.0, 0.03),
        (0.1, {"correlation": 0.3}, "PASS", 0.0, 0.03),
        (0.2, {}, "FAIL", 0.9, 1.0),
        (1.0, {}, "FAIL", 1.0, 1.0),
        (-1.0, {}, "FAIL", 1.0, 1.0),
    ],
)
def test_rates(share: float, stress: dict[str, float], outcome: str, least: float, most: float) -> None:
    """Of 400 draws; rates of 1 and 2 % are told apart from worse ones by three standard errors."""
    rate = np.mean([simulated(share, seed, **stress) == outcome for seed in range(400)])
    assert least <= rate <= most
