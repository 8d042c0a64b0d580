"""Checks of whether the forget rows look to the model as they do to one that never saw them."""

from __future__ import annotations

from collections.abc import Sequence

from ...recipe.bounds import Bounds
from ..findings import Check, Closeness, Findings, Relearned
from ..statistics.means import Shift, equivalence_margin
from ..statistics.membership import Attack, auc_margin


def check_comparison(findings: Findings) -> Check:
    """What the model is compared with."""
    name = "comparison"
    if findings.comparison is None:
        words = (
            "There is nothing to compare with. Give --reference (a model trained without the rows, or its scores) or "
            "--holdout (rows that no model saw)."
        )
        return Check(name, "unknown", "NO_REFERENCE", words)
    if findings.comparison == "holdout":
        words = "Compared with rows that no model saw: weaker evidence than a reference."
        return Check(name, "pass", "HOLDOUT", words)
    return Check(name, "pass", "REFERENCE", "Compared row by row with a model that never saw the rows.")


def check_distance(found: Closeness, bounds: Bounds, floor: Closeness | None) -> Check:
    """Whether one kind of score is surely within, or surely beyond, delta of the comparison.

    floor: the same distance between two references; nothing that is closer than they are is called different.
    """
    name, distance, delta = found.name, found.distance, bounds.delta
    figure = f"D = {distance.D:.3f}, {distance.lower:.3f} to {distance.upper:.3f}, n = {distance.n}; limit {delta}"
    if distance.lower > max(delta, floor.distance.D if floor else 0.0):
        code, words = _difference(found.gap)
        return Check(name, "fail", code, f"The {name} {words} ({figure}).")
    if distance.upper < delta:
        return Check(name, "pass", "EQUIVALENT", f"The {name} is that of the comparison ({figure}).")
    if delta > distance.D:
        words = f"The {name} is not surely within the limit ({figure})"
        remedy = f"about {distance.rows_needed(delta)} rows like these would settle it, if the two are equal"
        return Check(name, "unknown", "UNDERPOWERED", f"{words}; {remedy}.")
    words = f"The {name} is neither surely within nor surely beyond the limit ({figure}); train further or add rows."
    return Check(name, "unknown", "NOT_EQUIVALENT", words)


def _difference(gap: float | None) -> tuple[str, str]:
    if gap is None:
        return "DIFFERENT", "differs from the comparison"
    if gap < 0:
        return "OVER_FORGOTTEN", "lies below where a model that never saw the rows would be"
    return "STILL_KNOWN", "is higher than a model that never saw the rows would give"


def check_mean(found: Closeness, shift: Shift, bounds: Bounds) -> Check:
    """Whether the means are equivalent (TOST)."""
    name, margin = f"{found.name}, mean", equivalence_margin(bounds.delta) * shift.spread
    figure = f"{shift.difference:+.3f} nats, {shift.lower:+.3f} to {shift.upper:+.3f}; limit {margin:.3f} either way"
    if -margin < shift.lower and shift.upper < margin:
        return Check(name, "pass", "MEAN_EQUIVALENT", f"The mean {found.name} is that of the comparison ({figure}).")
    words = f"The mean {found.name} is not surely that of the comparison ({figure})."
    return Check(name, "unknown", "MEAN_NOT_EQUIVALENT", words)


def check_sensitivity(controls: Sequence[Closeness], bounds: Bounds) -> Check:
    """Positive control: the start model, which knows the rows, must fail."""
    name = "positive control"
    if not controls:
        words = "The start model was not scored, so the test was not seen to fail. Give --start."
        return Check(name, "unknown", "NO_CONTROL", words)
    figure = "; ".join(f"{found.name} D = {found.distance.D:.3f}, n = {found.distance.n}" for found in controls)
    if any(found.distance.lower > bounds.delta for found in controls):
        return Check(name, "pass", "SENSITIVE", f"The start model fails the same test ({figure}), so it can tell.")
    words = f"The start model does not surely fail the same test ({figure})"
    return Check(name, "unknown", "NO_SENSITIVITY", f"{words}: it hardly knew the rows, or they are too few.")


def check_floor(floor: Sequence[Closeness], required: Sequence[str], bounds: Bounds) -> Check:
    """Negative control: a second model that never saw the rows must pass on every required score."""
    name = "negative control"
    if missing := sorted(set(required) - {found.name for found in floor}):
        words = f"The references could not be compared with each other: no {', '.join(missing)}."
        return Check(name, "unknown", "NOT_MEASURED", words)
    checks = [check_distance(found, bounds, None) for found in floor]
    checks += [check_mean(found, found.shift, bounds) for found in floor if found.shift]
    figure = "; ".join(f"{found.name} D = {found.distance.D:.3f}, to {found.distance.upper:.3f}" for found in floor)
    if all(check.status == "pass" for check in checks):
        words = f"Models that never saw the rows pass against each other ({figure})."
        return Check(name, "pass", "REFERENCES_AGREE", words)
    words = f"Models that never saw the rows do not pass against each other ({figure}; limit {bounds.delta})"
    remedy = "so nothing can. More rows would lower the noise."
    return Check(name, "unknown", "NOISE_FLOOR_ABOVE_DELTA", f"{words}, {remedy}")


def check_attacks(attacks: Sequence[Attack], bounds: Bounds) -> Check:
    """Whether a membership attack does better than on the reference."""
    name, margin = "membership attacks", auc_margin(bounds.delta)
    figure = "; ".join(_auc(found) for found in attacks)
    bounded = [
        (found.difference_lower, found.difference_upper)
        for found in attacks
        if found.difference_lower is not None and found.difference_upper is not None
    ]
    if not bounded:
        words = f"Reported only: without a reference nobody knows what AUC such rows have ({figure})."
        return Check(name, "skipped", "ATTACKS_REPORTED", words)
    figure += f"; limit {margin:.3f} above the reference"
    if any(lower > margin for lower, _ in bounded):
        words = f"An attack tells forget rows from unseen ones ({figure})."
        return Check(name, "fail", "MEMBERS_RECOGNISED", words)
    if all(upper < margin for _, upper in bounded):
        words = f"No attack tells forget rows from unseen ones better than on the reference ({figure})."
        return Check(name, "pass", "MEMBERS_HIDDEN", words)
    words = f"Whether an attack does better than on the reference is open ({figure})."
    return Check(name, "unknown", "MEMBERS_UNSURE", words)


def _auc(found: Attack) -> str:
    return f"{found.name} AUC {found.auc:.3f}" + (
        f", there {found.reference:.3f}" if found.reference is not None else ""
    )


def check_relearned(found: Relearned, bounds: Bounds) -> Check:
    """Whether training on other rows of the same subjects brings back more than in a reference treated alike."""
    name, shift = "relearning attack", found.shift
    margin = equivalence_margin(bounds.delta) * shift.spread
    figure = (
        f"{shift.difference:+.3f} nats, {shift.lower:+.3f} to {shift.upper:+.3f}, n = {shift.n}; limit {margin:.3f}"
    )
    what = "After training on other rows of the same subjects"
    if found.distance.lower > bounds.delta and shift.lower > 0:
        words = (
            f"{what} it knows more of the rest than a reference treated alike ({figure}; D = {found.distance.D:.3f})."
        )
        return Check(name, "fail", "RELEARNED", words)
    if shift.upper < margin:
        words = f"{what} it knows no more of the rest than a reference treated alike ({figure})."
        return Check(name, "pass", "NOT_RELEARNED", words)
    words = f"{what} it may know more of the rest than a reference treated alike ({figure})."
    return Check(name, "unknown", "RELEARNING_UNSURE", words)
