"""Single rows that stayed known while the rest is not."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from ...model.scores import Scores, ScoreSet
from ...recipe.bounds import Bounds
from ..collected import Collected, same_tokens
from ..findings import Check, Context, Measure, failed, passed, unsure
from ..statistics.counts import Excess, excess, standing_above, standing_out, unpaired_excess
from ..tables import Shown, Table
from ._answers import HEADING
from ._counts import count_table, distinct, name_rows

LEAST_LEAD = 0.5
"""Nats a token by which the start model must know a row better for being half-way back to it to mean anything."""


def measure(scores: Collected, bounds: Bounds) -> Excess | None:
    """Rows that stand out as still known, against rows as far the other way; see `counts.standing_out`.

    Were the model like the reference, both would be equally frequent. Without a reference, rows that stand out of those
    that no model saw, against such of these. None without the scores for either.
    """
    if scores.start is None:
        return None
    if scores.reference is None:
        return _against_unseen(scores.start.forget, scores.unlearned)
    start, now, reference = scores.start.forget, scores.unlearned.forget, scores.reference.forget
    if not (same_tokens(start, now) and same_tokens(now, reference)):
        return None
    lead = start.per_token - (now.per_token + reference.per_token) / 2
    rows = [row for row in distinct(now) if lead[row] > LEAST_LEAD]
    if not rows:
        return None
    known, mirrored = standing_out((now.per_token - reference.per_token)[rows], lead[rows])
    return excess(known, mirrored, [now.names[row] for row in rows])


def _against_unseen(start: ScoreSet, model: Scores) -> Excess | None:
    now, unseen = model.forget, model.sets.get("holdout")
    if unseen is None or not same_tokens(start, now):
        return None
    lead = start.per_token - np.median(unseen.per_token)
    rows = [row for row in distinct(now) if lead[row] > LEAST_LEAD]
    if not rows:
        return None
    others = unseen.per_token[distinct(unseen)]
    known, alike = standing_above(now.per_token[rows], others, lead[rows])
    return unpaired_excess(known, alike, [now.names[row] for row in rows])


def judge(finding: Excess | None, context: Context) -> Iterator[Check]:
    """Whether more rows stand out as known than the other way."""
    if finding is None:
        return
    name = "single rows"
    figure = f"{finding.more} of {finding.total}, {finding.fewer} the other way; p = {finding.p:.2g}"
    if finding.p <= context.count_level:
        words = f"Rows stand out as still known while the rest is not ({figure}; {name_rows(finding.names)})."
        yield failed(name, "KNOWN_ROWS", words)
    elif finding.more > finding.fewer:
        words = (
            "Rows stand out as if still known, too few to be sure "
            f"({figure}; {name_rows(finding.names)}); look at them."
        )
        yield unsure(name, "SOME_KNOWN_ROWS", words)
    else:
        yield passed(name, "NO_KNOWN_ROWS", f"No row stands out as still known ({figure}).")


def why_missing(finding: Excess | None, scores: Collected) -> dict[str, str]:
    """What it needs."""
    needs = "needs start model and reference, and rows that the former knows better"
    return {"single_rows": needs} if finding is None else {}


def table(finding: Excess | None, shown: Shown) -> Iterable[Table]:
    """Here and the other way."""
    note = "Rows far nearer to what the start model knew than the rest; the comparison: as far the other way."
    return count_table("Single rows that stand out", note, finding, shown)


MEASURE = Measure(
    place=110,
    measure=measure,
    empty=None,
    judge=judge,
    heading=HEADING,
    table=table,
    why_missing=why_missing,
    counts=True,
)
