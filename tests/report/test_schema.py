"""The published JSON Schema describes every JSON report, and nothing that is damaged."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from forgetctl.errors import UsageError
from forgetctl.report.render import build, render_json
from forgetctl.report.schema import SCHEMAS, schema
from tests.report.report_records import run_record, unmeasured_record, write, write_run

VALIDATOR = Draft202012Validator(schema("report"))


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    return write_run(tmp_path)


@pytest.fixture
def rendered(run_dir: Path) -> dict[str, Any]:
    return render(run_dir)


def render(folder: Path) -> dict[str, Any]:
    """The report as somebody else reads it."""
    value = json.loads(json.dumps(render_json(build(folder)), allow_nan=False))
    assert isinstance(value, dict)
    return value


def faults(value: Any) -> list[str]:
    return [error.json_path for error in VALIDATOR.iter_errors(value)]


def test_the_schema_is_one_and_has_a_name() -> None:
    Draft202012Validator.check_schema(schema("report"))
    found = schema("report")
    assert found["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert found["$id"] == "urn:forgetctl:schema:report:4"
    assert found["title"] == "forgetctl report"
    assert found["description"]
    assert SCHEMAS == ("report",)


def test_an_unknown_name_says_which_there_are() -> None:
    with pytest.raises(UsageError, match="no schema 'verdict'; there is report"):
        schema("verdict")


def test_a_whole_report_follows_it(rendered: dict[str, Any]) -> None:
    assert faults(rendered) == []
    assert rendered["schema"] == 4
    assert set(rendered) == set(schema("report")["properties"]) == set(schema("report")["required"])


def test_a_report_before_verification_follows_it(run_dir: Path) -> None:
    for name in ("verdict.json", "plan.json", "log.jsonl", "events.jsonl", "recipe.yaml"):
        (run_dir / name).unlink()
    for path in (run_dir / "scores").iterdir():
        path.unlink()
    value = render(run_dir)
    assert faults(value) == []
    assert value["verdict"] is None


def test_a_report_about_a_model_that_no_run_made_follows_it(tmp_path: Path) -> None:
    record = run_record(kind="verify", stages={"verify": {"status": "done"}})
    for key in ("objective", "requests", "frozen", "seed", "device"):
        del record[key]
    write(tmp_path, "run.json", record)
    write(tmp_path, "verdict.json", unmeasured_record())
    assert faults(render(tmp_path)) == []


def test_records_of_a_later_version_follow_it(run_dir: Path) -> None:
    write(run_dir, "run.json", run_record(added_later=None))
    assert faults(render(run_dir)) == []


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("schema",), 1),
        (("added",), "at the top"),
        (("run", "kind"), "train"),
        (("run", "requests"), "R-7"),
        (("verdict", "verdict"), "PERHAPS"),
        (("verdict", "distances", 0, "distance", "D"), "0.2"),
        (("verdict", "curve", "points", 0, "step"), 1.5),
        (("verdict", "gibberish", "names"), ["a secret"]),
        (("verdict", "extraction", "unlearned", "greedy", "secrets"), [1]),
        (("distributions", "truth_ratio", "start", "n"), None),
        (("events", 0, "facts"), []),
        (("limits",), None),
    ],
    ids=lambda part: ".".join(map(str, part)) if isinstance(part, tuple) else None,
)
def test_damage_does_not_follow_it(rendered: dict[str, Any], place: tuple[Any, ...], value: Any) -> None:
    *above, last = place
    part = rendered
    for key in above:
        part = part[key]
    part[last] = value
    found = faults(rendered)
    assert len(found) == 1
    assert found[0].startswith("$" if place == ("added",) else f"$.{place[0]}")


def test_nothing_at_the_top_may_be_missing(rendered: dict[str, Any]) -> None:
    for key in rendered:
        without = copy.copy(rendered)
        del without[key]
        assert faults(without) == ["$"], key


def properties(part: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every property of every object in a schema."""
    for value in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from properties(value)
    if isinstance(part, dict) and isinstance(part.get("properties"), dict):
        yield from part["properties"].items()


def test_figures_say_their_units() -> None:
    found = list(properties(schema("report")))
    for name, words in (
        ("D", "0 if equal, 1 if nothing"),
        ("p", "p-value"),
        ("difference", "nats a token"),
        ("relative", "Relative change"),
        ("forget_logp_per_token", "nats a token"),
    ):
        assert any(words in json.dumps(part) for key, part in found if key == name), name
