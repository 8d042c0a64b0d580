"""Membership attacks: the AUC, its bounds, and PrivLeak's sign."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from forgetctl.verify.statistics.distances import Levels
from forgetctl.verify.statistics.membership import ATTACKS, Attack, attack, auc_margin, priv_leak
from forgetctl.verify.statistics.resampling import Units

Floats = NDArray[np.float64]
few = st.lists(st.sampled_from([-1.0, 0.0, 0.5, 2.0]), min_size=1, max_size=20)


def wins(members: list[float], others: list[float]) -> float:
    """Share of pairs in which the member is higher; ties count half."""
    return float(np.mean([(a > b) + (a == b) / 2 for a in members for b in others]))


# The estimate


def test_auc_by_hand() -> None:
    # 3 beats 1, 2 and ties 3: 2.5; 0 beats none; 2 beats 1 and ties 2: 1.5. Together 4 of 9.
    assert attack("loss", [3, 0, 2], [1, 2, 3]).auc == pytest.approx(4 / 9)


@settings(max_examples=50, deadline=None)
@given(few, few)
def test_auc_is_the_share_of_won_pairs(members: list[float], others: list[float]) -> None:
    found = attack("loss", members, others)
    assert found.auc == pytest.approx(wins(members, others))
    u = stats.mannwhitneyu(members, others, method="asymptotic").statistic
    assert found.auc == pytest.approx(u / (len(members) * len(others)))
    assert attack("loss", others, members).auc == pytest.approx(1 - found.auc)
    assert 0 <= found.lower <= found.auc + 1e-12
    assert found.auc - 1e-12 <= found.upper <= 1
    assert (found.reference, found.difference, found.difference_lower, found.difference_upper) == (None,) * 4


@pytest.mark.parametrize(("delta", "margin"), [(0.15, 0.1054), (0.2, 0.1399)])
def test_margin_is_the_auc_of_normals_that_far_apart(delta: float, margin: float) -> None:
    # AUC of N(s, 1) against N(0, 1) is Phi(s / sqrt 2), with s = 2 Phi^-1((1 + delta) / 2).
    shift = 2 * stats.norm.ppf((1 + delta) / 2)
    assert auc_margin(delta) == pytest.approx(stats.norm.cdf(shift / math.sqrt(2)) - 0.5)
    assert auc_margin(delta) == pytest.approx(margin, abs=1e-4)


# Bounds


def both(seed: int, n: int = 60, known: float = 0.0) -> tuple[tuple[Floats, Floats], ...]:
    """Scores of n members and n others from a model and from its reference, correlated by 0.8."""
    random = np.random.default_rng(seed)
    base = random.normal(size=(2, n))
    ours, theirs = (0.9 * base + 0.45 * random.normal(size=(2, n)) for _ in range(2))
    return (ours[0] + known, ours[1]), (theirs[0], theirs[1])


def test_difference_from_the_reference() -> None:
    ours, theirs = both(1, known=1.0)
    found = attack("zlib", *ours, reference=theirs)
    assert found.name == "zlib"
    assert found.reference == pytest.approx(wins(*map(list, theirs)))
    assert found.difference == pytest.approx(wins(*map(list, ours)) - wins(*map(list, theirs)))
    assert found.difference_lower is not None
    assert found.difference_upper is not None
    assert 0.05 < found.difference_lower < found.difference < found.difference_upper


def nearly_alike(n: int) -> Attack:
    """Against a reference with nearly the same scores of the same rows."""
    ours, theirs = both(1, n, known=1.0)
    return attack("zlib", *ours, reference=(ours[0] + 0.01 * theirs[0], ours[1]))


def test_difference_is_much_surer_than_the_auc_where_scores_are_nearly_the_same() -> None:
    near = nearly_alike(400)
    assert near.difference is not None
    assert near.difference_upper is not None
    assert near.difference_upper - near.difference < 0.2 * (near.upper - near.auc)


def test_error_is_no_less_than_one_unit_changing_sides_by_hand() -> None:
    near = nearly_alike(60)
    assert near.difference is not None
    assert near.difference_lower is not None
    assert near.difference_upper is not None
    # 1/60 with t of 59 degrees: 2.3912 at .99, and 2.3001 at 1 - .05/4.
    assert near.difference_upper - near.difference == pytest.approx(2.391229 / 60, abs=1e-6)
    assert near.difference - near.difference_lower == pytest.approx(stats.t.ppf(0.9875, 59) / 60)
    # A perfect attack; subjects are fewer than rows: 1/12 with t of 11 degrees, 2.7181 at .99.
    high, low, units = np.full(36, 2.0), np.full(60, 1.0), Units.of(36, copies=np.arange(12).repeat(3).tolist())
    perfect = attack("loss", high, low, units, reference=(high, low))
    assert perfect.difference_upper == pytest.approx(2.718079 / 12, abs=1e-6)
    swapped = attack("loss", low, high, reference=(low, high), other_units=units)
    assert swapped.difference_upper == pytest.approx(2.718079 / 12, abs=1e-6)


def test_bounds_have_the_width_of_hanley_and_mcneil() -> None:
    """Their error (1982) of an AUC A uses Q1 = A / (2 - A) and Q2 = 2 A^2 / (1 + A)."""
    random = np.random.default_rng(2)
    n, m = 150, 200
    found = attack("loss", random.normal(size=n) + 0.5, random.normal(size=m))
    a = found.auc
    q1, q2 = a / (2 - a), 2 * a**2 / (1 + a)
    error = math.sqrt((a * (1 - a) + (n - 1) * (q1 - a**2) + (m - 1) * (q2 - a**2)) / (n * m))
    assert found.upper - a == pytest.approx(stats.t.ppf(0.99, n - 1) * error, rel=0.15)
    # Four attacks share the failing level.
    assert len(ATTACKS) == 4
    assert a - found.lower == pytest.approx(stats.t.ppf(1 - 0.05 / 4, n - 1) * error, rel=0.15)


def test_rows_of_subjects_count_less() -> None:
    random = np.random.default_rng(3)
    members = random.normal(size=15).repeat(8)
    units = Units.of(120, np.arange(15).repeat(8).tolist())
    others = random.normal(size=300)
    alone, alike = attack("loss", members, others), attack("loss", members, others, units)
    assert alike.auc == alone.auc
    assert alike.upper - alike.auc > 1.7 * (alone.upper - alone.auc)
    # The same for subjects of the unseen rows.
    alone, alike = attack("loss", others, members), attack("loss", others, members, other_units=units)
    assert alike.auc == alone.auc
    assert alike.upper - alike.auc > 1.7 * (alone.upper - alone.auc)
    assert alike.auc - alike.lower > 1.7 * (alone.auc - alone.lower)


def test_levels_set_the_width() -> None:
    (members, others), _ = both(4)
    strict, loose = attack("loss", members, others), attack("loss", members, others, levels=Levels(0.1, 0.4))
    assert strict.lower < loose.lower < loose.auc < loose.upper < strict.upper


def test_bounds_hold_as_often_as_they_say() -> None:
    """150 repetitions with an AUC difference of Phi(0.5 / sqrt 2) - 0.5 = 0.138."""
    random = np.random.default_rng(5)
    truth = float(stats.norm.cdf(0.5 / math.sqrt(2 * (0.81 + 0.2025))) - 0.5)
    found = []
    for seed in random.integers(0, 10**6, 150):
        ours, theirs = both(int(seed), 40, 0.5)
        found.append(attack("loss", *ours, reference=theirs))
    assert np.mean([one.difference_upper < truth for one in found if one.difference_upper is not None]) <= 0.04
    assert np.mean([one.difference_lower > truth for one in found if one.difference_lower is not None]) <= 0.045


@pytest.mark.parametrize("n", [1, 2])
def test_a_row_or_two_prove_nothing(n: int) -> None:
    """Perfect separation of two rows leaves the bootstrap without spread, not the AUC without uncertainty."""
    high, low = [2.0] * n, [1.0] * n
    alike = attack("loss", high, low, reference=(high, low))
    assert alike.lower < 0.9
    assert alike.difference_upper is not None
    assert alike.difference_upper > auc_margin(0.15)
    apart = attack("loss", high, low, reference=(low, high))
    assert apart.difference_lower is not None
    assert apart.difference_lower < auc_margin(0.15)


# What is refused


@pytest.mark.parametrize("bad", [[], [float("nan")], [[1.0]]])
def test_scores_without_an_auc(bad: list[float]) -> None:
    with pytest.raises(ValueError, match="forget rows: "):
        attack("loss", bad, [1.0])
    with pytest.raises(ValueError, match="unseen rows: "):
        attack("loss", [1.0], bad)
    with pytest.raises(ValueError, match="forget rows: "):
        attack("loss", [1.0], [1.0], reference=(bad, [1.0]))


@pytest.mark.parametrize("reference", [([1.0], [1.0, 2.0]), ([1.0, 2.0], [1.0])])
def test_reference_of_other_rows(reference: tuple[list[float], list[float]]) -> None:
    with pytest.raises(ValueError, match="the reference's scores are of other rows"):
        attack("loss", [1.0, 2.0], [1.0, 2.0], reference=reference)


@pytest.mark.parametrize(("units", "others"), [(3, None), (1, None), (None, 1), (None, 5)])
def test_units_of_other_rows(units: int | None, others: int | None) -> None:
    made = [Units.of(count) if count else None for count in (units, others)]
    with pytest.raises(ValueError, match=r"2|3"):
        attack("loss", [1.0, 2.0], [1.0, 2.0], made[0], other_units=made[1])


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
