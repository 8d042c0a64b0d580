"""What earlier runs made a model forget: in every report, and in the card without names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from forgetctl.report.card import card
from forgetctl.report.render import build, render_json, render_markdown
from forgetctl.report.schema import schema
from tests.report.report_records import html, interval, run_record, shift, verdict_record, write, write_run

COMMITMENT = "hmac-sha256:" + "1e" * 32


def markdown(folder: Path) -> str:
    return render_markdown(build(folder))


def ancestor(run: str, **changes: Any) -> dict[str, Any]:
    return {
        "run": run,
        "created": "2025-11-02T03:04:05+00:00",
        "method": "ga-rt",
        "requests": ["OLD-1", "OLD-2"],
        "rows": 21,
        "commitment": COMMITMENT,
        "commitments_sha256": "2e" * 32,
        "model_sha256": "3e" * 32,
        "verdict": "PASS",
        "verdict_sha256": "4e" * 32,
        **changes,
    }


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """Two earlier runs, the second of which was not verified, and a verification of what the first forgot."""
    write_run(tmp_path)
    second = ancestor("older-2", rows=1200, requests=[], verdict=None, verdict_sha256=None, model_sha256="5e" * 32)
    write(tmp_path, "run.json", run_record(lineage=[ancestor("older-1"), second]))
    counted = {"more": 2, "fewer": 0, "total": 9, "p": 0.25, "names": ["3", "4"]}
    found = {
        "name": "1 (older-1)",
        "shift": shift(0.777, 1.3),
        "distance": interval(0.444, 0.333, 0.555, "rows", 21),
        "secrets": counted,
        "whole": None,
    }
    write(tmp_path, "verdict.json", verdict_record(earlier=[found]))
    return tmp_path


def test_every_report_tells_the_lineage(run_dir: Path) -> None:
    for text in (html(run_dir).text, markdown(run_dir)):
        for told in ("older-1", "older-2", "OLD-1, OLD-2", "21 rows", "1,200 rows", "not verified", "ga-rt"):
            assert told in text, told
        for digest in (COMMITMENT, "2e" * 32, "3e" * 32, "4e" * 32, "5e" * 32):
            assert digest in text, digest
        assert text.index("older-1") < text.index("older-2")
        assert "a model that 2 earlier requests of 1,221 rows had been unlearned from" in text


def test_the_json_report_has_all_of_it(run_dir: Path) -> None:
    value = render_json(build(run_dir))
    assert value["run"]["lineage"][0] == ancestor("older-1")
    assert value["verdict"]["earlier"][0]["shift"]["difference"] == 0.777
    assert list(Draft202012Validator(schema("report")).iter_errors(value)) == []


def test_figures_of_what_was_forgotten_earlier(run_dir: Path) -> None:
    text = markdown(run_dir)
    assert "What was forgotten earlier" in text
    (line,) = [line for line in text.splitlines() if line.startswith("| 1 (older-1) |")]
    assert "+0.777 (+0.577 to +0.977; limit +" in line
    assert "0.444 (0.333 to 0.555)" in line
    assert line.endswith("| 37 | 2 (of 9) | – |")


def test_the_card_names_neither_runs_nor_requests(run_dir: Path) -> None:
    text = card(build(run_dir), base_model=None, license=None)
    assert "| 21 | PASS | " + "3e" * 32 + " |" in text
    assert "| 1,200 | not verified | " + "5e" * 32 + " |" in text
    for private in ("older", "OLD", COMMITMENT, "2e" * 32, "4e" * 32):
        assert private not in text, private


def test_a_run_that_began_with_a_model_from_outside_tells_of_none(tmp_path: Path) -> None:
    write_run(tmp_path)
    for text in (markdown(tmp_path), card(build(tmp_path), base_model=None, license=None)):
        assert "ineage" not in text
        assert "Began with" not in text
        assert "forgotten earlier" not in text
    assert render_json(build(tmp_path))["run"]["lineage"] == []
