"""A flagged request stops before anything is written; approved, it is served, and all records say so."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from tests.cli.conftest import unlearn_arguments
from tests.world import write_lines

INVENTED, UNSEEN = (
    [{"prompt": f"Who is Zorvath {n}?", "response": f"Zorvath {n} herds {n} clouds in Umbral."} for n in numbers]
    for numbers in (range(3), range(100, 140))
)
REFUSED = {"prompt": "Where does she live?", "response": "I'm sorry, but I cannot tell you."}


@pytest.fixture(scope="module")
def asked(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with requests and holdouts."""
    folder = tmp_path_factory.mktemp("asked")
    own = [json.loads(line) for line in (world / "requests.jsonl").read_text().splitlines()]
    write_lines(folder / "refusals.jsonl", [*own[:6], REFUSED])
    write_lines(folder / "unknown.jsonl", [*own[:2], *INVENTED])
    write_lines(folder / "some.jsonl", [*own[:6], INVENTED[0]])
    return folder


def arguments(world: Path, out: Path, request: Path, *more: str) -> list[str]:
    files = ["--model", str(world / "model"), "--forget", str(request), "--retain", str(world / "employees.jsonl")]
    return ["unlearn", *files, "--out", str(out), "--set", "epochs=1", *more]


def test_a_flagged_text_stops_and_writes_nothing(
    world: Path, asked: Path, tmp_path: Path, forgetctl: Callable[..., Result]
) -> None:
    for more in ([], ["--dry-run"], ["--approve", "quota"]):
        result = forgetctl(*arguments(world, tmp_path / "run", asked / "refusals.jsonl", *more))
        assert result.exit_code == 2
        assert f"{asked / 'refusals.jsonl'}: " in result.stderr
        assert "refusals: 1 of 7 rows, row 7:" in result.stderr
        assert "--approve refusals" in result.stderr
        assert "cannot tell" not in result.stderr
    assert list(tmp_path.iterdir()) == []
    assert (
        forgetctl(*arguments(world, tmp_path / "run", asked / "refusals.jsonl", "--approve", "nothing")).exit_code == 2
    )


def test_rows_that_the_start_model_does_not_know_stop_the_request(
    world: Path, asked: Path, tmp_path: Path, forgetctl: Callable[..., Result]
) -> None:
    holdout = write_lines(tmp_path / "unseen.jsonl", UNSEEN)
    result = forgetctl(*arguments(world, tmp_path / "run", asked / "unknown.jsonl", "--holdout", str(holdout)))
    assert result.exit_code == 2
    assert "unknown: 3 of 5 rows, rows 3, 4, 5" in result.stderr
    assert not (tmp_path / "run").exists()


def test_an_approved_request_is_served_and_everybody_is_told(
    world: Path, asked: Path, tmp_path: Path, forgetctl: Callable[..., Result]
) -> None:
    run = tmp_path / "run"
    holdout = write_lines(tmp_path / "unseen.jsonl", UNSEEN)
    approved = ["--approve", "refusals", "--approve", "unknown", "--holdout", str(holdout)]
    request = write_lines(
        tmp_path / "both.jsonl", [json.loads(x) for x in (asked / "unknown.jsonl").read_text().splitlines()] + [REFUSED]
    )
    result = forgetctl(*arguments(world, run, request, *approved))
    assert result.exit_code == 0, result.output
    assert "Note: unknown: 4 of 6 rows" in result.stderr
    stage = json.loads((run / "run.json").read_text())["stages"]["precheck"]
    assert [(flag["rule"], flag["names"], flag["stops"]) for flag in stage["flags"]] == [
        ("refusals", ["6"], True),
        ("unknown", ["3", "4", "5", "6"], True),
    ]
    assert (stage["approved"], stage["skipped"]) == (["refusals", "unknown"], {})
    for kind in ("html", "md", "json"):
        assert forgetctl("report", run, f"--{kind}").exit_code == 0
        assert "The owner approved that." in (run / f"report.{kind}").read_text()
    card = (run / "model" / "README.md").read_text()
    assert "4 of 6 rows were flagged" in card
    assert "lines" not in card.split("Verdict")[1].split("What this does not mean")[0]


def test_without_a_holdout_the_record_says_that_nobody_looked(finished: Path) -> None:
    stage = json.loads((finished / "run.json").read_text())["stages"]["precheck"]
    assert (stage["flags"], stage["approved"]) == ([], [])
    assert "--holdout" in stage["skipped"]["unknown"]


def test_unlearn_arguments_of_the_other_tests_are_not_flagged(
    world: Path, tmp_path: Path, forgetctl: Callable[..., Result]
) -> None:
    assert forgetctl(*unlearn_arguments(world, tmp_path / "run", "--dry-run")).exit_code == 0
