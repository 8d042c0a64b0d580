"""Successive halving: what is drawn, what goes on, and what is best."""

from __future__ import annotations

import math

import numpy as np
import pytest

from forgetctl.tune._halving import Trial, draw, promoted, ranked, rung_epochs

FIRST = {"learning_rate": 1e-5}


def trial(number: int, distance: float | None, utility: float | None = 1.0) -> Trial:
    return Trial(number=number, rung=0, settings=FIRST, distance=distance, utility=utility, seconds=1.0)


def test_draws_begin_with_the_recipes_own_and_stay_when_more_are_asked_for() -> None:
    few, many = (draw(count, {"learning_rate": (1e-6, 1e-2)}, FIRST, seed=3) for count in (3, 9))
    assert few[0] == FIRST
    assert many[:3] == few
    assert len(many) == 9


def test_draws_are_even_on_a_logarithmic_scale() -> None:
    drawn = [math.log10(one["learning_rate"]) for one in draw(4001, {"learning_rate": (1e-6, 1e-2)}, FIRST, 0)[1:]]
    counts, _ = np.histogram(drawn, bins=4, range=(-6, -2))
    assert counts.sum() == 4000
    assert (abs(counts - 1000) < 120).all()


@pytest.mark.parametrize(("epochs", "rungs"), [(20, [5, 10, 20]), (10, [2, 5, 10]), (2, [1, 2]), (1, [1])])
def test_rungs(epochs: int, rungs: list[int]) -> None:
    assert rung_epochs(epochs) == rungs


def test_closest_first_but_only_of_those_that_keep_enough() -> None:
    trials = [trial(0, 0.3), trial(1, 0.1), trial(2, 0.01, 0.5), trial(3, None, None), trial(4, 0.02, 0.9)]
    assert [one.number for one in ranked(trials, 0.95)] == [1, 0, 4, 2, 3]


def test_a_third_goes_on() -> None:
    trials = [trial(number, number / 100) for number in range(9, 0, -1)]
    assert promoted(trials, 0.95) == [1, 2, 3]
    assert promoted(trials[:2], 0.95) == [8]


def test_nothing_that_diverged_goes_on() -> None:
    assert promoted([trial(0, None, None), trial(1, None, None)], 0.95) == []
    assert promoted([trial(0, None, None), trial(1, 0.9, 0.1)], 0.95) == [1]
