"""Membership attacks: the AUC, what chance makes of it, and PrivLeak's sign."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from forgetctl.verify.statistics.distances import Levels
from forgetctl.verify.statistics.membership import (
    ATTACKS,
    Sides,
    Subjects,
    attack,
    auc_margin,
    calibrated,
    priv_leak,
)
from forgetctl.verify.statistics.share_left import ASSUMED_CORRELATION

Floats = NDArray[np.float64]
few = st.lists(st.sampled_from([-1.0, 0.0, 0.5, 2.0]), min_size=1, max_size=20)
MARGIN = auc_margin(0.15)


def sides(members: ArrayLike, others: ArrayLike) -> Sides:
    return Sides(members=members, others=others)


def wins(members: list[float], others: list[float]) -> float:
    """Share of pairs in which the member is higher; ties count half."""
    return float(np.mean([(a > b) + (a == b) / 2 for a in members for b in others]))


# The estimate


def test_auc_by_hand() -> None:
    # 3 beats 1, 2 and ties 3: 2.5; 0 beats none; 2 beats 1 and ties 2: 1.5. Together 4 of 9.
    assert attack("loss", sides([3, 0, 2], [1, 2, 3])).auc == pytest.approx(4 / 9)


@settings(max_examples=50, deadline=None)
@given(few, few)
def test_auc_is_the_share_of_won_pairs(members: list[float], others: list[float]) -> None:
    found = attack("loss", sides(members, others))
    assert found.auc == pytest.approx(wins(members, others))
    u = stats.mannwhitneyu(members, others, method="asymptotic").statistic
    assert found.auc == pytest.approx(u / (len(members) * len(others)))
    assert attack("loss", sides(others, members)).auc == pytest.approx(1 - found.auc)
    assert 0 <= found.lower <= found.auc + 1e-12
    assert found.auc - 1e-12 <= found.upper <= 1
    assert (found.reference, found.difference, found.difference_lower, found.difference_upper) == (None,) * 4


@pytest.mark.parametrize(("delta", "margin"), [(0.15, 0.1054), (0.2, 0.1399)])
def test_margin_is_the_auc_of_normals_that_far_apart(delta: float, margin: float) -> None:
    # AUC of N(s, 1) against N(0, 1) is Phi(s / sqrt 2), with s = 2 Phi^-1((1 + delta) / 2).
    shift = 2 * stats.norm.ppf((1 + delta) / 2)
    assert auc_margin(delta) == pytest.approx(stats.norm.cdf(shift / math.sqrt(2)) - 0.5)
    assert auc_margin(delta) == pytest.approx(margin, abs=1e-4)


# What chance makes of it


def test_bounds_by_hand() -> None:
    """Unseen rows rank 0, 1/3, 2/3, 1 among the others: variance 5/27, and (1/4)^2 / 4 for the steps of a rank.

    Four attacks share the failing level, .0125 each: t .9875 with 3 degrees is 4.1765, and
    t .99 of the passing level 4.5407. Of 5 forget rows and the drift.
    """
    found = attack("loss", sides([5.0] * 5, [1.0, 2.0, 3.0, 4.0]))
    variance = 5 / 27 + 1 / 64
    assert len(ATTACKS) == 4
    error = math.sqrt(variance / 5 + variance / 4)
    assert found.auc == 1
    assert found.lower == pytest.approx(max(1 - 4.176535 * error, 0))
    # Rows that nobody says whose they are count as alike where they must surely not differ.
    alike = ASSUMED_CORRELATION + (1 - ASSUMED_CORRELATION) / 5
    error = math.sqrt(variance * alike + variance / 4)
    assert found.most == pytest.approx(0.5 + 4.540703 * error)
    assert found.noise == pytest.approx((4.540703 + 1.644854) * error, rel=1e-6)


def test_bounds_have_the_width_of_hanley_and_mcneil_where_nothing_is_known() -> None:
    """Their error (1982) of an AUC of a half: sqrt((n + m + 1) / (12 n m)), where every row is its own subject."""
    random, n, m = np.random.default_rng(2), 150, 200
    apart = Subjects(members=range(n), others=range(m))
    found = attack("loss", sides(random.normal(size=n), random.normal(size=m)), None, apart)
    error = math.sqrt((n + m + 1) / (12 * n * m))
    assert found.auc - found.lower == pytest.approx(stats.norm.ppf(0.99) * error, rel=0.1)
    assert found.upper - found.auc == pytest.approx(found.auc - found.lower)


def both(seed: int, n: int = 60, m: int = 200, known: float = 0.0) -> tuple[Sides, Sides]:
    """Scores of n members and m others from a model and from its reference, correlated by 0.98."""
    random = np.random.default_rng(seed)
    base = random.normal(size=n + m)
    ours, theirs = (0.99 * base + 0.14 * random.normal(size=n + m) for _ in range(2))
    return sides(ours[:n] + known, ours[n:]), sides(theirs[:n], theirs[n:])


def test_difference_from_the_reference() -> None:
    ours, theirs = both(1, known=1.0)
    found = attack("min_k", ours, theirs)
    assert found.name == "min_k"
    assert found.reference == pytest.approx(wins(list(theirs.members), list(theirs.others)))
    assert found.difference == pytest.approx(wins(list(ours.members), list(ours.others)) - found.reference)
    assert found.difference_lower is not None
    assert found.difference_upper is not None
    assert MARGIN < found.difference_lower < found.difference < found.difference_upper
    # Much surer than the AUC itself, whose rows differ among themselves more than from model to model.
    assert found.difference - found.difference_lower < 0.25 * (found.auc - found.lower)


def test_rows_that_scatter_more_than_unseen_ones_are_less_surely_alike() -> None:
    ours, theirs = both(3)
    wide = sides(np.asarray(theirs.members) + 5 * (np.asarray(ours.members) - np.asarray(theirs.members)), ours.others)
    plain, wider = (attack("loss", one, theirs) for one in (ours, wide))
    assert wider.most - abs(wider.difference or 0) > 1.5 * (plain.most - abs(plain.difference or 0))
    assert wider.noise == plain.noise  # which is what equal models would have


def test_rows_of_subjects_that_are_alike_count_less() -> None:
    """Noise of whole subjects, seen on the unseen rows of ten of them."""
    random = np.random.default_rng(4)
    shared = random.normal(size=20).repeat(10)
    base = random.normal(size=200)
    ours = sides((base + 0.1 * shared)[:100], (base + 0.1 * shared)[100:])
    theirs = sides(base[:100], base[100:])
    ten = np.arange(10).repeat(10).tolist()
    alone = attack("loss", ours, theirs, Subjects(members=range(100), others=range(100)))
    alike = attack("loss", ours, theirs, Subjects(members=ten, others=ten))
    assert alike.difference == alone.difference
    assert alike.difference_upper is not None
    assert alone.difference_upper is not None
    assert alike.difference_upper - alike.difference > 2 * (alone.difference_upper - alone.difference)


def test_levels_set_the_width() -> None:
    ours, _ = both(4)
    strict, loose = attack("loss", ours), attack("loss", ours, levels=Levels(0.1, 0.4))
    assert strict.lower < loose.lower < loose.auc < loose.upper < strict.upper
    assert strict.most > loose.most


def outcomes(rows: int, known: float, repetitions: int = 300) -> tuple[float, float, float]:
    """How often the difference surely lies above the margin, surely within, and is open though it could be shown."""
    above = within = unsure = 0.0
    for seed in range(repetitions):
        found = attack("loss", *both(seed, rows, known=known))
        assert found.difference_lower is not None
        above += found.difference_lower > MARGIN
        within += found.most < MARGIN
        unsure += found.noise < MARGIN <= found.most
    return above / repetitions, within / repetitions, unsure / repetitions


@pytest.mark.parametrize("rows", [5, 20, 100])
def test_equal_models_are_hardly_ever_open_where_rows_could_show_it(rows: int) -> None:
    above, _, unsure = outcomes(rows, 0.0)
    assert above == 0
    assert unsure <= 0.1


def test_a_difference_at_the_margin_passes_and_fails_no_more_often_than_it_may() -> None:
    """A shift of .38 deviations is an AUC of .605 against .5 on average; of half of the requests it is more."""
    above, within, _ = outcomes(100, 0.3782)
    assert within <= 0.03  # .01 and three errors
    assert above <= 0.06  # measured with 1,500 repetitions: .029


@pytest.mark.parametrize("others", [[1.0], [1.0, 1.0, 1.0]])
def test_one_unseen_row_or_equal_ones_prove_nothing(others: list[float]) -> None:
    found = attack("loss", sides([2.0, 3.0], others))
    assert (found.lower <= 0.5, found.most > MARGIN) == (True, True)


# The calibrated attack


def test_calibrated_by_hand() -> None:
    """Less the shadow's: 2, 0 against 1, -1: wins 2 + 1 of 4."""
    found = calibrated(sides([5.0, 4.0], [2.0, 1.0]), sides([3.0, 4.0], [1.0, 2.0]))
    assert (found.name, found.auc, found.reference, found.difference) == ("calibrated", 0.75, 0.5, 0.25)
    assert found.difference_lower == found.lower - 0.5


def test_models_that_never_saw_the_rows_have_a_half_on_average() -> None:
    found = [calibrated(*both(seed, 40, 80)).auc for seed in range(200)]
    assert np.mean(found) == pytest.approx(0.5, abs=0.015)


def test_it_tells_what_the_loss_does_not() -> None:
    """A shift by one deviation of what models differ by, a fifth of what rows differ by."""
    ours, theirs = both(5, 200, known=0.2)
    plain, less = attack("loss", ours, theirs), calibrated(ours, theirs)
    assert plain.difference is not None
    assert plain.difference < MARGIN
    assert less.auc > 0.75
    assert less.difference_lower is not None
    assert less.difference_lower > MARGIN


# What is refused


@pytest.mark.parametrize("bad", [[], [float("nan")], [[1.0]]])
def test_scores_without_an_auc(bad: Sequence[float]) -> None:
    fine = [1.0]
    with pytest.raises(ValueError, match="forget rows: "):
        attack("loss", sides(bad, fine))
    with pytest.raises(ValueError, match="unseen rows: "):
        attack("loss", sides(fine, bad))
    with pytest.raises(ValueError, match="forget rows: "):
        attack("loss", sides(fine, fine), sides(bad, fine))
    with pytest.raises(ValueError, match="unseen rows: "):
        calibrated(sides(fine, fine), sides(fine, bad))


@pytest.mark.parametrize("reference", [sides([1.0], [1.0, 2.0]), sides([1.0, 2.0], [1.0])])
def test_reference_of_other_rows(reference: Sides) -> None:
    ours = sides([1.0, 2.0], [1.0, 2.0])
    for make in (lambda: attack("loss", ours, reference), lambda: calibrated(ours, reference)):
        with pytest.raises(ValueError, match="the reference's scores are of other rows"):
            make()


# PrivLeak


@pytest.mark.parametrize(
    ("auc", "reference", "expected"),
    [
        (0.5, 0.5, 0.0),
        (0.9, 0.5, -0.8),  # MUSE's AUC of taking rows for unseen is 0.1 against 0.5: (0.1 - 0.5) / 0.5; still known
        (0.2, 0.5, 0.6),  # 0.8 against 0.5: over-forgotten
        (1.0, 0.6, -1.0),
        (0.0, 0.75, 3.0),
    ],
)
def test_priv_leak_has_the_sign_of_muse(auc: float, reference: float, expected: float) -> None:
    assert priv_leak(auc, reference) == pytest.approx(expected)
    unseen, retrained = 1 - auc, 1 - reference
    assert priv_leak(auc, reference) == pytest.approx((unseen - retrained) / retrained)


def test_priv_leak_of_a_perfect_reference() -> None:
    assert priv_leak(0.7, 1.0) is None
