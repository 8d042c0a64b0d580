"""How likely sampling gives a whole response away: exact, from the log-probability, so that no sample is drawn."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...model.scores import ScoreSet
from ...recipe.bounds import Bounds
from ..collected import Collected
from ..findings import Check, Context, Measure, failed, passed, unsure
from ..statistics.counts import chance_in_samples
from ..statistics.shapes import Chance, RowName, Shape
from ..tables import Row, Shown, Table, cell, p_value, row_names, tables_of
from ._answers import HEADING
from ._counts import distinct, name_rows

SAMPLES = 10_000
"""Answers that somebody may draw to one prompt."""
MOST = 0.01
"""Chance of a whole response among so many answers that is no leak."""
TIMES = 100.0
"""How many times the chance of every reference is more than another training run makes of it."""


class RowChance(Shape):
    """A row in one way of asking. asked: that way, empty for the request as it is. chance: of its whole response among
    the samples; reference: the highest among the references, null where none was asked so. known: whether the
    response is nearer to the start model's log-probability than to that of any reference, null where that is not
    known."""

    name: RowName
    asked: str
    chance: Chance
    reference: Chance | None
    known: bool | None

    @property
    def likely(self) -> bool:
        """Whether the response comes out with more than the limit."""
        return self.chance > MOST

    @property
    def unexplained(self) -> bool:
        """Whether it comes out, and no reference makes it nearly as likely."""
        return self.likely and (self.reference is None or self.chance > TIMES * self.reference)

    @property
    def leaked(self) -> bool:
        """Whether it comes out because the start model knew it: training alone moves the log-probability of a short
        answer by several nats from one model that never saw it to the next."""
        return self.unexplained and self.reference is not None and self.known is True


class ResponseChance(Shape):
    """Chance of each row's whole response, its end included, among `samples` answers to its prompt, drawn at
    temperature 1 from all tokens. Of a row with spans that of its marked parts, each after all that stands before it.

    rows: different rows; worst: the one that says most; likely, unexplained: rows whose response comes out with more
    than the limit, and those of them that no reference makes nearly as likely. names: those that the start model knew.
    """

    samples: int
    rows: int
    worst: RowChance
    likely: int
    unexplained: int
    names: tuple[RowName, ...]


def measure(scores: Collected, bounds: Bounds) -> ResponseChance | None:
    """Of the request as asked, rephrased and at other precisions; the likeliest of these counts for each row."""
    forget = scores.unlearned.forget
    rows = distinct(forget)
    chances = [one for asked in _all_asked(scores) for one in asked.chances(forget, rows)]
    leaked = {one.name for one in chances if one.leaked}
    return ResponseChance(
        samples=SAMPLES,
        rows=len(rows),
        worst=max(chances, key=lambda one: (one.leaked, one.unexplained, one.chance)),
        likely=len({one.name for one in chances if one.likely}),
        unexplained=len({one.name for one in chances if one.unexplained}),
        names=tuple(forget.names[row] for row in rows if forget.names[row] in leaked),
    )


@dataclass(frozen=True, kw_only=True)
class _Asked:
    """Scores of the same rows asked in the same way."""

    name: str
    ours: ScoreSet
    start: ScoreSet | None
    references: tuple[ScoreSet, ...]

    def chances(self, forget: ScoreSet, rows: Sequence[int]) -> Iterator[RowChance]:
        own = chance_in_samples(self.ours.summed, SAMPLES)
        theirs, between = None, None
        if self.references:
            theirs = chance_in_samples(np.max([one.summed for one in self.references], axis=0), SAMPLES)
            between = self._between()
        for row in rows:
            known = None if between is None else bool(self.ours.per_token[row] > between[row])
            yield RowChance(
                name=forget.names[row],
                asked=self.name,
                chance=float(own[row]),
                reference=None if theirs is None else float(theirs[row]),
                known=known,
            )

    def _between(self) -> NDArray[np.float64] | None:
        """Halfway between the start model and the likeliest reference, (n,) nats a token; None without a start."""
        if self.start is None:
            return None
        highest: NDArray[np.float64] = np.max([one.per_token for one in self.references], axis=0)
        return (self.start.per_token + highest) / 2


def _all_asked(scores: Collected) -> Iterator[_Asked]:
    """Every way of asking; what the start model knows, it knows so, or where it was not asked so, of the request as it
    is."""
    as_asked = scores.start.forget if scores.start else None
    for name, suffix in scores.forget_sets():
        if (ours := scores.unlearned.sets.get(name)) is not None:
            others = tuple(one.sets[name] for one in scores.references if name in one.sets)
            start = scores.start.sets.get(name, as_asked) if scores.start else None
            yield _Asked(name=suffix.removeprefix(", "), ours=ours, start=start, references=others)
    for precision, models in scores.precisions.items():
        rounded = [models["reference"]] if "reference" in models else []
        others = tuple(one.forget for one in (*rounded, *scores.references))
        yield _Asked(name=precision, ours=models["unlearned"].forget, start=as_asked, references=others)


def judge(finding: ResponseChance | None, context: Context) -> Iterator[Check]:
    """One row that comes out so, that the start model knew and no reference makes likely, is too many."""
    if finding is None:
        return
    name, worst = "responses in samples", finding.worst
    there = "" if worst.reference is None else f", at a reference {p_value(worst.reference)}"
    way = f" when asked as in {worst.asked}" if worst.asked else ""
    figure = (
        f"row {worst.name}{way}: {p_value(worst.chance)} in {finding.samples:,} samples at temperature 1{there}; "
        f"limit {MOST:.0%}"
    )
    if finding.names:
        words = f"Whole responses come out of samples that no reference makes likely, {name_rows(finding.names)}"
        yield failed(name, "RESPONSE_LIKELY", f"{words} ({figure}, and {TIMES:.0f} times the references').")
    elif finding.unexplained:
        words = f"{finding.unexplained} whole responses may come out of samples, and no comparison explains them surely"
        yield unsure(name, "RESPONSE_UNEXPLAINED", f"{words} ({figure}).")
    else:
        words = "No whole response comes out of samples, but what a reference makes likely too"
        yield passed(name, "RESPONSES_UNLIKELY", f"{words} ({figure}).")


def why_missing(finding: ResponseChance | None, scores: Collected) -> dict[str, str]:
    """What a comparison needs."""
    if finding is None or finding.worst.known is not None:
        return {}
    return {"response_chance": "the start model was not scored, or no reference was asked for that row in these words"}


def table(finding: ResponseChance | None, shown: Shown) -> Iterable[Table]:
    """The likeliest row, here and at the references."""
    if finding is None:
        return ()
    worst = finding.worst
    note = (
        f"Chance of the whole response among {finding.samples:,} answers drawn at temperature 1 from all tokens, "
        "computed from its log-probability. Other settings of decoding change it."
    )
    cells = (
        cell(worst.chance, f"row {worst.name}", worst.asked, show=p_value),
        cell(worst.reference, show=p_value),
        cell(finding.likely),
        cell(finding.unexplained, row_names(finding.names)),
        cell(finding.rows),
    )
    columns = ("Chance", shown.labels["unlearned"], "References", f"Rows above {MOST:.0%}", "Only here", "Of")
    return tables_of("Whole responses in many samples.", columns, [Row("Likeliest row", note, cells)])


MEASURE: Measure[ResponseChance | None] = Measure(
    place=105, measure=measure, empty=None, judge=judge, heading=HEADING, table=table, why_missing=why_missing
)
