"""Perplexity of text that no model saw: what passes, fails and decides nothing."""

from __future__ import annotations

import math

import pytest

from forgetctl.model.scores import ScoreSet
from forgetctl.recipe.bounds import Bounds
from forgetctl.verify.checks import perplexity
from forgetctl.verify.checks.perplexity import Perplexity, rows_to_see
from forgetctl.verify.collected import Collected
from forgetctl.verify.findings import Check
from forgetctl.verify.statistics.means import Rise
from tests.verify.handmade import collected, model, rows
from tests.verify.measured import judged, replace

BOUNDS = Bounds()
FORGET = rows([-1.0])
LIMIT = math.log(1.02)


def unseen(now: ScoreSet | None, start: ScoreSet | None, reference: ScoreSet | None = None) -> Collected:
    sets = [{} if one is None else {"holdout": one} for one in (now, start, reference)]
    references = () if reference is None else (model("reference", FORGET, **sets[2]),)
    return collected(model("unlearned", FORGET, **sets[0]), "holdout", model("start", FORGET, **sets[1]), references)


def test_rises_by_hand() -> None:
    """Two tokens each: -4 and -6 were 2.5 nats a token at the start, -5 and -6 of the reference 2.75, now 3."""
    now, start, reference = (rows(logp, answer_tokens=[2, 2]) for logp in ([-6.0, -6.0], [-4.0, -6.0], [-5.0, -6.0]))
    found = perplexity.measure(unseen(now, start, reference), BOUNDS)
    assert found is not None
    assert (found.start.before, found.start.now, found.start.rise) == (2.5, 3.0, 0.5)
    assert found.reference is not None
    assert (found.reference.before, found.reference.rise) == (2.75, 0.25)


@pytest.mark.parametrize("missing", [0, 1])
def test_nothing_to_compare(missing: int) -> None:
    same = rows([-1.0, -2.0])
    other = rows([-1.0, -2.0], answer_tokens=[1, 2])
    for instead in (None, other):
        first, second = (instead if place == missing else same for place in range(2))
        assert perplexity.measure(unseen(first, second), BOUNDS) is None
    found = perplexity.measure(unseen(same, same, other), BOUNDS)
    assert found is not None
    assert found.reference is None


def check(start: Rise, reference: Rise | None = None) -> Check:
    (found,) = judged(perplexity.MEASURE, Perplexity(start=start, reference=reference))
    return found


def rise(value: float, lower: float, upper: float, n: int = 300) -> Rise:
    return Rise(before=5.0, now=5.0 + value, rise=value, lower=lower, upper=upper, n=n)


LESS, OPEN, MORE, MUCH = rise(-0.03, -0.04, 0.01), rise(0.0, -0.1, 0.1), rise(0.05, 0.03, 0.07), rise(0.2, 0.11, 0.3)


@pytest.mark.parametrize(
    ("start", "reference", "status", "code"),
    [
        (LESS, None, "pass", "UNSEEN_KEPT"),
        (MORE, LESS, "pass", "UNSEEN_KEPT"),
        (replace(LESS, upper=LIMIT), None, "reported", "UNSEEN_REPORTED"),  # is not below the limit
        (replace(LESS, n=227), None, "reported", "UNSEEN_REPORTED"),
        (replace(LESS, n=228), None, "pass", "UNSEEN_KEPT"),
        (OPEN, None, "reported", "UNSEEN_REPORTED"),
        (OPEN, MORE, "reported", "UNSEEN_REPORTED"),
        (MORE, None, "unknown", "UNSEEN_UNSURE"),
        (MUCH, MORE, "unknown", "UNSEEN_UNSURE"),
        (MUCH, MUCH, "fail", "UNSEEN_DAMAGED"),
        (replace(MUCH, lower=5 * LIMIT - 1e-9), None, "unknown", "UNSEEN_UNSURE"),
    ],
)
def test_limits(start: Rise, reference: Rise | None, status: str, code: str) -> None:
    found = check(start, reference)
    assert (found.status, found.code) == (status, code)
    assert "limit +0.020, which is +2% of perplexity" in found.text


def test_so_many_rows_that_a_kind_of_two_in_a_hundred_is_among_them() -> None:
    """.98^228 = .00999."""
    assert rows_to_see(0.02, 0.01) == 228
    assert rows_to_see(0.0, 0.01) == 0
