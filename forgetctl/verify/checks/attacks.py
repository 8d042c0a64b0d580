"""Membership attacks: somebody who has the model tries to tell the forget rows from rows that no model saw."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ...model.scores import Role, Scores, ScoreSet
from ...recipe.bounds import Bounds
from ..collected import Collected
from ..findings import Check, Context, Heading, Measure, failed, passed, reported, trace, unsure
from ..statistics.membership import (
    ATTACKS,
    CALIBRATED,
    Attack,
    Sides,
    Subjects,
    attack,
    auc_margin,
    calibrated,
    priv_leak,
)
from ..statistics.shapes import Shape, Share
from ..tables import ROLES, Row, Shown, Table, between, cell, difference, number, signed, tables_of
from ._counts import distinct

KINDS = {
    "loss": ("Loss", "How likely the answer is."),
    "min_k": ("Min-K%", "How likely the least likely tokens are."),
    "min_k_plus_plus": ("Min-K%++", "The same, measured by what other tokens would have been."),
    CALIBRATED: ("Calibrated", "How likely the answer is, less what the reference gives it."),
}
"""By what each attack tells the rows."""


class Attacks(Shape):
    """Every attack that the scores allow. priv_leak: MUSE's, from the Min-K% attack; null without that attack on the
    reference. retained: AUC of telling retain rows from unseen ones by their loss, by model: unlearning some rows may
    expose others."""

    by: tuple[Attack, ...]
    priv_leak: float | None
    retained: dict[Role, Share]


def measure(scores: Collected, bounds: Bounds) -> Attacks | None:
    """With the reference's figures where it was scored on the same rows; None without rows that no model saw."""
    by = tuple(_attacks(scores, bounds))
    return Attacks(by=by, priv_leak=_privacy_leak(by), retained=_retained(scores, bounds)) if by else None


def _attacks(scores: Collected, bounds: Bounds) -> Iterator[Attack]:
    ours, theirs = scores.unlearned, scores.reference
    if "holdout" not in ours.sets:
        return
    subjects = Subjects(members=_subjects(ours.forget), others=_subjects(ours.sets["holdout"]))
    for name in ATTACKS:
        if name != CALIBRATED and (sides := _sides(name, ours)) is not None:
            control = _sides(name, theirs) if theirs else None
            yield attack(name, sides, control, subjects, bounds.levels)
    if theirs is not None and (sides := _sides("loss", ours)) and (shadow := _sides("loss", theirs)):
        yield calibrated(sides, shadow, subjects, bounds.levels)


def _sides(name: str, scores: Scores) -> Sides | None:
    """Scores of the forget and the unseen rows, identical rows once; None where either was not scored so."""
    if "holdout" not in scores.sets:
        return None
    members, others = (_scores(name, rows) for rows in (scores.forget, scores.sets["holdout"]))
    return None if members is None or others is None else Sides(members=members, others=others)


def _scores(name: str, rows: ScoreSet) -> NDArray[np.float64] | None:
    """Higher for rows that look like training data."""
    chosen = distinct(rows)
    if name == "loss":
        return rows.per_token[chosen]
    values = getattr(rows, name)
    return None if values is None else np.asarray(values, dtype=float)[chosen]


def _subjects(rows: ScoreSet) -> list[int] | None:
    """Numbered from 0."""
    if rows.subjects is None:
        return None
    seen: dict[int, int] = {}
    return [seen.setdefault(rows.subjects[row], len(seen)) for row in distinct(rows)]


def _retained(scores: Collected, bounds: Bounds) -> dict[Role, float]:
    exposed: dict[Role, float] = {}
    for role, one in scores.models.items():
        retain, unseen = one.sets.get("retain"), one.sets.get("holdout")
        if retain is not None and unseen is not None:
            sides = Sides(members=retain.per_token, others=unseen.per_token)
            exposed[role] = attack("loss", sides, levels=bounds.levels).auc
    return exposed


def _privacy_leak(attacks: tuple[Attack, ...]) -> float | None:
    for made in attacks:
        if made.name == "min_k" and made.reference is not None:
            return priv_leak(made.auc, made.reference)
    return None


NAME = "membership attacks"


def judge(finding: Attacks | None, context: Context) -> Iterator[Check]:
    """Whether an attack tells the rows surely more, or less, than on the reference: the one shows that they are known,
    the other that somebody removed them."""
    if finding is None:
        return
    margin, figure = auc_margin(context.bounds.delta), "; ".join(map(_auc, finding.by))
    compared = [one for one in finding.by if one.reference is not None]
    if compared:
        yield _judged(compared, margin, f"{figure}; limit {margin:.3f} from the reference's")
    else:
        yield _uncompared(finding, margin, f"{figure}; limit {margin:.3f} from guessing")


def _judged(attacks: list[Attack], margin: float, figure: str) -> Check:
    above = [one.name for one in attacks if one.difference_lower is not None and one.difference_lower > margin]
    below = [one.name for one in attacks if one.difference_upper is not None and one.difference_upper < -margin]
    decidable = [one for one in attacks if one.noise < margin]
    if above:
        words = f"Attacks tell forget rows from unseen ones better than on the reference: {_and(above)}"
        return failed(NAME, "MEMBERS_RECOGNISED", f"{words} ({figure}).")
    if below:
        words = f"Who has the model can see that rows were removed, by scores below those of unseen ones: {_and(below)}"
        return trace(NAME, "REMOVAL_VISIBLE", f"{words} ({figure}).")
    if not decidable:
        words = "No attack surely tells forget rows from unseen ones, and with so few rows none can be shown not to"
        return reported(NAME, "ATTACKS_REPORTED", f"{words} ({figure}).")
    if any(one.most >= margin for one in decidable):
        words = "Whether attacks tell forget rows from unseen ones more or less than on the reference is open"
        return unsure(NAME, "MEMBERS_UNSURE", f"{words} ({figure}).")
    few = [one.name for one in attacks if one not in decidable]
    words = "No attack tells forget rows from unseen ones more or less than on the reference"
    left = f"; too few rows to show it of {_and(few)}" if few else ""
    return passed(NAME, "MEMBERS_HIDDEN", f"{words} ({figure}{left}).")


def _uncompared(finding: Attacks, margin: float, figure: str) -> Check:
    """Without a reference nobody knows what AUC such rows have: far from guessing they are open, whatever the cause."""
    if all(one.most < margin for one in finding.by):
        return passed(NAME, "MEMBERS_GUESSED", f"Attacks do no better or worse than guessing ({figure}).")
    words = "Whether attacks tell forget rows from unseen ones is open, since nobody knows what AUC such rows have"
    return unsure(NAME, "MEMBERS_UNCOMPARED", f"{words} by themselves ({figure}). Give --reference.")


def _and(names: Sequence[str]) -> str:
    return ", ".join(names)


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
    margin = number(auc_margin(bounds.delta))
    return (
        "Somebody who has the model tries to tell the forget rows from rows that no model saw. AUC is how often the "
        "attack picks the right one of two: 0.5 is guessing, 1 is certainty, and below 0.5 it tells them the other way "
        "round. "
    ) + (
        f"The rows may differ by themselves, so what counts is how far the AUC is from the reference's. Surely "
        f"{margin} above it they are still known. Surely as much below it somebody removed them for all to see, which "
        "is no sign that they are known, and holds back a pass."
        if compared
        else "Without a reference nobody knows what AUC such rows have; a pass needs all of them surely within "
        f"{margin} of guessing."
    )


def table(finding: Attacks | None, shown: Shown) -> Iterator[Table]:
    """A row for each attack, and how exposed the retain rows are."""
    if finding is None:
        return
    columns = ("Attack by", "AUC", "Reference's AUC", "Difference")
    remark = (
        f"PrivLeak (MUSE), from Min-K%: {signed(finding.priv_leak)}. Negative means that the rows are still known, "
        "positive that they are over-forgotten; at 0 the model is like the reference."
    )
    yield from tables_of(
        "Attacks on the forget rows.", columns, map(_row, finding.by), "" if finding.priv_leak is None else remark
    )
    if finding.retained:
        roles = [role for role in ROLES if role in finding.retained]
        note = "Retain rows from unseen ones, by loss. Unlearning some rows may expose others."
        row = Row("Retain rows: AUC", note, tuple(cell(finding.retained[role]) for role in roles))
        yield from tables_of("Attacks on the retain rows.", ("Measure", *(shown.labels[role] for role in roles)), [row])


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
