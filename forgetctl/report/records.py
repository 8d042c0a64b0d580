"""What a report reads of a run directory, checked: damage is an error that names the file.

Keys that are unknown here are kept, so that nothing a run says is lost in the JSON report.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..errors import InputError, RunError
from ..files.outside import read_text
from ..files.strict_json import LooseJSONError, parse_json
from ..model.scores import Scores
from ..recipe.recipe import load_yaml
from ..runs.layout import RunFiles
from ..verify.record import Commitment, Digest, Model, Time, Verdict, parse_verdict
from ..verify.statistics.shapes import Nats, RowName
from ..verify.tables import ROLES
from ..verify.verdict import Outcome
from ._formats import clean

Floats = NDArray[np.float64]


class Part(BaseModel):
    """A part of a record; keys that are unknown here are kept."""

    # A report always says every key, so whoever reads one can rely on it.
    model_config = ConfigDict(frozen=True, extra="allow", json_schema_serialization_defaults_required=True)


class Input(Part):
    """A model or file that the run was given. template_sha256: of a model's chat template, if it has one. marked: how
    many of the forget rows have spans."""

    name: str | None = None
    sha256: Digest | None = None
    path: str | None = None
    origin: str | None = None
    rows: int | None = None
    marked: int | None = None
    bytes: int | None = None
    parameters: int | None = None
    commitment: Commitment | None = None
    template_sha256: Digest | None = None


class Computing(Part):
    """How training was computed: as it was chosen for the machine."""

    precision: str
    why: str


class Flagged(Part):
    """What a rule of `forgetctl.rows.abuse` found in the request before training. names: empty if about all rows."""

    rule: str
    rows: int
    of: int
    names: tuple[RowName, ...] = ()
    figure: str
    stops: bool


class Stage(Part):
    """What a stage left behind; which of the figures there are depends on the stage."""

    status: str
    steps: int | None = None
    epochs: float | None = None
    seconds: float | None = None
    seconds_per_epoch: float | None = None
    peak_memory_bytes: int | None = None
    trainable_parameters: int | None = None
    untouched_weights: int | None = None
    left_out: tuple[str, ...] = ()
    adapter_sha256: Digest | None = None
    model_sha256: Digest | None = None
    retain_rows: int | None = None
    check_rows: int | None = None
    excluded: dict[str, int] = Field(default_factory=dict)
    computing: Computing | None = None
    flags: tuple[Flagged, ...] = ()
    approved: tuple[str, ...] = ()


class Term(Part):
    """A term of the loss. What it does is told by `losses.summaries`, since nothing attests what a run says of it."""

    name: str
    weight: float
    formula: str
    source: str


class Objective(Part):
    method: str | None
    formula: str
    terms: tuple[Term, ...]


class Ancestor(Part):
    """An earlier run whose model this one began with, as it stood then. verdict: None if it was not verified."""

    run: str
    created: Time | None = None
    method: str | None = None
    requests: tuple[str, ...] = ()
    rows: int | None = None
    commitment: Commitment | None = None
    commitments_sha256: Digest | None = None
    model_sha256: Digest | None = None
    verdict: Outcome | None = None
    verdict_sha256: Digest | None = None


class Run(Part):
    """run.json. requests: ids as the owner typed them. frozen: digests of what was fixed before training, by file.
    lineage: earlier runs, the oldest first; empty if the model before was made by none."""

    id: str
    created: Time
    kind: Literal["unlearn", "verify"]
    versions: dict[str, str | None]
    inputs: dict[str, Input]
    requests: tuple[str, ...] = ()
    stages: dict[str, Stage] = Field(default_factory=dict)
    frozen: dict[str, Digest] = Field(default_factory=dict)
    lineage: tuple[Ancestor, ...] = ()
    objective: Objective | None = None
    platform: str | None = None
    device: str | None = None
    argv: tuple[str, ...] = ()
    seed: int | None = None


class Plan(Part):
    """plan.json: what was fixed before training."""

    created: Time | None = None
    bounds: dict[str, float]


class Step(Part):
    """A line of log.jsonl."""

    step: int
    loss: float | None = None
    forget_logp_per_token: Nats | None = None
    retain_logp_per_token: Nats | None = None


class Event(Part):
    """A line of events.jsonl. n: from 1; previous: digest of the line before."""

    n: int
    time: Time
    event: str
    facts: dict[str, Any]
    previous: Digest


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything a report says.

    distributions: by kind of score and role. scored: name and digest of the model behind each role's scores.
    """

    run: Run
    plan: Plan | None
    verdict: Verdict | None
    recipe: dict[str, Any]
    steps: tuple[Step, ...]
    events: tuple[Event, ...]
    distributions: dict[str, dict[str, Floats]]
    scored: dict[str, Model]


def read_records(folder: Path) -> Report:
    """Read the records of a run.

    Raises RunError, naming the file, when run.json is missing or any file is damaged.
    """
    place = RunFiles(folder)
    run = _load(Run, place.record_file)
    if run is None:
        raise RunError(f"{place.record_file}: is missing, so this is not a run directory")
    verdict = _verdict(place.verdict_file, run.kind)  # first: of another version it says what to do
    stored = {role: _load(Scores, place.scores_file(role)) for role in ROLES}
    scores: dict[str, Scores] = {role: score for role, score in stored.items() if score is not None}
    recipe = _text(place.recipe_file)
    # A resumed run repeats steps; the last one counts.
    steps = {step.step: step for step in _lines(Step, place.log_file)}
    return Report(
        run=run,
        plan=_load(Plan, place.plan_file),
        verdict=verdict,
        recipe=_parse(recipe, place.recipe_file, is_yaml=True) if recipe is not None else {},
        steps=tuple(steps[number] for number in sorted(steps)),
        events=tuple(_lines(Event, place.events_file)),
        distributions=_distributions(scores),
        scored={role: Model(name=clean(score.name), sha256=clean(score.sha256)) for role, score in scores.items()},
    )


def _text(path: Path) -> str | None:
    if not path.exists():
        return None
    try:
        return read_text(path)
    except InputError as error:
        raise RunError(str(error)) from None


def _parse(text: str, where: Path | str, *, is_yaml: bool = False) -> dict[str, Any]:
    """The object in JSON or YAML text, made safe to show."""
    try:
        # The round trip turns YAML's dates and keys into JSON's.
        text = json.dumps(load_yaml(text), default=str) if is_yaml else text
        values = clean(parse_json(text, surrogates=True))
    except LooseJSONError as error:
        raise RunError(f"{where}: is damaged: it {error}") from None
    except (ValueError, TypeError, yaml.YAMLError):
        raise RunError(f"{where}: is damaged") from None
    if not isinstance(values, dict):
        raise RunError(f"{where}: is damaged: it must hold keys and values")
    return values


def _verdict(path: Path, kind: str) -> Verdict | None:
    text = _text(path)
    return None if text is None else parse_verdict(_parse(text, path), path, kind)


Record = TypeVar("Record", bound=BaseModel)


def _load(kind: type[Record], path: Path) -> Record | None:
    text = _text(path)
    return None if text is None else _record(kind, _parse(text, path), path)


def _record(kind: type[Record], values: dict[str, Any], where: Path | str) -> Record:
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise RunError(f"{where}: is damaged: {key}: {first['msg']}") from None


def _lines(kind: type[Record], path: Path) -> Iterator[Record]:
    """The records of a file that has one a line."""
    whole, _, _ = (_text(path) or "").rpartition("\n")  # a line without its end is one that was cut off in writing
    # Not splitlines: JSON may hold other characters that it takes for the end of a line.
    for number, line in enumerate(whole.split("\n") if whole else (), 1):
        yield _record(kind, _parse(line, f"{path}:{number}"), f"{path}:{number}")


def _distributions(scores: dict[str, Scores]) -> dict[str, dict[str, Floats]]:
    """Truth ratios and per-token log-probs of the forget rows, by role, where they were measured.

    Rows that no model saw stand beside them as "holdout", scored by the unlearned model.
    """
    ratios = {role: scored.forget.truth_ratios for role, scored in scores.items()}
    answers = {role: scored.forget.per_token for role, scored in scores.items()}
    if "unlearned" in scores and "holdout" in scores["unlearned"].sets:
        answers["holdout"] = scores["unlearned"].sets["holdout"].per_token
    measured = {role: values for role, values in ratios.items() if values is not None}
    return {"truth_ratio": measured, "answer_logp": answers}
