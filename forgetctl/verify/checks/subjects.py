"""A verdict for each person of the request: what share of what the start model knew of them is left.

EDPB opinion 28/2024 asks for each data subject; a request passes only if each of its people does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

from ...recipe.bounds import Bounds
from ...rows.row import listed
from ..collected import Collected
from ..findings import Check, Context, Heading, Measure, Status, unsure
from ..statistics.shapes import Shape, Share
from ..statistics.share_left import SINGLE_REFERENCE, Question, share_left
from ..tables import EMPTY, Cell, Row, Shown, Table, number, tables_of
from . import comparison, exposure
from ._reasons import (
    REMEMBERED,
    Reason,
    Seen,
    ceiling,
    floor,
    hardly_known,
    missing,
    nothing_known,
    of_nobody,
    of_secrets,
    of_views,
    range_left,
    rows_of,
)
from ._views import WORDS, People, View, views

Verdict = Literal["PASS", "FAIL", "INCONCLUSIVE", "NOT_KNOWN"]
STATUS: dict[Verdict, Status] = {
    "FAIL": "fail",
    "INCONCLUSIVE": "unknown",
    "PASS": "pass",
    "NOT_KNOWN": "reported",
}
"""What a person's verdict does to the request's, the worst first."""
NAME = "each person"
SHOWN = 20
"""People that a page tells of one by one; the JSON report has all."""


class Left(Shape):
    """Share of the start model's lead that is surely left, and surely not exceeded."""

    low: Share
    high: Share


class Subject(Shape):
    """The verdict for one person, by number in the order of the request.

    named: whether the rows name a subject; those that name none are judged as one person's. rows: different ones.
    share_left: of the worst view that counts; null where nothing was known to forget.
    """

    subject: int
    named: bool
    rows: int
    verdict: Verdict
    share_left: Left | None
    reasons: tuple[Reason, ...]
    views: tuple[Seen, ...]


def measure(scores: Collected, bounds: Bounds) -> tuple[Subject, ...]:
    """Every person of the request."""
    people = People.of(scores.unlearned.forget)
    judges = _Judges(scores, bounds, people)
    return tuple(judges.subject(person) for person in range(people.count))


class _Judges:
    """Judges one person after the other, by views and at levels that all of them share."""

    def __init__(self, scores: Collected, bounds: Bounds, people: People) -> None:
        self.scores, self.bounds, self.people = scores, bounds, people
        self.views = tuple(views(scores, people))
        self.missing = tuple(missing(scores, self.views))
        found = exposure.measure(scores, bounds)
        self.secrets = found.secrets if found else ()

    def subject(self, person: int) -> Subject:
        """The verdict for a person, with its reasons."""
        seen = tuple(one for view in self.views if (one := self._seen(view, person)) is not None)
        rows = rows_of(self.scores, self.people, person)
        secrets = tuple(of_secrets(one for one in self.secrets if one.name in rows))
        verdict, reasons = self._verdict(seen, rows, secrets)
        unnamed = person == self.people.unnamed
        return Subject(
            subject=person + 1,
            named=not unnamed,
            rows=len(self.people.positions(person)),
            verdict=verdict,
            share_left=None if verdict == "NOT_KNOWN" else _worst(seen),
            reasons=(*reasons, *([of_nobody()] if unnamed else [])),
            views=seen,
        )

    def _seen(self, view: View, person: int) -> Seen | None:
        """None without noise, which is missing, or where no row of the person has anything to see."""
        scored = view.of_person(person)
        if view.noise is None or scored is None:
            return None
        rows = len(scored.model)
        left = share_left(scored, view.noise, view.start_noise, self._question(view, rows))
        enough = view.kind != "contrast" or rows >= self.bounds.contrast_rows or left.outcome == "FAIL"
        return Seen(view=view.name, kind=view.kind, counts=left.control and enough, left=left)

    def _question(self, view: View, rows: int) -> Question:
        bounds, of_rows = self.bounds, max(sum(one.of_rows for one in self.views), 1)
        return Question(
            bound=view.bound(bounds),
            overshoot=view.overshoot(bounds),
            rows=view.of_rows,
            weights=view.weights,
            passing=bounds.pass_level * (SINGLE_REFERENCE if len(view.scored.references) < 2 else 1.0),
            failing=bounds.fail_level / (self.people.count * len(self.views)),
            row_level=bounds.fail_level / (rows * of_rows),
            any_row_level=bounds.fail_level / (len(self.people.rows) * of_rows),
        )

    def _verdict(
        self, seen: tuple[Seen, ...], rows: tuple[str, ...], secrets: tuple[Reason, ...]
    ) -> tuple[Verdict, tuple[Reason, ...]]:
        """secrets: reasons from those of the person's that are remembered, or may be."""
        by_outcome = {
            outcome: [one for one in seen if one.counts and one.left.outcome == outcome]
            for outcome in ("FAIL", "OPEN", "PASS")
        }
        remembered = tuple(one for one in secrets if one.code == REMEMBERED)
        if by_outcome["FAIL"] or remembered:
            return "FAIL", (*of_views(by_outcome["FAIL"], rows, self.views), *remembered)
        if self.missing or by_outcome["OPEN"] or secrets:
            return "INCONCLUSIVE", (*self.missing, *of_views(by_outcome["OPEN"], rows, self.views), *secrets)
        if by_outcome["PASS"]:
            return "PASS", of_views([max(by_outcome["PASS"], key=lambda one: one.left.high)], rows, self.views)
        if any(one.left.control for one in seen) or any(view.shown_by_rows for view in self.views):
            return "INCONCLUSIVE", (hardly_known(),)
        return "NOT_KNOWN", (nothing_known(),)


def _worst(seen: Iterable[Seen]) -> Left:
    """Of the views that count, the one in which most is surely left if one fails, else that in which most may be left;
    without any nobody knows."""
    counting = [one.left for one in seen if one.counts]
    if not counting:
        return Left(low=0.0, high=1.0)
    failed = any(left.outcome == "FAIL" for left in counting)
    worst = max(counting, key=lambda left: left.low if failed else left.high)
    return Left(low=min(max(worst.low, 0.0), 1.0), high=min(max(worst.high, 0.0), 1.0))


def worst_first(finding: Iterable[Subject]) -> list[Subject]:
    """People in the order in which somebody should look at them."""
    return sorted(finding, key=lambda one: (list(STATUS).index(one.verdict), -_highest(one)))


def _highest(subject: Subject) -> float:
    return subject.share_left.high if subject.share_left else -1.0


def in_words(subject: Subject) -> str:
    """What is left of what the model knew of a person, as everybody understands it."""
    if subject.share_left is None:
        return "the model knew nothing that could be forgotten"
    left = f"{range_left(subject.share_left.low, subject.share_left.high)} of what the model knew"
    codes = {reason.code for reason in subject.reasons}
    if subject.verdict == "INCONCLUSIVE":
        return f"{left} may be left"
    if codes - {"ONE_PERSON"} == {REMEMBERED}:
        return "the model still knows a named secret"
    if "MEMORY_LEFT" not in codes and "PUSHED_BELOW" in codes:
        return "the model was pushed below what one that never knew the person would say"
    return f"{left} is left" + (", of single rows more than half" if "ROW_KNOWN" in codes else "")


def judge(finding: tuple[Subject, ...], context: Context) -> Iterator[Check]:
    """A line for each kind of verdict and first reason; a request passes only if each person does."""
    if comparison.MEASURE.of(context.findings).by is None:
        return
    if not finding:
        yield unsure(NAME, "NOBODY_JUDGED", "Nobody's rows were scored.")
    for verdict, status in STATUS.items():
        alike: dict[str, list[Subject]] = {}
        for one in finding:
            if one.verdict == verdict:
                alike.setdefault(one.reasons[0].code, []).append(one)
        for code, some in alike.items():
            yield Check(name=NAME, status=status, code=code, text=_in_words(some, len(finding)), about="forgotten")


def _in_words(some: Sequence[Subject], of: int) -> str:
    worst = max(some, key=lambda one: one.share_left.high if one.share_left else 0.0)
    text = " ".join(reason.text for reason in worst.reasons)
    if of == 1:
        return text
    who = listed([str(one.subject) for one in some], 10)
    if len(some) == 1:
        return f"Person {who} of {of}: {text}"
    return f"{len(some)} of {of} people ({who}); of these person {worst.subject}: {text}"


def table(finding: tuple[Subject, ...], shown: Shown) -> Iterable[Table]:
    """A row for each person, then a row for each view of the one who is known best."""
    ordered = worst_first(finding)
    more = f"{len(finding) - SHOWN:,} more people are in the JSON report." if len(finding) > SHOWN else ""
    caption = "What is left of what the start model knew, person by person, in the worst view that counts."
    columns = ("Person", "Verdict", "Left", "Rows")
    yield from tables_of(caption, columns, map(_row, ordered[:SHOWN]), more)
    if ordered and ordered[0].views:
        caption = f"Person {ordered[0].subject}, view by view: share of the start model's lead that is left."
        headings = ("View", "Left", "Limit", "Lead", "Noise of a row", "Rows needed")
        yield from tables_of(caption, headings, map(_view_row, ordered[0].views))


def _row(subject: Subject) -> Row:
    note = " ".join(reason.text for reason in subject.reasons)
    left = (range_left(subject.share_left.low, subject.share_left.high),) if subject.share_left else EMPTY
    verdict = subject.verdict.lower().replace("_", " ")
    return Row(f"Person {subject.subject}", note, ((verdict,), left, (number(subject.rows),)))


def _view_row(seen: Seen) -> Row:
    left = seen.left
    cells: tuple[Cell, ...] = (
        (range_left(left.low, left.high), *([] if seen.counts else ["does not count"])),
        (f"{100 * left.bound:g} %",),
        (number(left.lead),),
        (number(left.noise), f"of two rows {left.correlation:.2f} alike"),
        (number(left.rows_needed),) if left.rows_needed is not None else EMPTY,
    )
    return Row(seen.view, WORDS[seen.kind], cells)


def _words(findings: Shape, bounds: Bounds) -> str:
    return (
        "The start model leads over models that never saw a person's rows; were they forgotten, nothing of that lead "
        f"would be left. A pass needs surely less than {ceiling(bounds.share_left)} in every view that counts, no row "
        f"by more than half, and rows not pushed below by more than {floor(bounds.overshoot)}. A view counts where the "
        "start model fails it. The range is sure but for the chance that the limits allow."
    )


def why_missing(finding: tuple[Subject, ...], scores: Collected) -> dict[str, str]:
    """Views that nobody's rows were seen in."""
    seen = {view.kind for one in finding for view in one.views}
    reasons = {
        "fact tokens": "the models were not all scored for them, by the same retain rows, or there are none",
        "extraction": "the models were not all scored for it",
        "contrast": "no wrong answers, in the request or at the reference, or no reference",
    }
    return {f"share left, {kind}": why for kind, why in reasons.items() if kind not in seen}


def public(finding: tuple[Subject, ...]) -> tuple[Subject, ...]:
    """Without names of rows or files."""
    return tuple(one.model_copy(update={"reasons": (), "views": ()}) for one in finding)


MEASURE: Measure[tuple[Subject, ...]] = Measure(
    place=5,
    measure=measure,
    empty=(),
    judge=judge,
    heading=Heading(title="Person by person", words=_words),
    table=table,
    why_missing=why_missing,
    public=public,
)
