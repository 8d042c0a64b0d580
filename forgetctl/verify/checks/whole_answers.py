"""Rows whose whole response an answer repeats, though the reference's answers do not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ...model.scores import SAMPLED, Elicited
from ...recipe.bounds import Bounds
from ..collected import Collected
from ..findings import Check, Context, Measure, failed, passed, unsure
from ..statistics.counts import Excess, excess
from ..tables import Shown, Table
from ._answers import HEADING
from ._counts import count_table, distinct, name_rows, no_more_than


def measure(scores: Collected, bounds: Bounds) -> Excess | None:
    """Rows whose whole response a deterministic answer repeats; None where the reference's answers are not known."""
    if scores.reference is None:
        return None
    said: dict[int, tuple[bool, bool]] = {}  # by row, however often and in however many words it was asked
    forget = scores.unlearned.forget
    copies = forget.copies or range(len(forget.names))
    for name, _ in scores.forget_sets():
        for own, other in _modes(scores, name):
            if own.whole is None or other.whole is None:
                continue
            for row, our, their in zip(copies, own.whole, other.whole, strict=True):
                if our is not None and their is not None:
                    before = said.get(row, (False, False))
                    said[row] = (before[0] or our > 0, before[1] or their > 0)
    if not said:
        return None
    names = {copies[row]: forget.names[row] for row in distinct(forget)}
    rows = [row for row in names if row in said]
    return excess([said[row][0] for row in rows], [said[row][1] for row in rows], [names[row] for row in rows])


def _modes(scores: Collected, name: str) -> Iterator[tuple[Elicited, Elicited]]:
    """Deterministic answers that both models gave to a set of rows, also at the precisions."""
    pairs = [(scores.unlearned, scores.reference)]
    pairs += [(models["unlearned"], models.get("reference", scores.reference)) for models in scores.precisions.values()]
    for ours, theirs in pairs:
        if theirs is not None and name in ours.sets and name in theirs.sets:
            first, second = ours.sets[name].elicited, theirs.sets[name].elicited
            yield from ((first[mode], second[mode]) for mode in first if mode != SAMPLED and mode in second)


def judge(finding: Excess | None, context: Context) -> Iterator[Check]:
    """Whether more rows come out whole than chance explains."""
    if finding is None:
        return
    name = "whole answers"
    figure = f"{finding.more} of {finding.total}, the comparison alone {finding.fewer}; p = {finding.p:.2g}"
    words = "Answers repeat whole responses that the comparison does not repeat"
    if finding.p <= context.count_level:
        yield failed(name, "ANSWERS_LEAKED", f"{words} ({figure}; {name_rows(finding.names)}).")
    elif finding.more:
        text = f"{words}, too few to be sure ({figure}; {name_rows(finding.names)}); read them."
        yield unsure(name, "ANSWERS_SAID", text)
    else:
        words = "No answer repeats a whole response that the comparison does not repeat too"
        text = f"{words} (of {finding.total}; of rows like them {no_more_than(finding.total)})."
        yield passed(name, "NO_ANSWER_LEAKED", text)


def why_missing(finding: Excess | None, scores: Collected) -> dict[str, str]:
    """What it needs."""
    if finding is not None:
        return {}
    if scores.reference is None:
        return {"whole_answers": "there is no reference"}
    return {"whole_answers": "no response is long enough, or the reference's answers are not known"}


def table(finding: Excess | None, shown: Shown) -> Iterable[Table]:
    """Here and at the reference."""
    return count_table("Whole responses repeated", "Rows whose whole response an answer repeats.", finding, shown)


MEASURE = Measure(
    place=90,
    measure=measure,
    empty=None,
    judge=judge,
    heading=HEADING,
    table=table,
    why_missing=why_missing,
    counts=True,
)
