"""What a verdict rests on, written beside it, and the same verdict reached again from the files alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ..errors import RunError
from ..files.entries import files_digest, model_entries
from ..files.writing import file_digest, read_json
from ..model.score_files import check_rows
from ..model.scores import SCHEMA, Scores
from ..recipe.bounds import Bounds
from ..runs.run import Run
from .checks import comparison, kl
from .collected import Collected, Tracked, by_name, from_names
from .record import Basis, Verdict, parse_verdict
from .registry import WORKS


def store(run: Run, scores: Collected, model: Path | None) -> Basis:
    """Write the scores; returns what else is needed to reach the verdict again.

    model: the directory that was verified, None where only scores were.
    """
    run.write_scores({name: scored.model_dump(mode="json") for name, scored in by_name(scores).items()})
    return Basis(
        scores={name: file_digest(file) for name, file in run.score_files().items()},
        tracked={str(point.step): file_digest(run.tracked_file(point.step)) for point in scores.tracked},
        rephrased=scores.rephrased,
        unmeasured=scores.unmeasured,
        model=files_digest(model_entries(model)) if model else None,
    )


def collected_again(run: Run, verdict: Verdict) -> Collected:
    """What `store` wrote. Raises RunError if files are missing, damaged or not those that the verdict names."""
    basis = verdict.basis
    named = {name: _named(run.scores_file(name), digest) for name, digest in basis.scores.items()}
    try:
        tracked = [
            Tracked(step, _epoch(run, step), _named(run.tracked_file(step), basis.tracked[str(step)]))
            for step in sorted(map(int, basis.tracked))
        ]
        collected = from_names(
            named,
            kind=comparison.MEASURE.of(verdict).kind,
            altered=WORKS,
            rephrased=basis.rephrased,
            tracked=tracked,
            kl=dict(kl.MEASURE.of(verdict)),
            skipped={one.check: one.reason for one in verdict.skipped if one.source == "measuring"},
            unmeasured=basis.unmeasured,
        )
        for name, other in named.items():
            check_rows(run.scores_file(name), other, "tofu-log", collected.unlearned)
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"{run.verdict_file} does not say what it rests on ({type(error).__name__})") from None
    return collected


def verdict_of(run: Run) -> Verdict:
    """The verdict of a run. Raises RunError as `parse_verdict`."""
    return parse_verdict(read_json(run.verdict_file), run.verdict_file, run.record.get("kind"))


def bounds_of(run: Run) -> Bounds:
    """The bounds that were frozen. Raises RunError if the plan is damaged."""
    values = read_json(run.plan_file).get("bounds")
    if not isinstance(values, dict) or not all(type(value) in (int, float) for value in values.values()):
        raise RunError(f"{run.plan_file} holds no bounds")
    if values.keys() != Bounds.model_fields.keys():
        raise RunError(f"{run.plan_file} holds other bounds than there are")
    try:
        return Bounds(**values)
    except ValidationError:
        raise RunError(f"{run.plan_file} holds bounds outside their range") from None


@dataclass(frozen=True)
class TrackedScores:
    """Scores of the model in training, in order. left_out: why there are none though some were kept, else empty."""

    points: tuple[Tracked, ...]
    left_out: str = ""


def tracked_scores(run: Run) -> TrackedScores:
    """Those that `--track` kept. Raises RunError if they are damaged.

    What another version of forgetctl kept cannot be measured again, since the model in training is gone, so it is left
    out, and the verdict says so.
    """
    files = {step: (file, read_json(file)) for step, file in run.tracked_files().items()}
    for _, values in files.values():
        if type(schema := values.get("schema_version")) is int and schema != SCHEMA:
            version = f"(schema {schema}, this one reads {SCHEMA})"
            return TrackedScores((), f"the scores tracked in training are of another version of forgetctl {version}")
    return TrackedScores(
        tuple(Tracked(step, _epoch(run, step), _scores(file, values)) for step, (file, values) in files.items())
    )


def _epoch(run: Run, step: int) -> float:
    made = run.record.get("stages", {}).get("unlearn", {})
    return round(float(step * made["epochs"] / made["steps"]), 4)


def read_scores_file(file: Path) -> Scores:
    """Scores of a run. Raises RunError if they are damaged."""
    return _scores(file, read_json(file))


def _scores(file: Path, values: Mapping[str, Any]) -> Scores:
    try:
        return Scores.model_validate(values)
    except ValidationError:
        raise RunError(f"{file} is damaged: it holds no scores") from None


def _named(file: Path, digest: str) -> Scores:
    if not file.is_file() or file_digest(file) != digest:
        raise RunError(f"{file} is not what the verdict rests on")
    return read_scores_file(file)
