"""Answers that fell apart: empty, or repeating themselves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ...model.scores import GREEDY, Scores
from ...recipe.bounds import Bounds
from ..collected import Collected
from ..findings import Check, Context, Measure, failed, passed, unsure
from ..statistics.counts import Excess, excess
from ..tables import Shown, Table
from ._counts import count_table, distinct
from .kept import HEADING


def measure(scores: Collected, bounds: Bounds) -> Excess | None:
    """Greedy answers that are empty or repeat themselves, where those of the model it is measured against do not.

    Forget rows are measured against the reference, retain rows against the start model, or the other if one is
    missing. Names are of the request's rows.
    """
    against = {"forget": (scores.reference, scores.start), "retain": (scores.start, scores.reference)}
    pairs: list[tuple[bool, bool, str | None]] = []
    for name, candidates in against.items():
        own = _broken(scores.unlearned, name)
        other = next((flags for one in candidates if (flags := _broken(one, name)) is not None), None)
        if own is None or other is None:
            continue
        rows = scores.unlearned.sets[name]
        for row in distinct(rows):
            our, their = own[row], other[row]
            if our is not None and their is not None:
                pairs.append((our, their, rows.names[row] if name == "forget" else None))
    if not pairs:
        return None
    return excess(*zip(*pairs, strict=True))


def _broken(scores: Scores | None, name: str) -> list[bool | None] | None:
    """Which greedy answers to a set are gibberish, None where that is not known."""
    greedy = scores.sets[name].elicited.get(GREEDY) if scores is not None and name in scores.sets else None
    return greedy.traits.get("gibberish") if greedy else None


def judge(finding: Excess | None, context: Context) -> Iterator[Check]:
    """Whether more answers fell apart than chance explains."""
    if finding is None:
        return
    name = "gibberish"
    figure = f"{finding.more} of {finding.total}, {finding.fewer} the other way; p = {finding.p:.2g}"
    if finding.p <= context.count_level:
        yield failed(name, "GIBBERISH", f"Answers are empty or repeat themselves ({figure}).")
    elif finding.p <= context.bounds.fail_level:
        words = f"Some answers are empty or repeat themselves, too few to be sure ({figure})."
        yield unsure(name, "SOME_GIBBERISH", words)
    else:
        words = f"No more answers are empty or repeat themselves than chance gives ({figure})."
        yield passed(name, "NO_GIBBERISH", words)


def why_missing(finding: Excess | None, scores: Collected) -> dict[str, str]:
    """What it needs."""
    needs = "there are no answers of this model, and of another to compare them with"
    return {"gibberish": needs} if finding is None else {}


def table(finding: Excess | None, shown: Shown) -> Iterable[Table]:
    """Here and at the comparison."""
    note = "Answers that fell apart: forget rows against the reference, retain rows against the start model."
    return count_table("Empty or repeating answers", note, finding, shown)


MEASURE = Measure(
    place=150,
    measure=measure,
    empty=None,
    judge=judge,
    heading=HEADING,
    table=table,
    why_missing=why_missing,
    about="kept",
    counts=True,
)
