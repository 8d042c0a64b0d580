"""Membership attacks: somebody who has the model tries to tell the forget rows from rows that no model saw."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from ...model.scores import ScoreSet
from ...recipe.bounds import Bounds
from ..collected import Collected
from ..findings import Check, Context, Heading, Measure, failed, passed, skipped, unsure
from ..statistics.membership import ATTACKS, Attack, attack, auc_margin, priv_leak
from ..statistics.shapes import Shape
from ..tables import Row, Shown, Table, between, cell, difference, number, signed, tables_of

KINDS = {
    "loss": ("Loss", "How likely the answer is."),
    "zlib": ("Loss by zlib", "The same, measured by how well the text can be compressed."),
    "min_k": ("Min-K%", "How likely the least likely tokens are."),
    "min_k_plus_plus": ("Min-K%++", "The same, measured by what other tokens would have been."),
}
"""By what each attack tells the rows."""


class Attacks(Shape):
    """Every attack that the scores allow. priv_leak: MUSE's, from the Min-K% attack; null without that attack on the
    reference."""

    by: tuple[Attack, ...]
    priv_leak: float | None


def measure(scores: Collected, bounds: Bounds) -> Attacks | None:
    """With the reference's figures where it was scored on the same rows; None without rows that no model saw."""
    by = tuple(_attacks(scores, bounds))
    return Attacks(by=by, priv_leak=_privacy_leak(by)) if by else None


def _attacks(scores: Collected, bounds: Bounds) -> Iterator[Attack]:
    forget, holdout = scores.unlearned.forget, scores.unlearned.sets.get("holdout")
    if holdout is None:
        return
    reference = scores.reference
    unseen = reference.sets.get("holdout") if reference else None
    for name in ATTACKS:
        members, others = _scores(name, forget), _scores(name, holdout)
        if members is None or others is None:
            continue
        theirs = (_scores(name, reference.forget), _scores(name, unseen)) if reference and unseen else (None, None)
        control = (theirs[0], theirs[1]) if theirs[0] is not None and theirs[1] is not None else None
        yield attack(name, members, others, forget.units, bounds.levels, control, holdout.units)


def _scores(name: str, rows: ScoreSet) -> NDArray[np.float64] | None:
    """Higher for rows that look like training data."""
    if name == "loss":
        return rows.per_token
    if name == "zlib":
        return None if rows.zlib_bytes is None else np.asarray(rows.answer_logp) / np.asarray(rows.zlib_bytes)
    values = getattr(rows, name)
    return None if values is None else np.asarray(values, dtype=float)


def _privacy_leak(attacks: tuple[Attack, ...]) -> float | None:
    for made in attacks:
        if made.name == "min_k" and made.reference is not None:
            return priv_leak(made.auc, made.reference)
    return None


def judge(finding: Attacks | None, context: Context) -> Iterator[Check]:
    """Whether an attack does better than on the reference."""
    if finding is None:
        return
    name, margin = "membership attacks", auc_margin(context.bounds.delta)
    figure = "; ".join(_auc(one) for one in finding.by)
    bounded = [
        (one.difference_lower, one.difference_upper)
        for one in finding.by
        if one.difference_lower is not None and one.difference_upper is not None
    ]
    if not bounded:
        words = f"Reported only: without a reference nobody knows what AUC such rows have ({figure})."
        yield skipped(name, "ATTACKS_REPORTED", words)
        return
    figure += f"; limit {margin:.3f} above the reference"
    if any(lower > margin for lower, _ in bounded):
        yield failed(name, "MEMBERS_RECOGNISED", f"An attack tells forget rows from unseen ones ({figure}).")
    elif all(upper < margin for _, upper in bounded):
        words = f"No attack tells forget rows from unseen ones better than on the reference ({figure})."
        yield passed(name, "MEMBERS_HIDDEN", words)
    else:
        yield unsure(name, "MEMBERS_UNSURE", f"Whether an attack does better than on the reference is open ({figure}).")


def _auc(one: Attack) -> str:
    there = f", there {one.reference:.3f}" if one.reference is not None else ""
    return f"{one.name} AUC {one.auc:.3f}{there}"


def why_missing(finding: Attacks | None, scores: Collected) -> dict[str, str]:
    """What they need."""
    reasons = {} if finding else {"membership_attacks": "they need --holdout, rows that no model saw"}
    if finding is None or finding.priv_leak is None:
        reasons["priv_leak"] = "it needs --holdout, and a reference that was scored on it too"
    return reasons


def _words(findings: Shape, bounds: Bounds) -> str:
    finding = MEASURE.of(findings)
    compared = finding is not None and any(one.reference is not None for one in finding.by)
    return (
        "Somebody who has the model tries to tell the forget rows from rows that no model saw. AUC is how often the "
        "attack picks the right one of two: 0.5 is guessing, 1 is certainty. "
    ) + (
        "The rows may differ by themselves, so what counts is how far the AUC is above the reference's: a pass needs "
        f"surely less than {number(auc_margin(bounds.delta))}."
        if compared
        else "Without a reference nobody knows what AUC such rows have, so this is reported only."
    )


def table(finding: Attacks | None, shown: Shown) -> Iterable[Table]:
    """A row for each attack."""
    if finding is None:
        return ()
    columns = ("Attack by", "AUC", "Reference's AUC", "Difference")
    remark = (
        f"PrivLeak (MUSE), from Min-K%: {signed(finding.priv_leak)}. Negative means that the rows are still known, "
        "positive that they are over-forgotten; at 0 the model is like the reference."
    )
    return tables_of(
        "Attacks on the forget rows.", columns, map(_row, finding.by), "" if finding.priv_leak is None else remark
    )


def _row(one: Attack) -> Row:
    label, note = KINDS.get(one.name, (one.name, ""))
    apart = difference(one.difference, one.difference_lower, one.difference_upper)
    return Row(label, note, (cell(one.auc, between(one.lower, one.upper)), cell(one.reference), apart))


MEASURE: Measure[Attacks | None] = Measure(
    place=120,
    measure=measure,
    empty=None,
    judge=judge,
    heading=Heading(title="Membership attacks", words=_words),
    table=table,
    why_missing=why_missing,
)
