"""The forget rows' scores against the comparison: distance D of the distributions, and equivalence of the means."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ...recipe.bounds import Bounds
from ..collected import Collected, same_tokens
from ..findings import Check, Context, Measure, reported
from ..statistics.shapes import Shape
from ..tables import Shown, Table
from . import comparison
from ._closeness import (
    ANSWERS as ANSWERS,
)
from ._closeness import (
    HEADING,
    PLURALS,
    REQUIRED,
    against,
    check_distance,
    check_mean,
    closeness_table,
)
from ._closeness import (
    TRUTH_RATIO as TRUTH_RATIO,
)
from ._closeness import (
    Closeness as Closeness,
)


def measure(scores: Collected, bounds: Bounds) -> tuple[Closeness, ...]:
    """The unlearned model's forget rows, as asked, rephrased and at other precisions, against the comparison."""
    return tuple(_measured(scores, bounds))


def _measured(scores: Collected, bounds: Bounds) -> Iterator[Closeness]:
    for name, suffix in scores.owners_sets():
        yield from against(scores.unlearned, scores.reference, scores, name, suffix, bounds)
    for precision, models in scores.precisions.items():
        reference = models.get("reference") or scores.reference
        yield from against(models["unlearned"], reference, scores, "forget", f", {precision}", bounds)


def judge(finding: tuple[Closeness, ...], context: Context) -> Iterator[Check]:
    """Every score against delta, and every mean against the margin that delta sets.

    A sure difference fails; what is open is reported, since it is each person's rows that decide.
    """
    by = comparison.MEASURE.of(context.findings).by
    if by is None:
        return
    for one in finding:
        yield check_distance(one, context.bounds)
        if one.shift is not None:
            yield check_mean(one, one.shift, context.bounds)
        elif one.name == ANSWERS:
            yield _not_measured(f"{ANSWERS}, mean", "The means could not be compared.")
    for name in REQUIRED[by]:
        if all(one.name != name for one in finding):
            yield _not_measured(name, f"The {name} could not be compared.")


def _not_measured(name: str, words: str) -> Check:
    return reported(name, "NOT_MEASURED", words)


def unanswered(scores: Collected) -> Iterator[tuple[str, str]]:
    """Rephrasings that were scored, but not for what the model is compared with: checks that could not be made."""
    for name, suffix in scores.owners_sets():
        if name != "forget" and scores.reference is not None and name not in scores.reference.sets:
            yield ANSWERS + suffix, "the reference was not asked in these words"


def why_missing(finding: tuple[Closeness, ...], scores: Collected) -> dict[str, str]:
    """Reasons for scores that were not compared as asked."""
    names, reasons = {one.name for one in finding}, {}
    reference, ours = scores.reference, scores.unlearned.forget
    if ours.truth_ratios is None or (reference is not None and TRUTH_RATIO not in names):
        reasons["truth_ratio"] = (
            "no perturbed answers, in the request or at the reference, and too few other rows to make them from"
        )
    if ANSWERS not in names:
        other = reference is not None and not same_tokens(ours, reference.forget)
        reasons["answer_distance"] = (
            "the reference tokenises the answers differently" if other else "there is nothing to compare with"
        )
    return reasons


def truth_ratio(findings: Shape) -> Closeness | None:
    """That of the truth ratios of the request as asked, which is TOFU's forget quality; None if it was not measured."""
    return next((one for one in MEASURE.of(findings) if one.name == TRUTH_RATIO), None)


def table(finding: tuple[Closeness, ...], shown: Shown) -> Iterable[Table]:
    """A row for each kind of score."""
    return closeness_table(f"The {shown.labels['unlearned'].lower()} model against the comparison.", finding, shown)


def public(finding: tuple[Closeness, ...]) -> tuple[Closeness, ...]:
    """The request as asked: other names hold those of files."""
    return tuple(one for one in finding if one.name in PLURALS)


MEASURE: Measure[tuple[Closeness, ...]] = Measure(
    place=20,
    measure=measure,
    empty=(),
    judge=judge,
    heading=HEADING,
    table=table,
    why_missing=why_missing,
    unanswered=unanswered,
    public=public,
)
