"""Perplexity of text that no model saw: what unlearning does to everything that nobody asked about."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from ...model.scores import Role, Scores
from ...recipe.bounds import Bounds
from ..collected import Collected, same_tokens
from ..findings import Check, Context, Measure, failed, passed, reported, unsure
from ..statistics.distances import Levels
from ..statistics.means import Rise, cross_entropy_rise
from ..statistics.shapes import Shape
from ..tables import EMPTY, Cell, Row, Shown, Table, between, cell, number, signed, tables_of
from .kept import HEADING

DAMAGED = 5
"""How many times the rise that is no damage is damage: two models retrained alike differ by 3 % (tofu-mini)."""


class Perplexity(Shape):
    """Of the holdout's responses, against the start model's and, where scored, the reference's."""

    start: Rise
    reference: Rise | None


def measure(scores: Collected, bounds: Bounds) -> Perplexity | None:
    """None without rows that no model saw, or a start model that reads them in other tokens."""
    start = scores.models.get("start")
    if start is None:
        return None
    levels = Levels(bounds.pass_level / (2 if scores.reference else 1), bounds.fail_level)
    rises = {role: _rise(scores.unlearned, one, levels) for role, one in _others(scores).items()}
    first = rises["start"]
    return None if first is None else Perplexity(start=first, reference=rises.get("reference"))


def _others(scores: Collected) -> Mapping[Role, Scores]:
    return {role: one for role, one in scores.models.items() if role != "unlearned"}


def _rise(now: Scores, before: Scores, levels: Levels) -> Rise | None:
    ours, theirs = now.sets.get("holdout"), before.sets.get("holdout")
    if ours is None or theirs is None or not same_tokens(ours, theirs):
        return None
    return cross_entropy_rise(ours.answer_logp, theirs.answer_logp, ours.answer_tokens, ours.units, levels)


def judge(finding: Perplexity | None, context: Context) -> Iterator[Check]:
    """Whether it rose no more than it may, against the start model or against the reference."""
    if finding is None:
        return
    name, share = "perplexity of unseen text", context.bounds.utility_loss
    limit = float(np.log1p(share))
    rises = [rise for rise in (finding.start, finding.reference) if rise is not None]
    figure = (
        f"{finding.start.before:.3f} nats a token before, {finding.start.now:.3f} after; {_in_words(finding.start)}"
    )
    if finding.reference is not None:
        figure += f"; against the reference's {finding.reference.before:.3f} {_in_words(finding.reference)}"
    figure += f"; limit {limit:+.3f}, which is {share:+.0%} of perplexity"
    fewest = rows_to_see(share, context.bounds.pass_level)
    if all(rise.lower > DAMAGED * limit for rise in rises):
        yield failed(name, "UNSEEN_DAMAGED", f"The {name} rose ({figure}).")
    elif any(rise.upper < limit and rise.n >= fewest for rise in rises):
        yield passed(name, "UNSEEN_KEPT", f"The {name} did not rise ({figure}).")
    elif all(rise.rise > limit for rise in rises):
        yield unsure(name, "UNSEEN_UNSURE", f"The {name} may have risen ({figure}).")
    else:
        words = f"Whether the {name} rose is open, and decides nothing ({figure}); it takes {fewest} rows or more."
        yield reported(name, "UNSEEN_REPORTED", words)


def rows_to_see(share: float, level: float) -> int:
    """Rows of which one surely is of a kind that so large a share of all are."""
    return int(np.ceil(np.log(level) / np.log1p(-share))) if share > 0 else 0


def _in_words(rise: Rise) -> str:
    return f"change {rise.rise:+.3f}, {rise.lower:+.3f} to {rise.upper:+.3f}, n = {rise.n}"


def why_missing(finding: Perplexity | None, scores: Collected) -> dict[str, str]:
    """What it needs."""
    needs = "it needs --holdout, rows that no model saw, and a start model that reads them in the same tokens"
    return {"perplexity": needs} if finding is None else {}


def table(finding: Perplexity | None, shown: Shown) -> Iterable[Table]:
    """Of the three models."""
    if finding is None:
        return ()
    start, reference = finding.start, finding.reference
    second = cell(reference.before) if reference else EMPTY
    columns = ("Measure", "Start", shown.labels["unlearned"], "Reference", "Change from start", "Change from reference")
    cells = (cell(start.before), cell(start.now), second, _change(start), _change(reference))
    return tables_of(
        "Cross-entropy of unseen responses in nats a token, the logarithm of perplexity; a rise is a loss.",
        columns,
        [Row("perplexity of unseen text", "", cells)],
    )


def _change(rise: Rise | None) -> Cell:
    if rise is None:
        return EMPTY
    return cell(rise.rise, between(rise.lower, rise.upper, signed), f"n = {number(rise.n)}", show=signed)


MEASURE: Measure[Perplexity | None] = Measure(
    place=147,
    measure=measure,
    empty=None,
    judge=judge,
    heading=HEADING,
    table=table,
    why_missing=why_missing,
    about="kept",
    public=lambda finding: finding,
)
