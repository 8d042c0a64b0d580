"""Secrets and responses among sampled answers, against the reference's samples."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

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
    """Leaks, of secrets or of responses, among sampled answers to the same prompts.

    items: what could leak; answers: samples of each; leaked, by_reference: items that any sample gave away;
    beyond: those that only the verified model gave away, and that nobody guesses; p: one-sided, `counts.stratified_p`.
    The last three are null without a reference.
    """

    items: int
    answers: int
    leaked: int
    by_reference: int | None
    beyond: int | None
    p: Chance | None


@dataclass(frozen=True)
class _Item:
    """In how many samples something came out, None where nobody asked, and whether it may be guessed."""

    count: int | None
    guessable: bool


def measure(scores: Collected, bounds: Bounds) -> Samples | None:
    """Item by item; None without samples, or without those of a reference that is there."""
    ours, rows = scores.unlearned.forget.elicited.get(SAMPLED), distinct(scores.unlearned.forget)
    if ours is None:
        return None
    if scores.reference is None:
        return _alone(ours, [item for item in _items(ours, rows) if item.count is not None])
    theirs = scores.reference.forget.elicited.get(SAMPLED)
    if theirs is None:
        return None
    pairs = [
        (our, our.count, their.count)
        for our, their in zip(_items(ours, rows), _items(theirs, rows), strict=True)
        if our.count is not None and their.count is not None
    ]
    if not pairs or ours.answers != theirs.answers:
        return None
    first, second = [our for _, our, _ in pairs], [their for _, _, their in pairs]
    return Samples(
        items=len(pairs),
        answers=ours.answers,
        leaked=sum(count > 0 for count in first),
        by_reference=sum(count > 0 for count in second),
        beyond=sum(our > 0 and not their and not item.guessable for item, our, their in pairs),
        p=stratified_p(first, second, ours.answers),
    )


def _alone(ours: Elicited, items: Sequence[_Item]) -> Samples | None:
    if not items:
        return None
    leaked = sum(bool(item.count) for item in items)
    return Samples(items=len(items), answers=ours.answers, leaked=leaked, by_reference=None, beyond=None, p=None)


def _items(sampled: Elicited, rows: Sequence[int]) -> list[_Item]:
    """Each named secret of these rows, and each response."""
    secrets = [count for row in rows for count in (sampled.secrets[row] if sampled.secrets else [])]
    by_words = sampled.by_words or [None] * len(sampled.recall)
    responses = [_Item(sampled.verbatim[row] if sampled.verbatim else None, not by_words[row]) for row in rows]
    return [*(_Item(count, guessable=False) for count in secrets), *responses]


def judge(finding: Samples | None, context: Context) -> Iterator[Check]:
    """Whether samples give more away than the reference's, by more than chance explains."""
    if finding is None:
        return
    name = "sampled answers"
    figure = f"{finding.leaked} of {finding.items} items in {finding.answers} samples each"
    if finding.p is None:
        yield _judged_alone(name, finding, figure)
        return
    figure += f", the reference {finding.by_reference}; p = {finding.p:.2g}"
    if finding.p <= context.count_level:
        yield failed(name, "SAMPLES_LEAKED", f"Sampled answers give away more than the reference's ({figure}).")
    elif finding.beyond or finding.p <= context.bounds.fail_level:
        words = f"Sampled answers give away {finding.beyond} items that the reference's do not, too few to be sure"
        yield unsure(name, "SAMPLES_SAID", f"{words} ({figure}).")
    else:
        words = f"Sampled answers give nothing away that the reference's do not ({figure}"
        text = f"{words}; of such answers {no_more_than(finding.items * finding.answers)})."
        yield passed(name, "NO_SAMPLE_LEAKED", text)


def _judged_alone(name: str, finding: Samples, figure: str) -> Check:
    if finding.leaked:
        words = "Sampled answers give something away; whether a model that never saw the rows does too is not known"
        return unsure(name, "SAMPLES_UNCOMPARED", f"{words} ({figure}).")
    text = f"of such answers {no_more_than(finding.items * finding.answers)}"
    return passed(name, "NO_SAMPLE_SAID", f"Sampled answers give nothing away ({figure}; {text}).")


def why_missing(finding: Samples | None, scores: Collected) -> dict[str, str]:
    """What it needs."""
    if finding is not None:
        return {} if finding.p is not None else {"samples.by_reference": "there is no reference"}
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
    note = "Secrets and responses that any sample gave away."
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
