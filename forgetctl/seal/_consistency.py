"""Whether the records in a bundle agree with each other: what an owner who holds the key could have changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, StrictInt, StrictStr, ValidationError

from ..errors import ForgetctlError
from ..files.canonical import MalformedError, parse, parse_object
from ..files.entries import files_digest
from ..recipe.recipe import read_recipe
from ..report.records import Report
from ..report.render import build
from ..report.report import KINDS
from ..runs.events import Event
from ..runs.run import Run
from ..verify.basis import bounds_of
from ..verify.record import Verdict, parse_verdict
from ..verify.statistics.shapes import RowName
from ._checks import Finding, read_events
from .bundle import Bundle


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Commitment(_Strict):
    row: RowName
    hmac: str = Field(pattern=r"^[0-9a-f]{64}$")


class _CommittedSubject(_Strict):
    subject: PositiveInt
    hmac: str = Field(pattern=r"^[0-9a-f]{64}$")


class _Committed(_Strict):
    request: str | None = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    rows: list[_Commitment]
    subjects: list[_CommittedSubject]


class Commitments(_Strict):
    """commitments.json, which holds no text of any row."""

    schema_version: Literal[2] = Field(alias="schema")
    algorithm: StrictStr
    requests: list[_Committed]


class Pairs(_Strict):
    """pairs.json, which holds positions and counts."""

    train: list[StrictInt]
    check: list[StrictInt]
    excluded: dict[str, StrictInt]


WITHOUT_SCORES = "without_scores"
"""Fact of the event `seal` of a bundle that holds no scores by row."""


@dataclass(frozen=True, kw_only=True)
class Records:
    """What a bundle's files say, each of the right shape.

    stored: verdict.json as it stands there, to be compared figure by figure. broken: what is wrong with the events,
    which are then empty.
    """

    bundle: Bundle
    run: Run
    verdict: Verdict
    stored: dict[str, Any]
    events: Sequence[Event]
    broken: Sequence[Finding]
    report: Report

    @property
    def scores(self) -> set[str]:
        """Names of the score files that the verdict rests on."""
        basis = self.verdict.basis
        files = [self.run.scores_file(name) for name in basis.scores]
        files += [self.run.tracked_file(int(step)) for step in basis.tracked]
        return {file.relative_to(self.run.path).as_posix() for file in files}

    @property
    def left_out(self) -> dict[str, str]:
        """Names of score files that are not here, and why: purged before, or not sealed."""
        removed = self.run.record.get("stages", {}).get("purge", {}).get("removed")
        purged = {str(name): "purged" for name in removed} if isinstance(removed, list) else {}
        seals = [event.facts for event in self.events if event.event == "seal"]
        unsealed = bool(seals) and seals[-1].get(WITHOUT_SCORES) is True
        return {**(dict.fromkeys(self.scores, "left out when this was sealed") if unsealed else {}), **purged}


def load_records(bundle: Bundle) -> Records:
    """Read the records. Raises MalformedError, beginning with the file's name, for one that is none."""
    run = Run(bundle.path)
    for entry in bundle.manifest.files:
        _refuse_loose_json(bundle, entry.path)
    try:
        run.load_record()
        stored = parse_object(bundle.data(run.verdict_file.name))
        verdict = parse_verdict(stored, run.verdict_file, run.record.get("kind"))
        _shaped(bundle, run.commitments_file.name, Commitments)
        if run.record.get("kind") == "unlearn":
            _shaped(bundle, run.pairs_file.name, Pairs)
        events, broken = read_events(bundle, run.events_file.name)
        return Records(
            bundle=bundle,
            run=run,
            verdict=verdict,
            stored=stored,
            events=events,
            broken=broken,
            report=build(bundle.path),
        )
    except ForgetctlError as error:
        raise MalformedError(str(error).replace(f"{bundle.path}/", "")) from None


def check_names(records: Records) -> Iterator[Finding]:
    """The bundle holds what a bundle of such a run holds, and nothing else."""
    run, held = records.run, set(records.bundle.manifest.digests())
    files = [run.record_file, run.recipe_file, run.plan_file, run.commitments_file, run.events_file, run.verdict_file]
    files += [run.report_file(kind) for kind in KINDS]
    files += [run.pairs_file, run.log_file] if run.record.get("kind") == "unlearn" else []
    names, scores = {file.relative_to(run.path).as_posix() for file in files}, records.scores
    for name in sorted((names | scores - records.left_out.keys()) - held):
        yield Finding("files", "broken", f"{name} belongs to such a run and is not in the manifest")
    for name in sorted(held - names - scores):
        yield Finding("files", "broken", f"{name} does not belong in a bundle")


def check_history(records: Records) -> Iterator[Finding]:
    """The events tell of a run that was begun, done and verified, in the end as run.json and the verdict say."""
    yield from records.broken
    events, stages = records.events, records.run.record.get("stages", {})
    if records.broken:
        return
    if records.run.record.get("id") != records.bundle.manifest.run:
        yield Finding("events", "broken", f"{records.run.record_file.name} is of another run")
    if not events or events[0].event != "created":
        yield Finding("events", "broken", "they do not begin with the run")
    if records.run.record.get("kind") == "unlearn" and "unlearn" not in stages:
        yield Finding("events", "broken", "they do not tell of any training")
    for name, stage in stages.items():
        statuses = [event.facts.get("status") for event in events if event.event == name]
        if not statuses or statuses[-1] != stage.get("status"):
            yield Finding("events", "broken", f"they end otherwise for the stage {name} than {_RECORD} says")
    for name in ("unlearn", "verify"):
        if name in stages and stages[name].get("status") != "done":
            yield Finding("events", "broken", f"the stage {name} is not done")
    yield from _times(records)


_RECORD = "run.json"


def _times(records: Records) -> Iterator[Finding]:
    try:
        times = [datetime.fromisoformat(event.time) for event in records.events]
        times.append(datetime.fromisoformat(records.bundle.manifest.created))
        back = [number for number, pair in enumerate(pairwise(times), 1) if pair[0] > pair[1]]
    except (ValueError, TypeError):  # no time at all, or some with and some without a zone
        yield Finding("events", "malformed", "a time is none")
        return
    if back:
        yield Finding("events", "note", f"the clock went back after line {back[0]}")


def check_plan(records: Records) -> Iterator[Finding]:
    """Recipe and plan were fixed once, before anything was trained or measured, are these, and say the same."""
    run, events = records.run, records.events
    froze = [event for event in events if event.event == "frozen"]
    if len(froze) != 1:
        yield Finding("plan", "policy", f"the bounds were fixed {len(froze)} times, which must be once")
        return
    work = [event.n for event in events if event.event in ("unlearn", "verify")]
    if work and min(work) < froze[0].n:
        yield Finding("plan", "policy", "the bounds were fixed after the work had begun")
    digests = records.bundle.manifest.digests()
    files = {file.name: digests.get(file.name) for file in (run.recipe_file, run.plan_file)}
    for place, frozen in (("the events", froze[0].facts), (_RECORD, run.record.get("frozen"))):
        if frozen != files:
            yield Finding("plan", "broken", f"{' and '.join(files)} are not what was fixed beforehand by {place}")
    try:
        bounds = read_recipe(run.recipe_file).verify.bounds
    except ForgetctlError:
        yield Finding("plan", "malformed", f"{run.recipe_file.name} is no recipe")
        return
    if bounds != bounds_of(run):
        yield Finding("plan", "broken", f"{run.plan_file.name} has other bounds than {run.recipe_file.name}")


def check_request(records: Records) -> Iterator[Finding]:
    """What the request was flagged for before training, and that whatever stopped it was approved."""
    prechecks = [event.facts for event in records.events if event.event == "precheck"]
    stage = records.run.record.get("stages", {}).get("precheck")
    said = None if stage is None else {key: stage.get(key) for key in _LOOKED}
    if said != ({key: prechecks[-1].get(key) for key in _LOOKED} if prechecks else None):
        yield Finding("request", "broken", f"{_RECORD} and the events tell of different flags")
    looked = records.report.run.stages.get("precheck")
    if looked is None:
        if records.run.record.get("kind") == "unlearn":
            yield Finding("request", "note", "nobody looked whether it asks for too much")
        return
    for flag in looked.flags:
        if flag.stops and flag.rule not in looked.approved:
            yield Finding("request", "broken", f"it was flagged ({flag.rule}) and nobody approved it")
        else:
            word = "; the owner approved it" if flag.stops else ""
            yield Finding("request", "note", f"flagged: {flag.rule}, {flag.rows} of {flag.of} rows{word}")


_LOOKED = ("flags", "skipped", "approved")


def check_outcome(records: Records) -> Iterator[Finding]:
    """The verdict is the one reached last, by all who tell it, about the model that was made and sealed."""
    verdict, bundle, name = records.verdict, records.bundle, records.run.verdict_file.name
    reached = [e.facts for e in records.events if e.event == "verify" and e.facts.get("status") == "done"]
    if not reached or reached[-1].get("verdict_sha256") != bundle.manifest.digests().get(name):
        yield Finding("verdict", "broken", f"{name} is not the verdict that was reached last")
    stage = records.run.record.get("stages", {}).get("verify", {})
    stated = {"seal.json": bundle.predicate, "the events": reached[-1] if reached else {}, _RECORD: stage}
    for place, facts in stated.items():
        if facts.get("verdict") != verdict.verdict:
            yield Finding("verdict", "broken", f"{place} and {name} tell of different verdicts")
    judged = verdict.model.sha256
    if bundle.manifest.model and judged != bundle.manifest.model_digest:
        yield Finding("verdict", "broken", "it is about another model than the one that was sealed")
    if judged != _named_model(records):
        yield Finding("verdict", "broken", f"it is about another model than the one that {_RECORD} names")
    sealed = files_digest(bundle.manifest.model) if bundle.manifest.model else None
    if sealed != records.verdict.basis.model:
        yield Finding("verdict", "broken", "files of the model have changed since it was verified")
    made = [e.facts["model_sha256"] for e in records.events if e.event == "unlearn" and "model_sha256" in e.facts]
    if made and made[-1] != judged:
        yield Finding("verdict", "broken", "it is about another model than the one that was made")


def _named_model(records: Records) -> object:
    """The digest by which run.json names the model that was verified."""
    record = records.run.record
    if record.get("kind") == "verify":
        return record.get("inputs", {}).get("model", {}).get("sha256")
    return record.get("stages", {}).get("unlearn", {}).get("model_sha256")


def check_inputs(records: Records) -> Iterator[Finding]:
    """The models that run.json and the verdict name are those behind the scores, and the first is where the run before
    ended."""
    scored = records.report.scored
    inputs = records.verdict.inputs
    start = [part.sha256 for part in inputs if part.role == "start" and part.kind == "model"]
    if records.run.record.get("kind") == "unlearn":
        start.append(records.report.run.inputs["model"].sha256 if "model" in records.report.run.inputs else None)
    references = [part.sha256 for part in inputs if part.role == "reference"][:1]
    kinds = [part.kind for part in inputs if part.role == "reference"][:1]
    named = {"start": start, "reference": references if kinds == ["model"] else []}
    for role, digests in named.items():
        if role in scored and any(digest != scored[role].sha256 for digest in digests):
            yield Finding("verdict", "broken", f"the scores of the {role} model are of another model than was given")
    yield from _began(records)


def _began(records: Records) -> Iterator[Finding]:
    inputs = records.report.run.inputs
    for earlier in records.report.run.lineage[-1:]:
        began = inputs["model"].sha256 if "model" in inputs else None
        if began is None or earlier.model_sha256 != began:
            yield Finding("verdict", "broken", f"the run began with another model than run {earlier.run} made")


def _refuse_loose_json(bundle: Bundle, name: str) -> None:
    """Duplicate keys and the like are refused in every file, so that all readers read the same."""
    if not name.endswith((".json", ".jsonl")):
        return
    data = bundle.data(name)
    parts = data.split(b"\n")[:-1] if name.endswith(".jsonl") else [data]
    try:
        for part in parts:
            parse(part)
    except MalformedError as error:
        raise MalformedError(f"{name} {error}") from None


def _shaped(bundle: Bundle, name: str, kind: type[BaseModel]) -> None:
    try:
        kind.model_validate(parse(bundle.data(name)))
    except ValidationError:
        raise MalformedError(f"{name} is of another shape") from None
