"""Simulated people: a few repetitions show the pattern, and every case is what its name says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from forgetctl.progress import Silent
from forgetctl.studies._settings import read_settings
from forgetctl.studies.person import EVIDENCE, PLAIN, STRESSES, Case, PersonSettings, _request, _unseen, rates, run

SMALL: dict[str, Any] = {"lead": 15.0, "lead_spread": 0.34, "repetitions": 40}


def test_the_shipped_settings_are_those_of_the_docs() -> None:
    settings = read_settings("person", PersonSettings)
    assert settings.rows == (5, 10, 20, 50)
    assert settings.lead == 15


@pytest.mark.parametrize(
    ("case", "outcome", "least"),
    [
        (Case(rows=20, left=0.0, **SMALL), "PASS", 0.9),
        (Case(rows=20, left=0.5, **SMALL), "FAIL", 1.0),
        (Case(rows=20, left=0.1, **SMALL), "INCONCLUSIVE", 0.8),
        (Case(rows=10, left=0.0, row=True, **SMALL), "FAIL", 0.3),
        (Case(rows=10, left=1.0, people=9, **SMALL), "FAIL", 1.0),
        (Case(rows=20, left=1.0, evidence=EVIDENCE[3], **SMALL), "FAIL", 1.0),
    ],
)
def test_outcomes_follow_the_truth(case: Case, outcome: str, least: float) -> None:
    assert rates(case, 0)[outcome] / case.repetitions >= least


def test_noise_is_what_a_case_says() -> None:
    """A standard deviation of 1 between two models; 1.5 of a stress; means of people that vary as they should."""
    for stress in (PLAIN, *STRESSES):
        case = Case(rows=50, left=0.0, people=200, stress=stress, **{**SMALL, "lead_spread": 0.0})
        drawn = _request(case, np.random.default_rng(0))
        noise = (drawn.model - drawn.references[0]).reshape(200, 50)
        assert noise.std() == pytest.approx(stress.scale, rel=0.15)
        alike = noise.mean(1).var() / noise.var()
        assert alike == pytest.approx(stress.correlation + (1 - stress.correlation) / 50, abs=0.06)
    unseen = _unseen(Case(rows=5, left=0.0, stress=STRESSES[3], **SMALL), np.random.default_rng(0))
    assert unseen is not None
    assert (unseen.model - unseen.references[0]).std() == pytest.approx(1, rel=0.1)


def test_a_run_has_a_row_for_each_case() -> None:
    settings = read_settings("person", PersonSettings)
    quick = settings.model_copy(update={"rows": (5,), "people": (3,), "repetitions": 2, "request_repetitions": 1})
    outcome = run(quick, Silent())
    (table,) = outcome.tables
    assert len(table.rows) == len(outcome.data["cases"]) == 6 + 1 + 9 + 16 + 4 + 1 + 3
    assert all(sum(case[name] for name in ("PASS", "FAIL", "INCONCLUSIVE")) == 1 for case in outcome.data["cases"])
