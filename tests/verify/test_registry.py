"""Every check is found in its folder, says all about itself, and is described where it is defined."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import get_args

import pytest
from pydantic import ValidationError

from forgetctl.recipe.bounds import Bounds
from forgetctl.verify import checks
from forgetctl.verify.findings import Measure
from forgetctl.verify.record import Verdict
from forgetctl.verify.registry import COUNT_CHECKS, MEASURES, WORKS, Findings, findings
from forgetctl.verify.tables import ROLES, Shown, merged
from tests.verify.measured import FULL
from tests.verify.verdicts import complete

MODULES = sorted(path.stem for path in Path(checks.__path__[0]).glob("[!_]*.py"))
SHOWN = Shown(findings(), Bounds(), {role: role.title() for role in ROLES})


def test_every_module_is_a_check_of_its_own_name() -> None:
    assert sorted(measure.key for measure in MEASURES) == MODULES
    for name in MODULES:
        module = importlib.import_module(f"{checks.__name__}.{name}")
        assert module.__doc__
        assert (module.MEASURE.key, module.MEASURE.measure) == (name, module.measure)


def test_places_are_told_apart() -> None:
    places = [measure.place for measure in MEASURES]
    assert places == sorted(set(places))


def test_a_finding_has_the_shape_that_its_measurement_returns() -> None:
    fields = Findings.model_fields
    assert list(fields) == [measure.key for measure in MEASURES]
    for measure in MEASURES:
        assert fields[measure.key].is_required()
        assert type(None) in get_args(measure.shape) or measure.empty is not None


def test_nothing_stands_in_for_a_finding_that_is_missing() -> None:
    values = dict(FULL)
    for key in values:
        with pytest.raises(ValidationError, match=key):
            Findings(**{name: value for name, value in values.items() if name != key})


def test_findings_of_nothing_say_that_nothing_was_measured() -> None:
    for measure in MEASURES:
        assert measure.of(findings()) == measure.empty
        assert list(measure.table(measure.empty, SHOWN)) == [] or measure.key == "kl"  # which says "not measured"


@pytest.mark.parametrize("measure", MEASURES, ids=lambda measure: measure.key)
def test_a_check_has_a_section_where_it_has_a_table(measure: Measure[object]) -> None:
    found = measure.measure(complete(12), Bounds())
    tables = list(measure.table(found, SHOWN))
    assert not tables or measure.heading is not None
    for table in merged(tables):
        assert table.caption.endswith((".", "?"))
        assert all(len(row.cells) == len(table.columns) - 1 for row in table.rows)


def test_the_checks_of_counts_share_one_level() -> None:
    assert {measure.key for measure in MEASURES if measure.counts} == {
        *("whole_answers", "samples", "single_rows", "gibberish")
    }
    assert COUNT_CHECKS == 4


def test_work_on_models_is_told_by_its_variant() -> None:
    assert {variant: work.option for variant, work in WORKS.items()} == {"relearned": "--deep"}


def test_a_verdict_holds_every_finding() -> None:
    assert set(Findings.model_fields) < set(Verdict.model_fields)
