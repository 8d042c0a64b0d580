"""NPO becomes gradient ascent as beta goes to 0: in loss, in gradient and along the way."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from forgetctl.progress import Silent
from forgetctl.studies import proposition1
from forgetctl.studies._settings import read_settings
from forgetctl.studies.proposition1 import Proposition1Settings


def check(data: Any) -> None:
    limits = data["limits"]
    for larger, smaller in itertools.pairwise(limits):
        ratio = larger["beta"] / smaller["beta"]
        assert larger["loss"] > smaller["loss"]
        assert larger["gradient"] > smaller["gradient"]
        if larger["beta"] <= 0.01:  # in proportion to beta once it is small
            assert larger["gradient"] / smaller["gradient"] == pytest.approx(ratio, rel=0.1)
    for row in limits:
        if row["beta"] <= 0.01:
            assert row["loss"] == pytest.approx(row["predicted"], rel=0.01)
    assert limits[-1]["gradient"] < 1e-4
    curves = sorted((c for c in data["curves"].values() if c["beta"]), key=lambda curve: curve["beta"])
    apart = [curve["parameters_from_ga"] for curve in curves]
    assert apart == sorted(apart), "the smaller beta, the nearer to GA"
    retain = [curve["retain"][-1] for curve in curves]
    assert retain == sorted(retain, reverse=True), "the larger beta, the less is damaged"
    assert retain[0] <= data["curves"]["ga"]["retain"][-1]


def test_limits_and_trajectories_on_two_seeds() -> None:
    full = read_settings("proposition1", Proposition1Settings)
    world = full.world.model_copy(update={"pretraining_steps": 2000})
    quick = full.model_copy(update={"seeds": full.seeds[:2], "world": world, "steps": 1000, "every": 50})
    check(proposition1.run(quick, Silent()).data)


@pytest.mark.slow
def test_the_full_study() -> None:
    outcome = proposition1.study(Silent())
    check(outcome.data)
    assert len(outcome.data["steps"]) == 2001
