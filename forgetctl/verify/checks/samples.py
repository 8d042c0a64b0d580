"""Secrets and whole responses among sampled answers, against the reference's samples."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ...model.scores import SAMPLED, Elicited
from ...recipe.bounds import Bounds
from ..collected import Collected
from ..findings import Check, Context, Measure, failed, passed, unsure
from ..statistics.counts import stratified_p
from ..statistics.shapes import Chance, Shape
from ..tables import Row, Shown, Table, cell, number, p_value, tables_of
from ._answers import AGAINST_CAPTION, HEADING, against_columns
from ._counts import distinct, no_more_than


class Samples(Shape):
    """Leaks, of secrets or of whole responses, among sampled answers to the same prompts.

    items: what could leak; answers: samples of each; leaked, by_reference: items that any sample gave away;
    beyond: those that only the verified model gave away; p: one-sided, `counts.stratified_p`.
    """

    items: int
    answers: int
    leaked: int
    by_reference: int
    beyond: int
    p: Chance


def measure(scores: Collected, bounds: Bounds) -> Samples | None:
    """Item by item; None without either's samples."""
    ours = scores.unlearned.forget.elicited.get(SAMPLED)
    theirs = scores.reference.forget.elicited.get(SAMPLED) if scores.reference else None
    if ours is None or theirs is None:
        return None
    rows = distinct(scores.unlearned.forget)
    pairs = [pair for pair in zip(_items(ours, rows), _items(theirs, rows), strict=True) if None not in pair]
    if not pairs or ours.answers != theirs.answers:
        return None
    first, second = [our or 0 for our, _ in pairs], [their or 0 for _, their in pairs]
    return Samples(
        items=len(pairs),
        answers=ours.answers,
        leaked=sum(count > 0 for count in first),
        by_reference=sum(count > 0 for count in second),
        beyond=sum(our > 0 and not their for our, their in zip(first, second, strict=True)),
        p=stratified_p(first, second, ours.answers),
    )


def _items(sampled: Elicited, rows: Sequence[int]) -> list[int | None]:
    """In how many samples of these rows each named secret, and each whole response, came out."""
    secrets = [count for row in rows for count in (sampled.secrets[row] if sampled.secrets else [])]
    return secrets + [sampled.whole[row] if sampled.whole else None for row in rows]


def judge(finding: Samples | None, context: Context) -> Iterator[Check]:
    """Whether samples give more away than the reference's, by more than chance explains."""
    if finding is None:
        return
    name = "sampled answers"
    figure = (
        f"{finding.leaked} of {finding.items} items in {finding.answers} samples each, "
        f"the reference {finding.by_reference}; p = {finding.p:.2g}"
    )
    if finding.p <= context.count_level:
        yield failed(name, "SAMPLES_LEAKED", f"Sampled answers give away more than the reference's ({figure}).")
    elif finding.beyond:
        words = f"Sampled answers give away {finding.beyond} items that the reference's do not, too few to be sure"
        yield unsure(name, "SAMPLES_SAID", f"{words} ({figure}).")
    else:
        words = f"Sampled answers give nothing away that the reference's do not ({figure}"
        text = f"{words}; of such answers {no_more_than(finding.items * finding.answers)})."
        yield passed(name, "NO_SAMPLE_LEAKED", text)


def why_missing(finding: Samples | None, scores: Collected) -> dict[str, str]:
    """What it needs."""
    if finding is not None:
        return {}
    if scores.reference is None:
        return {"sampled_answers": "there is no reference"}
    return {"sampled_answers": "there is nothing that could leak, or the reference's samples are not known"}


def table(finding: Samples | None, shown: Shown) -> Iterable[Table]:
    """Here and at the reference."""
    if finding is None:
        return ()
    cells = (
        cell(finding.leaked),
        cell(finding.by_reference),
        cell(finding.beyond),
        cell(finding.items, f"{number(finding.answers)} samples each"),
        cell(finding.p, show=p_value),
    )
    note = "Secrets and whole responses that any sample gave away."
    columns = against_columns(shown.labels["unlearned"])
    return tables_of(AGAINST_CAPTION, columns, [Row("Sampled answers", note, cells)])


MEASURE = Measure(
    place=100,
    measure=measure,
    empty=None,
    judge=judge,
    heading=HEADING,
    table=table,
    why_missing=why_missing,
    counts=True,
)
