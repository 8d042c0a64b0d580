"""Findings and bounds in, PASS, FAIL or INCONCLUSIVE out, with the reasons. Pure: no files, no models.

PASS claims equivalence with a model that never saw the rows, so it needs evidence for every part of that claim.
FAIL claims memory, over-forgetting or damage, so it needs positive evidence of one of them.
Everything between is INCONCLUSIVE, and says what would settle it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from ..recipe.bounds import Bounds
from .checks import comparison
from .findings import Check, Context, Status, unsure
from .registry import COUNT_CHECKS, MEASURES, Findings

Outcome = Literal["PASS", "FAIL", "INCONCLUSIVE"]
DECISIVE: dict[Outcome, tuple[Status, ...]] = {
    "FAIL": ("fail",),
    "INCONCLUSIVE": ("unknown", "fail"),
    "PASS": ("pass",),
}


@dataclass(frozen=True)
class Judgement:
    """The outcome, and the checks it rests on."""

    outcome: Outcome
    checks: tuple[Check, ...]

    @property
    def reasons(self) -> tuple[Check, ...]:
        """The checks that decided."""
        return decisive(self.outcome, self.checks)


def decisive(outcome: Outcome, checks: Iterable[Check]) -> tuple[Check, ...]:
    """The checks that decided: failures for FAIL, open questions and failures for INCONCLUSIVE, all for PASS."""
    return tuple(check for check in checks if check.status in DECISIVE[outcome])


def judge(findings: Findings, bounds: Bounds, unmeasured: Iterable[tuple[str, str]] = ()) -> Judgement:
    """Apply `bounds` to `findings`. unmeasured: checks that could not be made, by name, with the reason."""
    context = Context(findings=findings, bounds=bounds, count_level=bounds.fail_level / COUNT_CHECKS)
    checks = [check for measure in MEASURES for check in measure.judge(measure.of(findings), context)]
    checks += [
        unsure(name, "NOT_MEASURED", f"The {name} could not be measured: {reason}.") for name, reason in unmeasured
    ]
    return Judgement(_outcome(findings, {check.status for check in checks}), tuple(checks))


def _outcome(findings: Findings, states: set[Status]) -> Outcome:
    if comparison.MEASURE.of(findings).by is None:
        # Nobody can tell whether a model forgot without something that never knew; what else failed stays listed.
        return "INCONCLUSIVE"
    if "fail" in states:
        return "FAIL"
    return "INCONCLUSIVE" if "unknown" in states else "PASS"
