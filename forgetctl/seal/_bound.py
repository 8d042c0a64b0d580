"""Whether run.json, commitments, pairs and log are those that the events name, and say the same figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from ..files.canonical import parse_object
from ..recipe.recipe import read_recipe
from ..runs.run import BOUND, given_digest
from ._checks import Finding
from ._consistency import Records

_LASTING = ("running", "done")
"""A stage that was interrupted may be told by an event alone: a crash before run.json was written loses it there."""


def check_bound(records: Records) -> Iterator[Finding]:
    """Everything beside the events is what they say it was when it was made, and every figure stands once."""
    bound = [event for event in records.events if event.event == BOUND]
    if len(bound) == 1:
        yield from _given(records, bound[0].facts)
        work = [event.n for event in records.events if event.event in ("unlearn", "verify")]
        if work and min(work) < bound[0].n:
            yield Finding("record", "policy", "the request was fixed after the work had begun")
    else:
        why = f"the events fix request, pairs and settings {len(bound)} times, which must be once"
        yield Finding("record", "policy", f"{why}; a run of an earlier forgetctl fixes none")
    yield from _stages(records)
    yield from _log(records)
    yield from _counts(records)
    yield from _recipe(records)
    yield from _reached(records)


def _given(records: Records, bound: Mapping[str, Any]) -> Iterator[Finding]:
    run, held = records.run, records.bundle.manifest.digests()
    files = (run.commitments_file, run.pairs_file)
    now = {file.name: held[file.name] for file in files if file.name in held}
    now[run.record_file.name] = given_digest(run.record)
    for name in sorted(now.keys() | bound.keys()):
        if now.get(name) != bound.get(name):
            part = " (something other than its stages)" if name == run.record_file.name else ""
            yield Finding("record", "broken", f"{name} is not what the events fixed before the work began{part}")


def _stages(records: Records) -> Iterator[Finding]:
    """Every figure of a stage is one that an event of it gave, and none of them is missing."""
    for name, stage in records.run.record.get("stages", {}).items():
        told: dict[str, list[Any]] = {}
        lasting: set[str] = set()
        for event in records.events:
            if event.event != name or "status" not in event.facts:
                continue
            status = event.facts["status"]
            facts = {**event.facts, f"{status}_at": event.time}
            for key, value in facts.items():
                told[key] = [value] if status in _LASTING else [*told.get(key, []), value]
            lasting |= facts.keys() if status in _LASTING else set()
        for key in sorted((stage.keys() | lasting) - {"status"}):
            if key not in stage or stage[key] not in told.get(key, []):
                yield Finding("record", "broken", f"run.json says otherwise of {name}.{key} than the events")


def _log(records: Records) -> Iterator[Finding]:
    run = records.run
    if run.record.get("kind") != "unlearn":
        return
    held = records.bundle.manifest.digests().get(run.log_file.name)
    if run.record.get("stages", {}).get("unlearn", {}).get("log_sha256") != held:
        yield Finding("record", "broken", f"{run.log_file.name} is not the log of the training that the events tell of")


def _counts(records: Records) -> Iterator[Finding]:
    """Rows are counted alike by run.json, commitments, pairs and scores."""
    run, stages = records.run, records.run.record.get("stages", {})
    rows = run.record["inputs"]["forget"]["rows"]
    committed = parse_object(records.bundle.data(run.commitments_file.name))["requests"]
    if "scores" not in run.record["inputs"]:  # of scores alone nobody knows the rows
        if sum(len(part["rows"]) for part in committed) != rows:
            yield Finding("record", "broken", "run.json and the commitments count different forget rows")
        named = [part["request"] for part in committed if part["request"] is not None]
        if named != run.record.get("requests", []) and "requests" in run.record:
            yield Finding("record", "broken", "run.json and the commitments name different requests")
    if run.record.get("kind") != "unlearn":
        return
    pairs = parse_object(records.bundle.data(run.pairs_file.name))
    chosen = {"retain_rows": len(pairs["train"]), "check_rows": len(pairs["check"]), "excluded": pairs["excluded"]}
    if any(stages.get("pairing", {}).get(key) != value for key, value in chosen.items()):
        yield Finding("record", "broken", f"run.json and {run.pairs_file.name} count different retain rows")


def _recipe(records: Records) -> Iterator[Finding]:
    """Seed and method are those of the recipe that was fixed."""
    run, recipe = records.run, read_recipe(records.run.recipe_file)
    if run.record.get("seed") != recipe.seed:
        yield Finding("record", "broken", "run.json has another seed than the recipe")
    if run.record.get("kind") == "unlearn" and run.record.get("objective", {}).get("method") != recipe.name:
        yield Finding("record", "broken", "run.json has another method than the recipe")


def _reached(records: Records) -> Iterator[Finding]:
    """The verdict was reached between the beginning and the end of the verification."""
    told = [event for event in records.events if event.event == "verify"]
    begun = [event.time for event in told if event.facts.get("status") == "running"]
    done = [event.time for event in told if event.facts.get("status") == "done"]
    if not begun or not done:
        yield Finding("record", "broken", "the events tell of no whole verification")
        return
    created = datetime.fromisoformat(records.verdict.created)
    if not datetime.fromisoformat(begun[-1]) <= created <= datetime.fromisoformat(done[-1]):
        yield Finding("record", "broken", f"{records.run.verdict_file.name} was made at another time than events tell")
