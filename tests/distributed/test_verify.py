"""Two processes verify as one does: same scores, same answers, one verdict."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import QUICK, process
from tests.distributed.launching import ended, launch

pytestmark = pytest.mark.slow
CLOSE = 1e-5


def arguments(world: Path, out: Path, *more: str) -> list[str]:
    """Everything that is scored, teacher-forced and generated, for a model and a reference."""
    files = {"--model": "model", "--forget": "requests.jsonl", "--retain": "remaining.jsonl"}
    files |= {"--holdout": "holdout.jsonl", "--reference": "reference", "--rephrased": "requests.jsonl"}
    named = [part for option, name in files.items() for part in (option, str(world / name))]
    return ["verify", *named, "--out", str(out), *QUICK, "--set", "verify.sampled_rows=7", *more]


def leaves(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Every plain value of a file with its place in it."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, part in items:
            yield from leaves(part, f"{place}/{key}")
    else:
        yield place, value


def check_same(run: Path, alone: Path) -> float:
    """Figures of log-probabilities are close, all others equal: those of answers, sampled ones too, among them.

    Returns the largest difference, relative where a value is above 1.
    """
    names = sorted(path.name for path in (alone / "scores").iterdir())
    assert [path.name for path in sorted((run / "scores").iterdir())] == names != []
    furthest = 0.0
    for file in [*(f"scores/{name}" for name in names), "verdict.json"]:
        ours, theirs = (dict(leaves(json.loads((place / file).read_text()))) for place in (run, alone))
        assert ours.keys() == theirs.keys()
        for place, expected in theirs.items():
            if place.startswith(("/created", "/digest", "/inputs", "/basis", "/checks")):
                continue  # a time, digests and keyed commitments; the checks' words round the same figures
            if "/elicited/" in place or not isinstance(expected, float):
                assert ours[place] == expected, f"{file}{place}"
            else:
                furthest = max(furthest, abs(ours[place] - expected) / max(1, abs(expected)))
                assert furthest < CLOSE, f"{file}{place}: {ours[place]} {expected}"
    return furthest


@pytest.fixture(scope="module")
def alone(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("alone") / "run"
    code, _, errors = ended(process(*arguments(world, run, "--deep")))
    assert code in (0, 3, 4), errors
    return run


@pytest.mark.parametrize("engine", ["ddp", "fsdp2"])
def test_two_processes_verify_as_one(engine: str, world: Path, tmp_path: Path, alone: Path) -> None:
    """Whatever the launcher shards with: all score with whole models, and `--deep` trains in all of them."""
    run = tmp_path / "run"
    _, output, errors = ended(launch(engine, *arguments(world, run, "--deep", "--json")), 500)
    assert (run / "verdict.json").exists(), errors
    print(f"\n{engine:6} verify: largest difference {check_same(run, alone):.1e}")
    verdict = json.loads((run / "verdict.json").read_text())
    assert json.loads(output) == verdict  # told once
    assert [check["status"] for check in verdict["checks"]] == [
        check["status"] for check in json.loads((alone / "verdict.json").read_text())["checks"]
    ]
    record = json.loads((run / "run.json").read_text())
    assert record["stages"]["verify"]["verdict"] == verdict["verdict"]
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    assert [event["facts"].get("status") for event in events if event["event"] == "verify"] == ["running", "done"]


def test_more_processes_than_rows(world: Path, tmp_path: Path) -> None:
    one = tmp_path / "one.jsonl"
    one.write_text((world / "requests.jsonl").read_text().splitlines()[0] + "\n")
    given = ["verify", "--model", str(world / "model"), "--reference", str(world / "reference"), "--forget", str(one)]
    given += [*QUICK, "--out"]
    code, _, errors = ended(process(*given, str(tmp_path / "alone")))
    assert code in (0, 3, 4), errors
    _, _, errors = ended(launch("ddp", *given, str(tmp_path / "run")), 500)
    assert (tmp_path / "run" / "verdict.json").exists(), errors
    check_same(tmp_path / "run", tmp_path / "alone")


def test_an_input_that_is_wrong_is_told_once_and_nothing_is_written(world: Path, tmp_path: Path) -> None:
    given = arguments(world, tmp_path / "run")
    given[given.index("--holdout") + 1] = str(world / "requests.jsonl")
    code, _, errors = ended(launch("ddp", *given), 500)
    assert code != 0
    assert errors.count(f"{world / 'requests.jsonl'}:1: is one of the rows to forget or to retain") == 1
    assert not (tmp_path / "run").exists()
