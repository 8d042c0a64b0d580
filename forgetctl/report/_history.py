"""A run's events and digests -> rows of the tables for auditors, the same in every format."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ..verify.record import Verdict
from ..verify.tables import number
from ._formats import size
from .records import Event, Input, Report

MOST_EVENTS = 40
"""Of more events than this only the latest are shown; the JSON report has all."""
ROLES = {"start": "start model", "reference": "reference"}


def history(events: tuple[Event, ...]) -> list[tuple[str, str, str]]:
    """Time, name and facts of the latest events, in the order in which they happened."""
    return [(event.time, event.event, _facts(event.facts)) for event in events[-MOST_EVENTS:]]


def _facts(facts: dict[str, Any]) -> str:
    """The facts that fit in a table: the status first, then digests and counts."""
    ordered = sorted(facts.items(), key=lambda fact: fact[0] != "status")
    shown = ((key.replace("_", " "), _fact(value)) for key, value in ordered)
    return "; ".join(f"{key}: {value}" for key, value in shown if value)


def _fact(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return re.sub(r"\b([0-9a-f]{16})[0-9a-f]{48}\b", r"\1…", value)  # digests: enough to tell them apart
    return number(value) if isinstance(value, int | float) else ""


def digests(report: Report) -> Iterator[tuple[str, str, str]]:
    """What was used or made, its name and size in small print, and its digest or commitment."""
    for name, part in report.run.inputs.items():
        yield name, _described(part), part.sha256 or part.commitment or "none: no file"
        if part.template_sha256:
            yield "chat template", f"of {input_name(part)}", part.template_sha256
    for name, digest in report.run.frozen.items():
        yield name, "as fixed beforehand", digest
    if written := written_model(report):
        yield "unlearned model", "as training wrote it", written
    for role, scored in report.scored.items():
        if role in ROLES:
            yield ROLES[role], f"{scored.name}, as scored", scored.sha256 or "not recorded"
    if verdict := report.verdict:
        yield from _verified(verdict)


def written_model(report: Report) -> str | None:
    """Digest of the model that training wrote."""
    stage = report.run.stages.get("unlearn")
    return stage.model_sha256 if stage else None


def _verified(verdict: Verdict) -> Iterator[tuple[str, str, str]]:
    for given in verdict.inputs:
        rows = "" if given.rows is None else f"{number(given.rows)} rows"
        named = ", ".join(filter(None, ("given to the verification", given.name, rows)))
        yield given.role, named, given.sha256 or given.commitment or "not recorded"
    yield "verified model", verdict.model.name, verdict.model.sha256 or "not recorded"
    yield "verdict", "digest of everything it depends on", verdict.digest


def _described(part: Input) -> str:
    known = [input_name(part)]
    known += [] if part.bytes is None else [size(part.bytes)]
    known += [] if part.rows is None else [f"{number(part.rows)} rows"]
    return ", ".join(known)


def input_name(part: Input | None) -> str:
    """What to call a model or file that the run was given."""
    return (part.name or part.path or part.origin if part else None) or "not recorded"
