"""Scores -> verdict: measure every finding, and judge all of them by the frozen bounds."""

from __future__ import annotations

from collections.abc import Iterator

from ..recipe.bounds import Bounds
from .collected import Collected
from .record import Conclusion, Model, Skipped
from .registry import MEASURES, Findings
from .verdict import judge


def gather(scores: Collected, bounds: Bounds) -> Findings:
    """Everything that the scores show."""
    return Findings(**{measure.key: measure.measure(scores, bounds) for measure in MEASURES})


def conclude(scores: Collected, bounds: Bounds) -> Conclusion:
    """The verdict, with every figure that it rests on, and a reason for every figure that is missing."""
    findings = gather(scores, bounds)
    unanswered = (open_one for measure in MEASURES for open_one in measure.unanswered(scores))
    judged = judge(findings, bounds, (*scores.unmeasured, *unanswered))
    return Conclusion(
        verdict=judged.outcome,
        answers=judged.answers,
        checks=judged.checks,
        model=Model(name=scores.unlearned.name, sha256=scores.unlearned.sha256),
        skipped=tuple(_skipped(scores, findings)),
        bounds=bounds,
        **dict(findings),
    )


def _skipped(scores: Collected, findings: Findings) -> Iterator[Skipped]:
    """Whoever measured knows best why something is missing."""
    reasons: dict[str, str] = {}
    for measure in MEASURES:
        reasons |= measure.why_missing(measure.of(findings), scores)
    for check, reason in {**reasons, **scores.skipped}.items():
        source = "measuring" if check in scores.skipped else "scores"
        yield Skipped(check=check, reason=reason, source=source)
