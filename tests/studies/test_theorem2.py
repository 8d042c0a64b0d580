"""GA leaves the start linearly, NPO logarithmically."""

from __future__ import annotations

from typing import Any

import pytest

from forgetctl.progress import Silent
from forgetctl.studies import theorem2
from forgetctl.studies._settings import read_settings
from forgetctl.studies.theorem2 import Theorem2Settings


def check(data: Any) -> None:
    runs = data["runs"]
    assert runs["ga"]["linear"]["r2"] > 0.999
    assert runs["ga"]["logarithmic"]["r2"] < 0.9
    npo = {name: run for name, run in runs.items() if name != "ga"}
    for name, run in npo.items():
        assert run["logarithmic"]["r2"] > 0.98, name
        assert run["linear"]["r2"] < 0.9, name
        assert run["distance"][-1] < 0.1 * runs["ga"]["distance"][-1]
    slopes = [run["logarithmic"]["slope"] for run in npo.values()]
    assert slopes == sorted(slopes, reverse=True), "the larger beta, the slower"
    assert slopes[0] / slopes[1] == pytest.approx(2, rel=0.25), "about in proportion to 1/beta"


def test_growth_on_two_seeds() -> None:
    full = read_settings("theorem2", Theorem2Settings)
    check(theorem2.run(full.model_copy(update={"seeds": full.seeds[:2], "steps": 3000, "every": 30}), Silent()).data)


def test_more_rows_than_dimensions_are_refused() -> None:
    full = read_settings("theorem2", Theorem2Settings)
    with pytest.raises(ValueError, match="forget_rows <= dimensions"):
        Theorem2Settings.model_validate({**full.model_dump(), "dimensions": 10})


@pytest.mark.slow
def test_the_full_study() -> None:
    check(theorem2.study(Silent()).data)
