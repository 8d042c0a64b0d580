"""A run directory's records -> the audit report, as HTML, Markdown or JSON. Reads files, writes none.

The report holds figures, names and digests, and no text of any row: the request is personal data.
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
from pydantic import BaseModel, ConfigDict, ValidationError

from ..document import LIMITS, clean, environment, quantiles, view, warnings
from ..errors import RunError
from ..maths import metrics

Floats = NDArray[np.float64]
ROLES = ("start", "unlearned", "reference")


class _Part(BaseModel):
    """A part of a record. Keys unknown here are kept for the JSON, so that nothing a run says is lost."""

    model_config = ConfigDict(frozen=True, extra="allow")


class Input(_Part):
    """A model or file that the run was given."""

    name: str | None = None
    path: str | None = None
    origin: str | None = None
    rows: int | None = None
    bytes: int | None = None
    parameters: int | None = None
    sha256: str | None = None
    commitment: str | None = None


class Stage(_Part):
    """What a stage left behind; which of the figures there are depends on the stage."""

    status: str
    steps: int | None = None
    epochs: float | None = None
    seconds: float | None = None
    seconds_per_epoch: float | None = None
    peak_memory_bytes: int | None = None
    trainable_parameters: int | None = None
    retain_rows: int | None = None
    check_rows: int | None = None
    excluded: dict[str, int] = {}


class Term(_Part):
    name: str
    weight: float
    formula: str
    source: str


class Objective(_Part):
    method: str | None
    formula: str
    terms: tuple[Term, ...]


class Run(_Part):
    """run.json."""

    id: str
    created: str
    kind: Literal["unlearn", "verify"]
    versions: dict[str, str | None]
    inputs: dict[str, Input]
    stages: dict[str, Stage] = {}
    objective: Objective | None = None
    platform: str | None = None
    device: str | None = None
    argv: tuple[str, ...] = ()
    seed: int | None = None


class Plan(_Part):
    """plan.json: what was fixed before training."""

    created: str | None = None
    bounds: dict[str, float]


class Finding(_Part):
    """A check, or a reason of the verdict, which has neither name nor status."""

    code: str
    text: str
    name: str = ""
    status: Literal["pass", "fail", "unknown", "skipped"] = "unknown"


class Comparison(_Part):
    kind: Literal["model", "scores", "tofu-log", "holdout", "none"] = "none"
    name: str | None = None


class Distance(_Part):
    """Distance D of two models' scores: with confidence bounds, or with TOFU's p."""

    D: float
    n: int
    lower: float | None = None
    upper: float | None = None
    p: float | None = None
    variant: str | None = None
    perturbed: str | None = None


class Verdict(_Part):
    """verdict.json."""

    verdict: Literal["PASS", "FAIL", "INCONCLUSIVE"]
    reasons: tuple[Finding, ...] = ()
    checks: tuple[Finding, ...] = ()
    comparison: Comparison = Comparison()
    model: Input | None = None
    forget_quality: Distance | None = None
    answer_distance: Distance | None = None
    forget_probability: float | None = None
    retain_probability: float | None = None
    truth_ratio: float | None = None
    rouge: float | None = None
    models: dict[str, dict[str, float | None] | None] = {}
    kl: dict[str, float | None] | None = None
    secrets: dict[str, int | None] | None = None
    skipped: tuple[dict[str, str], ...] = ()
    bounds: dict[str, float] = {}
    created: str | None = None
    digest: str | None = None


class Scores(_Part):
    """scores/ROLE.json; what the metrics do not accept is found when they are computed."""

    sha256: str | None = None
    sets: dict[str, dict[str, Any] | None] = {}


class Step(_Part):
    """A line of log.jsonl."""

    step: int
    loss: float | None = None
    forget_logp_per_token: float | None = None
    retain_logp_per_token: float | None = None


@dataclass(frozen=True)
class Report:
    """Everything a report says.

    distributions: by kind of score and role. scored: digest of the model that the unlearned scores are of.
    """

    run: Run
    plan: Plan | None
    verdict: Verdict | None
    recipe: dict[str, Any]
    steps: tuple[Step, ...]
    distributions: dict[str, dict[str, Floats]]
    scored: str | None


def build(run_dir: Path) -> Report:
    """Read the records of `run_dir`.

    Raises RunError, naming the file, when run.json is missing or any file is damaged.
    """
    run = _load(Run, run_dir / "run.json")
    if run is None:
        raise RunError(f"{run_dir / 'run.json'}: is missing, so this is not a run directory")
    found = {role: _load(Scores, run_dir / "scores" / f"{role}.json") for role in ROLES}
    scores = {role: score for role, score in found.items() if score is not None}
    recipe = _text(run_dir / "recipe.yaml")
    # A resumed run repeats steps; the last one counts.
    steps = {step.step: step for step in _log(run_dir / "log.jsonl")}
    return Report(
        run=run,
        plan=_load(Plan, run_dir / "plan.json"),
        verdict=_load(Verdict, run_dir / "verdict.json"),
        recipe=_parse(recipe, run_dir / "recipe.yaml", is_yaml=True) if recipe is not None else {},
        steps=tuple(steps[number] for number in sorted(steps)),
        distributions=_distributions(scores, run_dir),
        scored=scores["unlearned"].sha256 if "unlearned" in scores else None,
    )


def render_html(report: Report) -> str:
    """One self-contained page without scripts."""
    from ..document import plots  # matplotlib is slow to import, and only this format draws

    page = environment("html").get_template("report.html.j2")
    return str(page.render(view(report), plots=plots.draw(report)))


def render_markdown(report: Report) -> str:
    """The same without plots; their quartiles as tables."""
    return str(environment("md").get_template("report.md.j2").render(view(report)))


def render_json(report: Report) -> dict[str, Any]:
    """The records, with summaries of the distributions and of the training; strict JSON values."""
    records = {"run": report.run, "plan": report.plan, "verdict": report.verdict}
    steps = [step.model_dump(mode="json") for step in report.steps]
    return {
        "schema": 1,
        **{name: part.model_dump(mode="json") if part else None for name, part in records.items()},
        "recipe": report.recipe,
        "distributions": quantiles(report.distributions),
        "training": {"first": steps[0], "last": steps[-1]} if steps else None,
        "warnings": list(warnings(report)),
        "limits": list(LIMITS),
    }


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"{path}: cannot be read ({type(error).__name__})") from None


def _parse(text: str, where: Path | str, *, is_yaml: bool = False) -> dict[str, Any]:
    """The object in JSON or YAML text, made safe to show."""
    try:
        # The round trip turns YAML's dates and keys into JSON's.
        values = clean(json.loads(json.dumps(yaml.safe_load(text), default=str) if is_yaml else text))
    except (ValueError, TypeError, RecursionError, yaml.YAMLError):
        raise RunError(f"{where}: is damaged") from None
    if not isinstance(values, dict):
        raise RunError(f"{where}: is damaged: it must hold keys and values")
    return values


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


def _log(path: Path) -> Iterator[Step]:
    whole, _, _ = (_text(path) or "").rpartition("\n")  # a line without its end is one that was cut off in writing
    for number, line in enumerate(whole.splitlines(), 1):
        yield _record(Step, _parse(line, f"{path}:{number}"), f"{path}:{number}")


def _distributions(scores: dict[str, Scores], run_dir: Path) -> dict[str, dict[str, Floats]]:
    """Truth ratios and per-token log-probs of the forget rows, by role, where they were measured.

    Rows that no model saw stand beside them as "holdout", scored by the unlearned model.
    """
    sets = {role: score.sets.get("forget") or {} for role, score in scores.items()}
    if "unlearned" in scores:
        sets["holdout"] = scores["unlearned"].sets.get("holdout") or {}
    found: dict[str, dict[str, Floats]] = {"truth_ratio": {}, "answer_logp": {}}
    for role, rows in sets.items():
        try:
            if role != "holdout" and any(rows.get("perturbed_logp") or ()):
                found["truth_ratio"][role] = _truth_ratios(rows)
            if rows.get("answer_logp"):
                found["answer_logp"][role] = metrics.per_token(rows["answer_logp"], rows["answer_tokens"])
        except (KeyError, TypeError, ValueError):
            name = "unlearned" if role == "holdout" else role
            raise RunError(f"{run_dir / 'scores' / name}.json: is damaged: its scores do not fit together") from None
    return found


def _truth_ratios(rows: dict[str, Any]) -> Floats:
    names = ("paraphrase_logp", "paraphrase_tokens", "perturbed_logp", "perturbed_tokens")
    complete = [row for row in zip(*(rows[name] for name in names), strict=True) if row[2]]
    right, tokens, wrong, wrong_tokens = zip(*complete, strict=True)
    return metrics.truth_ratio(right, tokens, wrong, wrong_tokens)
