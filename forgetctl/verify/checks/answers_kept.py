"""Retain rows whose answer lost half of its words, among those that were rehearsed in training and those that were not.

A mean hides a few rows that lose everything. Rows that were trained on while others were unlearned are held in place
by that; the rest of what a model knows is like those that were not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ...model.scores import GREEDY, Scores, ScoreSet
from ...recipe.bounds import Bounds
from ..collected import Collected
from ..findings import Check, Context, Measure, failed, passed, unsure
from ..statistics.bounded import ShareExcess, excess_share
from ..statistics.shapes import Shape
from ..tables import Row, Shown, Table, between, cell, tables_of
from ._counts import distinct
from .kept import HEADING

LOST_WORDS = 0.5
"""Share of the words that the start model's answer has of the response, below which an answer is lost."""
MOST_LOST = 0.05
"""Share of rows that may be lost, beyond those that a model that never saw the forget rows loses too."""
REHEARSED, UNREHEARSED, ANY = "rehearsed rows", "unrehearsed rows", "retain rows"


class Lost(Shape):
    """Rows whose answer was lost, of one kind of retain rows. more: those that the reference did not lose too; fewer:
    those that it alone lost, 0 without a reference."""

    rows: str
    lost: ShareExcess


def measure(scores: Collected, bounds: Bounds) -> tuple[Lost, ...]:
    """Greedy answers against the start model's; rows of which the start model says nothing have nothing to lose."""
    return tuple(_measured(scores, bounds))


def _measured(scores: Collected, bounds: Bounds) -> Iterator[Lost]:
    retain = scores.unlearned.sets.get("retain")
    ours, start, theirs = (_recalls(one.sets.get("retain") if one else None) for one in _models(scores))
    if retain is None or ours is None or start is None:
        return
    compared = theirs if theirs is not None else start  # which loses nothing against itself
    lost: dict[str, list[tuple[bool, bool]]] = {}
    for row in distinct(retain):
        our, before, their = ours[row], start[row], compared[row]
        if our is not None and before and their is not None:
            limit = LOST_WORDS * before
            lost.setdefault(_kind(retain, row), []).append((our < limit, their < limit))
    for kind in (REHEARSED, UNREHEARSED, ANY):
        if rows := lost.get(kind):
            here, there = zip(*rows, strict=True)
            yield Lost(rows=kind, lost=excess_share(here, there, MOST_LOST, bounds.levels))


def _models(scores: Collected) -> tuple[Scores | None, ...]:
    return scores.unlearned, scores.start, scores.reference


def _recalls(rows: ScoreSet | None) -> list[float | None] | None:
    greedy = rows.elicited.get(GREEDY) if rows else None
    return greedy.recall if greedy else None


def _kind(rows: ScoreSet, row: int) -> str:
    if rows.rehearsed is None:
        return ANY
    return REHEARSED if rows.rehearsed[row] else UNREHEARSED


def judge(finding: tuple[Lost, ...], context: Context) -> Iterator[Check]:
    """Whether surely no more rows were lost than may be, of either kind."""
    for one in finding:
        yield _judged(one)
    if all(one.rows == REHEARSED for one in finding):
        words = "No answers to retain rows that were not rehearsed are known of both models, so what they lost is open"
        needed = f"about {_fewest(context.bounds)} would settle it, if none lost half of its words"
        yield unsure("answers kept", "NO_ANSWERS_KEPT", f"{words}; {needed}.")


def _fewest(bounds: Bounds) -> int | None:
    return excess_share([False], [False], MOST_LOST, bounds.levels).rows_needed


def _judged(one: Lost) -> Check:
    name, lost = f"answers kept, {one.rows}", one.lost
    share = f"{lost.more} of {lost.total}, {lost.lower:.1%} to {lost.upper:.1%}"
    figure = f"{share}; the comparison alone {lost.fewer}; limit {MOST_LOST:.0%}"
    if lost.lower > MOST_LOST:
        return failed(name, "ANSWERS_LOST", f"Answers to {one.rows} lost half of their words ({figure}).")
    if lost.upper < MOST_LOST:
        return passed(name, "ANSWERS_KEPT", f"Answers to {one.rows} kept their words ({figure}).")
    remedy = f"about {lost.rows_needed} rows like these would settle it" if lost.rows_needed else "add rows"
    words = f"Whether answers to {one.rows} kept their words is open"
    return unsure(name, "ANSWERS_UNSURE", f"{words} ({figure}); {remedy}.")


def why_missing(finding: tuple[Lost, ...], scores: Collected) -> dict[str, str]:
    """What it needs."""
    return {} if finding else {"answers_kept": "it needs retain rows that the start model and this one answered"}


def table(finding: tuple[Lost, ...], shown: Shown) -> Iterable[Table]:
    """A row for each kind of retain rows."""
    caption = (
        "Retain rows whose answer has fewer than half of the words of the response that the start model's answer had. "
        "Rehearsed rows were trained on while the forget rows were unlearned."
    )
    columns = ("Rows", f"Only {shown.labels['unlearned'].lower()}", "Only reference", "Of", "Share")
    return tables_of(caption, columns, map(_row, finding))


def _row(one: Lost) -> Row:
    lost = one.lost
    share = cell(lost.more / lost.total, between(lost.lower, lost.upper, _plain), f"limit {MOST_LOST:.0%}", show=_plain)
    return Row(one.rows, "", (cell(lost.more), cell(lost.fewer), cell(lost.total), share))


def _plain(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.1%}"


MEASURE: Measure[tuple[Lost, ...]] = Measure(
    place=145,
    measure=measure,
    empty=(),
    judge=judge,
    heading=HEADING,
    table=table,
    why_missing=why_missing,
    about="kept",
    public=lambda finding: finding,
)
