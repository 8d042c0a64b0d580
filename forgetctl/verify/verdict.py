"""Findings and bounds in, PASS, FAIL or INCONCLUSIVE out, with the reasons. Pure: no files, no models.

PASS claims equivalence with a model that never saw the rows, so it needs evidence for every part of that claim.
FAIL claims memory, over-forgetting or damage, so it needs positive evidence of one of them.
Everything between is INCONCLUSIVE, and says what would settle it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from ..recipe.bounds import Bounds
from .checks.closeness import (
    check_attacks,
    check_comparison,
    check_distance,
    check_floor,
    check_mean,
    check_relearned,
    check_sensitivity,
)
from .checks.harm import check_damage, check_leaks
from .findings import Check, Findings, Status

Outcome = Literal["PASS", "FAIL", "INCONCLUSIVE"]

TRUTH_RATIO, ANSWERS = "truth ratio", "answer log-prob"
REQUIRED = {"reference": (TRUTH_RATIO, ANSWERS), "holdout": (ANSWERS,)}
"""Scores of the forget rows that a PASS needs; unseen rows have no perturbed answers to make truth ratios from."""


@dataclass(frozen=True)
class Verdict:
    """The outcome, the checks it rests on, and the ones that decided it."""

    outcome: Outcome
    checks: tuple[Check, ...]

    @property
    def reasons(self) -> tuple[Check, ...]:
        """The checks that decided: failures for FAIL, open questions and failures for INCONCLUSIVE, all for PASS."""
        decisive: dict[Outcome, tuple[Status, ...]] = {
            "FAIL": ("fail",),
            "INCONCLUSIVE": ("unknown", "fail"),
            "PASS": ("pass",),
        }
        return tuple(check for check in self.checks if check.status in decisive[self.outcome])


def judge(findings: Findings, bounds: Bounds) -> Verdict:
    """Apply `bounds` to `findings`."""
    checks = tuple(_checks(findings, bounds))
    states = {check.status for check in checks}
    if findings.comparison is None:
        # Nobody can tell whether a model forgot without something that never knew; what else failed stays listed.
        return Verdict("INCONCLUSIVE", checks)
    if "fail" in states:
        return Verdict("FAIL", checks)
    return Verdict("INCONCLUSIVE" if "unknown" in states else "PASS", checks)


def _checks(findings: Findings, bounds: Bounds) -> Iterator[Check]:
    yield check_comparison(findings)
    if findings.comparison is not None:
        references = {pair.name: pair for pair in findings.floor or ()}
        for found in findings.forget:
            yield check_distance(found, bounds, references.get(found.name))
            if found.shift is not None:
                yield check_mean(found, found.shift, bounds)
            elif found.name == ANSWERS:
                yield Check(f"{ANSWERS}, mean", "unknown", "NOT_MEASURED", "The means could not be compared.")
        known = {found.name for found in findings.forget}
        for name in REQUIRED[findings.comparison]:
            if name not in known:
                yield Check(name, "unknown", "NOT_MEASURED", f"The {name} could not be compared.")
        yield check_sensitivity(findings.controls, bounds)
        if findings.floor is not None:
            yield check_floor(findings.floor, REQUIRED[findings.comparison], bounds)
    yield from check_leaks(findings, bounds)
    if findings.attacks:
        yield check_attacks(findings.attacks, bounds)
    if findings.relearned is not None:
        yield check_relearned(findings.relearned, bounds)
    yield from check_damage(findings, bounds)
    for name, reason in findings.unmeasured:
        yield Check(name, "unknown", "NOT_MEASURED", f"The {name} could not be measured: {reason}.")
