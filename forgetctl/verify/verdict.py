"""Findings and bounds in, PASS, FAIL or INCONCLUSIVE out, with the reasons. Pure: no files, no models.

PASS claims equivalence with a model that never saw the rows, so it needs evidence for every part of that claim.
FAIL claims memory, over-forgetting or damage, so it needs positive evidence of one of them.
Everything between is INCONCLUSIVE, and says what would settle it.
Two answers make the verdict: whether the rows are forgotten, and whether the rest was kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from ..recipe.bounds import Bounds
from .checks import comparison
from .findings import Check, Context, Question, Status, unsure
from .registry import COUNT_CHECKS, MEASURES, Findings
from .statistics.shapes import Shape

Outcome = Literal["PASS", "FAIL", "INCONCLUSIVE"]
DECISIVE: dict[Outcome, tuple[Status, ...]] = {
    "FAIL": ("fail",),
    "INCONCLUSIVE": ("unknown", "trace", "fail"),
    "PASS": ("pass",),
}


class Answers(Shape):
    """The two answers behind a verdict: whether the rows are forgotten, and whether the rest was kept."""

    forgotten: Outcome
    kept: Outcome


@dataclass(frozen=True)
class Judgement:
    """The outcome, the two answers behind it, and the checks that all rest on."""

    outcome: Outcome
    answers: Answers
    checks: tuple[Check, ...]

    @property
    def reasons(self) -> tuple[Check, ...]:
        """The checks that decided."""
        return decisive(self.outcome, self.checks)


def decisive(outcome: Outcome, checks: Iterable[Check]) -> tuple[Check, ...]:
    """The checks that decided: failures for FAIL, what is open or a trace and failures for INCONCLUSIVE, all that
    passed for PASS."""
    return tuple(check for check in checks if check.status in DECISIVE[outcome])


def judge(findings: Findings, bounds: Bounds, unmeasured: Iterable[tuple[str, str]] = ()) -> Judgement:
    """Apply `bounds` to `findings`. unmeasured: checks that could not be made, by name, with the reason."""
    context = Context(findings=findings, bounds=bounds, count_level=bounds.fail_level / COUNT_CHECKS)
    checks = [
        check.model_copy(update={"about": measure.about})
        for measure in MEASURES
        for check in measure.judge(measure.of(findings), context)
    ]
    checks += [
        unsure(name, "NOT_MEASURED", f"The {name} could not be measured: {reason}.") for name, reason in unmeasured
    ]
    overall, answers = _outcome({check.status for check in checks}), _answers(checks)
    if comparison.MEASURE.of(findings).by is None:
        # Nobody can tell whether a model forgot without something that never knew; what else failed stays listed.
        overall, answers = "INCONCLUSIVE", answers.model_copy(update={"forgotten": "INCONCLUSIVE"})
    return Judgement(overall, answers, tuple(checks))


def _answers(checks: Iterable[Check]) -> Answers:
    checks = tuple(checks)
    return Answers(**{about: _answer(about, checks) for about in get_args(Question)})


def _answer(about: Question, checks: Iterable[Check]) -> Outcome:
    """One of the two answers; without a check that was made there is none yet."""
    states = {check.status for check in checks if check.about == about}
    return _outcome(states) if states & set(_MADE) else "INCONCLUSIVE"


_MADE: tuple[Status, ...] = ("pass", "fail", "unknown", "trace")


def _outcome(states: set[Status]) -> Outcome:
    if "fail" in states:
        return "FAIL"
    return "INCONCLUSIVE" if states & {"unknown", "trace"} else "PASS"
