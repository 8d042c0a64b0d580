"""Verdicts in a terminal: every check readable at any width, nothing a name could do to the screen."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from forgetctl.cli.terminal import show_verdict
from forgetctl.verify.record import Verdict
from tests.report.report_records import verdict_record

NAME = "truth ratio, rephrased 1 (the-request-in-other-words-of-last-march.jsonl), mean"


def shown(capsys: pytest.CaptureFixture[str], verdict: dict[str, Any]) -> str:
    show_verdict(Verdict.model_validate(verdict))
    return capsys.readouterr().out


def test_figures_are_shown_where_measured(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, verdict_record())
    for words, figures in (
        ("Forget rows: probability", "0.9110 0.0214 0.1310"),
        ("Forget rows: exact memorisation", "0.9910 0.4120 0.4230"),
        ("Forget rows: extraction strength", "0.9560 0.1210 0.1430"),
        ("Model utility", "0.7550 0.7330 -"),
        ("Forget rows: truth ratio", "0.2130 0.6110 -"),
    ):
        line = next(line for line in text.splitlines() if line.strip().startswith(words))
        assert line.split()[-3:] == figures.split()
    assert "retain distance -" in text


def test_new_measures_that_nobody_has_take_no_room(capsys: pytest.CaptureFixture[str]) -> None:
    verdict = verdict_record()
    for model in verdict["models"].values():
        model |= dict.fromkeys(("exact_memorisation", "model_utility", "model_utility_geometric", "rouge"))
        model["extraction_strength"] = None
    del verdict["models"]["reference"]
    text = shown(capsys, verdict)
    assert "Forget rows: ROUGE-L recall" in text
    assert not any(words in text for words in ("exact memorisation", "extraction strength", "Model utility"))


@pytest.mark.parametrize("width", [60, 80, 140])
def test_long_names_leave_the_finding_its_room(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, width: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    check = {"name": NAME, "status": "unknown", "about": "forgotten", "code": "X", "text": "word " * 60}
    lines = shown(capsys, verdict_record(checks=[check], verdict="INCONCLUSIVE")).splitlines()
    told = [line for line in lines if "word word" in line]
    assert all(len(line) <= width for line in told)
    assert len(told) <= 60 // ((width - 40) // 5) + 1  # at least width - 40 columns for the finding
    assert sum(line.split().count("word") for line in lines) == 60


def test_the_deciding_checks_are_named_last(capsys: pytest.CaptureFixture[str]) -> None:
    names = {"a": "pass", "b": "fail", "c": "unknown", "d": "skipped"}
    checks = [
        {"name": name, "status": status, "about": "kept", "code": "X", "text": "."} for name, status in names.items()
    ]
    for outcome, ending in (("PASS", ""), ("FAIL", " (b)"), ("INCONCLUSIVE", " (b; c)")):
        text = shown(capsys, verdict_record(checks=checks, verdict=outcome))
        assert text.rstrip().splitlines()[-1] == f"Verdict: {outcome}{ending}"


def test_people_are_named_where_the_request_is_at_hand(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    verdict = Verdict.model_validate(verdict_record())
    show_verdict(verdict, ["u-17\x1b", None])
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "1 (u-17\ufffd) FAIL 25 31 % to 45 % of what the model knew is left" in lines
    assert "2 NOT KNOWN 12 the model knew nothing that could be forgotten" in lines
    assert lines[-2:] == ["Forgotten: FAIL Kept: PASS", "Verdict: FAIL (answer log-prob)"]
    assert "u-17" not in shown(capsys, verdict_record())


def test_names_cannot_move_the_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    hostile = "\x1b[2Jx[bold]\u202e"
    verdict = copy.deepcopy(verdict_record(skipped=[{"check": hostile, "reason": hostile, "source": "measuring"}]))
    verdict["checks"] = [{"name": hostile, "status": "fail", "about": "forgotten", "code": "X", "text": hostile}]
    text = shown(capsys, verdict)
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "[bold]" in text
