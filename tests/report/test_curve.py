"""Forget quality and usefulness over training: a table and a plot of what was measured, called information only."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from forgetctl.recipe.bounds import Bounds
from forgetctl.report.plot_curve import curve_plot, measured
from forgetctl.report.render import build, render_html, render_markdown
from forgetctl.verify.checks.curve import Curve, table
from forgetctl.verify.registry import findings
from forgetctl.verify.tables import Shown, Table
from tests.report.report_records import html, point, verdict_record, write, write_run


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return write_run(tmp_path)


def curve(*points: dict[str, Any]) -> Curve:
    return Curve.model_validate({"score": "answer log-prob", "points": points})


def tables(finding: Curve | None) -> tuple[Table, ...]:
    return tuple(table(finding, Shown(findings(), Bounds(), {})))


def panels(svg: str | None) -> set[str]:
    return set(re.findall(r">(Distance D|p, KS test \(logarithmic\)|Probability of the answers)<", svg or ""))


def test_the_table_has_a_row_for_every_state_and_only_what_was_measured() -> None:
    (table,) = tables(curve(point(0, 0.4, 1e-9, 0.9, 0.8), point(7, None, None, 0.5, 0.7)))
    assert table.columns == ("Step", "Epoch", "Distance D", "p, KS test", "Forget probability", "Retain probability")
    assert [row.label for row in table.rows] == ["0, the start model", "7"]
    assert table.rows[1].cells == (("1",), ("–",), ("–",), ("0.500",), ("0.700",))
    assert "compare the answer log-probabilities" in table.caption
    (table,) = tables(curve(point(0, None, None, 0.9, None)))
    assert table.columns == ("Step", "Epoch", "Forget probability")
    assert "reference" not in table.caption


def test_nothing_scored_leaves_no_table() -> None:
    assert tables(None) == ()
    assert tables(curve()) == ()


def test_the_plot_has_a_panel_for_each_thing_that_was_measured() -> None:
    every = curve(point(0, 0.4, 0.0, 0.9, 0.8), point(7, 0.2, 0.5, 0.5, None))
    assert panels(curve_plot("c", "t", every)) == {
        "Distance D",
        "p, KS test (logarithmic)",
        "Probability of the answers",
    }
    assert panels(curve_plot("c", "t", curve(point(0, None, None, 0.9, None)))) == {"Probability of the answers"}
    assert measured(curve()) == {}


def test_the_plot_tells_its_ends_to_those_who_cannot_see_it() -> None:
    svg = curve_plot("c", "t", curve(point(0, 0.4, 1e-9, 0.9, None), point(7, 0.2, 0.5, 0.9, None)))
    assert 'aria-label="t: 2 states of the model; D from 0.400 to 0.200; p from 1.0e-09 to 0.500; ' in svg
    assert "forget probability from 0.900 to 0.900" in svg


def test_the_report_calls_it_information_only(run_dir: Path) -> None:
    page, text = " ".join(html(run_dir).text.split()), render_markdown(build(run_dir))
    words = "This is for information only: no state of the model was chosen, and no training stopped, by it."
    assert words in page
    assert words in text
    assert "for information only: nothing was chosen or stopped by it" in page
    assert "compare the truth ratios" in page


def test_without_a_curve_the_reason_is_told(run_dir: Path) -> None:
    reason = "the model was not scored during training (--track)"
    skipped = [{"check": "curve", "reason": reason, "source": "scores"}]
    write(run_dir, "verdict.json", verdict_record(curve=None, skipped=skipped))
    assert 'aria-label="Over training' not in render_html(build(run_dir))
    for text in (html(run_dir).text, render_markdown(build(run_dir))):
        assert "Over training" not in text
        assert "the model was not scored during training (--track)" in text
