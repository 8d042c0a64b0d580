"""Tables of how like a model that never saw the rows the verified one is: distances, attacks, relearning."""

from __future__ import annotations

from collections.abc import Mapping

from ..verify.statistics.means import equivalence_margin
from ..verify.statistics.membership import auc_margin
from .formats import number, p_value, signed
from .tables import EMPTY, Cell, Row, Section, Table, between, cell, difference, tables_of
from .verdict_record import Attack, Closeness, Shift, Verdict
from .words import ATTACKS, DIVERGENCES, DIVERGENCES_EXPLAINED


def distances_section(verdict: Verdict, labels: Mapping[str, str]) -> Section:
    """Every distance, then the controls, then what is reported only."""
    delta = verdict.bounds.get("delta")
    limit = "the limit" if delta is None else f"the limit of {number(delta)}"
    columns = ("Score", "Distance D", "Rows", "Difference of means", "p, swapped", "p, KS test")
    words = (
        "Were the rows forgotten, they would look to the model as they do to one that never saw them. D is the largest "
        "gap between two distributions of scores, 0 if they are equal and 1 if they have nothing in common; the "
        f"verdict rests on its bounds: a pass needs the upper one below {limit}, a fail the lower one above it. "
        "Means, in nats per token, must agree as well: above 0 the rows are better known than in the comparison, "
        "below 0 less."
    )
    remark = (
        "p is how often chance makes as large a D: by swapping the two models row by row, and by TOFU's KS test. "
        "A small p shows a difference, a large one proves nothing."
    )
    shown = (
        (f"The {labels['unlearned'].lower()} model against the comparison.", verdict.distances),
        ("Control: the start model against the same comparison. It knows the rows, so it must fail.", verdict.control),
        (
            "Noise floor: another model that never saw the rows against the reference. Nothing that is closer than "
            "these two are is called different.",
            verdict.noise_floor or (),
        ),
    )
    made = [
        table
        for caption, found in shown
        for table in tables_of(caption, columns, tuple(_closeness(one, delta) for one in found))
    ]
    return Section("Distance from the comparison", words, (*made, *_reported(verdict)), (remark,) if made else ())


def _closeness(found: Closeness, delta: float | None) -> Row:
    medians = () if found.gap is None else (f"medians {signed(found.gap)}",)
    cells = (
        cell(found.D, between(found.lower, found.upper)),
        cell(found.n, f"{found.unit} resampled" if found.unit else ""),
        (*shift_cell(found.shift, delta, "±"), *medians),
        cell(found.p, show=p_value),
        cell(found.tofu_p, show=p_value),
    )
    return Row(found.name, "", cells)


def shift_cell(shift: Shift | None, delta: float | None, sides: str) -> Cell:
    """A difference of means with its bounds and its limit, which is one to both or to one of the sides."""
    if shift is None:
        return EMPTY
    limit = ""
    if delta is not None and 0 < delta < 1 and shift.spread is not None:
        limit = f"limit {sides}{number(equivalence_margin(delta) * shift.spread)}"
    return difference(shift.difference, shift.lower, shift.upper, limit)


def _reported(verdict: Verdict) -> tuple[Table, ...]:
    """Distances that are never the verdict."""
    rows = []
    if found := verdict.forget_quality:
        how = [f"{found.variant} mean" if found.variant else "", f"wrong answers from: {found.perturbed}"]
        told = ", ".join(filter(None, how if found.perturbed else how[:1]))
        words = "Two-sample KS test of the truth ratios" + (f" ({told})." if told else ".")
        p = "" if found.p is None else f"p = {p_value(found.p)}"
        rows.append(Row("TOFU forget quality", words, (cell(found.D, p, f"n = {number(found.n)}"),)))
    rows += [
        Row(DIVERGENCES.get(key, f"KL, {key}"), DIVERGENCES_EXPLAINED.get(key, ""), ((number(value),),))
        for key, value in (verdict.kl or {}).items()
    ]
    caption = "Reported, never the verdict. KL is the divergence of two models' answers, in nats per token, 0 or more."
    return tables_of(caption, ("Quantity", "Value"), tuple(rows))


def attacks_section(verdict: Verdict) -> Section:
    """Each membership attack, and MUSE's PrivLeak."""
    delta = verdict.bounds.get("delta")
    compared = any(one.reference is not None for one in verdict.attacks)
    limit = (
        f": a pass needs surely less than {number(auc_margin(delta))}" if delta is not None and 0 < delta < 1 else ""
    )
    words = (
        "Somebody who has the model tries to tell the forget rows from rows that no model saw. AUC is how often the "
        "attack picks the right one of two: 0.5 is guessing, 1 is certainty. "
    ) + (
        f"The rows may differ by themselves, so what counts is how far the AUC is above the reference's{limit}."
        if compared
        else "Without a reference nobody knows what AUC such rows have, so this is reported only."
    )
    rows = tuple(_attack(one) for one in verdict.attacks)
    remark = (
        f"PrivLeak (MUSE), from Min-K%: {signed(verdict.priv_leak)}. Negative means that the rows are still known, "
        "positive that they are over-forgotten; at 0 the model is like the reference."
    )
    return Section(
        "Membership attacks",
        words,
        tables_of("Attacks on the forget rows.", ("Attack by", "AUC", "Reference's AUC", "Difference"), rows),
        () if verdict.priv_leak is None else (remark,),
    )


def _attack(found: Attack) -> Row:
    label, note = ATTACKS.get(found.name, (found.name, ""))
    apart = difference(found.difference, found.difference_lower, found.difference_upper, "")
    return Row(label, note, (cell(found.auc, between(found.lower, found.upper)), cell(found.reference), apart))


def relearning_section(verdict: Verdict) -> Section:
    """What came back after training on other rows of the same subjects."""
    found = verdict.relearning
    words = (
        "What is only hidden comes back with little training. Model and reference were both trained on half of the "
        "forget rows and scored on the other half: a model that had forgotten learns no more than the reference does."
    )
    if found is None or (found.shift is None and found.distance is None):
        return Section("Relearning", words, ())
    distance, shift = found.distance, found.shift
    n = shift.n if shift else distance.n if distance else None
    cells = (
        shift_cell(shift, verdict.bounds.get("delta"), "+"),
        cell(distance.D, between(distance.lower, distance.upper)) if distance else EMPTY,
        cell(n),
    )
    caption = (
        "After training on the other half, against the reference; above 0 the model knows more, in nats per token."
    )
    columns = ("Rows", "Difference of means", "Distance D", "Number")
    return Section("Relearning", words, tables_of(caption, columns, (Row("Rows not trained on again", "", cells),)))
