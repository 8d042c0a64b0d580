"""What a verdict rests on, written beside it, and the same verdict reached again from the files alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..errors import RunError
from ..files.entries import files_digest, model_entries
from ..files.writing import file_digest, read_json
from ..model.scores import Scores, check_rows
from ..recipe.bounds import Bounds
from ..runs.run import Run
from .evidence.collected import Collected, Comparison, Tracked
from .evidence.stored import by_name, collect
from .judge import conclude


@dataclass(frozen=True)
class Measured:
    """All that a verdict is reached from, besides its bounds.

    kl: divergences in nats per answer token; skipped: figures that were not measured, with the reason; unmeasured:
    checks that were asked for and could not be made.
    """

    found: Collected
    kl: Mapping[str, float | None]
    skipped: Mapping[str, str]
    unmeasured: tuple[tuple[str, str], ...] = ()

    def verdict(self, bounds: Bounds) -> dict[str, Any]:
        """The content of verdict.json that follows from it."""
        return conclude(self.found, bounds, self.kl, self.skipped, self.unmeasured)


ScoreName = Annotated[str, Field(pattern=r"^(start|unlearned|reference)(-[a-z0-9]{1,16})?$")]
Step = Annotated[str, Field(pattern=r"^[1-9][0-9]{0,11}$")]


class Basis(BaseModel):
    """What verdict.json says it rests on.

    scores, tracked: SHA-256 of the files by name and by step. model: one digest of all of the model's files, None where
    only scores were verified.
    """

    model_config = ConfigDict(extra="forbid")

    kind: Comparison
    rephrased: list[str]
    scores: dict[ScoreName, str]
    tracked: dict[Step, str]
    model: str | None
    skipped: dict[str, str]
    unmeasured: list[tuple[str, str]]


class _Stored(BaseModel):
    basis: Basis
    kl: dict[str, float | None]


def store(run: Run, measured: Measured, model: Path | None) -> dict[str, Any]:
    """Write the scores; returns what else is needed to reach the verdict again, for verdict.json.

    model: the directory that was verified, None where only scores were.
    """
    scores = {name: found.model_dump(mode="json") for name, found in by_name(measured.found).items()}
    run.write_scores(scores)
    basis = Basis(
        kind=measured.found.kind,
        rephrased=list(measured.found.rephrased),
        scores={name: file_digest(file) for name, file in run.score_files().items()},
        tracked={str(step): file_digest(file) for step, file in run.tracked_files().items()},
        model=files_digest(model_entries(model)) if model else None,
        skipped=dict(measured.skipped),
        unmeasured=list(measured.unmeasured),
    )
    return basis.model_dump(mode="json")


def measured_again(run: Run, verdict: Mapping[str, Any]) -> Measured:
    """What `store` wrote. Raises RunError if files are missing, damaged or not those that the verdict names."""
    try:
        stored = _Stored.model_validate(verdict)
        basis = stored.basis
        scores = {name: _named(run.scores_file(name), digest) for name, digest in basis.scores.items()}
        tracked = [
            Tracked(step, epoch, _named(run.tracked_file(step), basis.tracked[str(step)]))
            for step, epoch in tracked_steps(run)
        ]
        found = collect(scores, basis.kind, basis.rephrased, tracked)
        for name, other in scores.items():
            check_rows(run.scores_file(name), other, "tofu-log", found.unlearned)
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"{run.verdict_file} does not say what it rests on ({type(error).__name__})") from None
    return Measured(found, stored.kl, basis.skipped, tuple(basis.unmeasured))


def basis_of(run: Run, verdict: Mapping[str, Any]) -> Basis:
    """What a verdict says it rests on. Raises RunError if it does not say so."""
    try:
        return _Stored.model_validate(verdict).basis
    except ValidationError:
        raise RunError(f"{run.verdict_file} does not say what it rests on") from None


def bounds_of(run: Run) -> Bounds:
    """The bounds that were frozen. Raises RunError if the plan is damaged."""
    values = read_json(run.plan_file).get("bounds")
    if not isinstance(values, dict) or not all(type(value) in (int, float) for value in values.values()):
        raise RunError(f"{run.plan_file} holds no bounds")
    try:
        return Bounds(**values)
    except ValidationError:
        raise RunError(f"{run.plan_file} holds other bounds than there are") from None


def tracked_scores(run: Run) -> tuple[Tracked, ...]:
    """Scores of the model in training, where they were kept."""
    return tuple(Tracked(step, epoch, read_scores_file(run.tracked_file(step))) for step, epoch in tracked_steps(run))


def tracked_steps(run: Run) -> Iterable[tuple[int, float]]:
    """Tracked steps with their epochs."""
    made = run.record.get("stages", {}).get("unlearn", {})
    for step in run.tracked_files():
        yield step, round(step * made["epochs"] / made["steps"], 4)


def read_scores_file(file: Path) -> Scores:
    """Scores of a run. Raises RunError if they are damaged."""
    try:
        return Scores.model_validate(read_json(file))
    except ValidationError:
        raise RunError(f"{file} is damaged: it holds no scores") from None


def _named(file: Path, digest: str) -> Scores:
    if not file.is_file() or file_digest(file) != digest:
        raise RunError(f"{file} is not what the verdict rests on")
    return read_scores_file(file)
