"""Why a person's verdict is what it is: views of their rows, and the words for them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from ..collected import Collected
from ..statistics.shapes import Shape
from ..statistics.share_left import ShareLeft
from ..tables import row_names
from ._views import Kind, People, View
from .exposure import SecretPlace, in_figures

MUST = ("taught wording", "first choices")
"""Views without which nobody passes."""
REMEMBERED = "SECRET_REMEMBERED"


class Seen(Shape):
    """One view of a person's rows. counts: whether the verdict rests on it: the start model fails it, so that it can
    tell, and the rows are enough. Positions in `left` are among the person's different rows."""

    view: str
    kind: Kind
    counts: bool
    left: ShareLeft


class Reason(Shape):
    """Why a verdict is what it is. view: which one shows it, null where none does."""

    code: str
    view: str | None
    text: str


def ceiling(share: float) -> str:
    """A bound from above in percent, never rounded below itself."""
    return f"{min(max(math.ceil(100 * share), 0), 100)} %" if math.isfinite(share) else "100 %"


def floor(share: float) -> str:
    """A bound from below in percent, never rounded above itself."""
    return f"{min(max(math.floor(100 * share), 0), 100)} %" if math.isfinite(share) else "0 %"


def range_left(low: float, high: float) -> str:
    """What may be left, in words."""
    return f"at most {ceiling(high)}" if low < 0.01 else f"{floor(low)} to {ceiling(high)}"


def missing(scores: Collected, views: Sequence[View]) -> Iterator[Reason]:
    """What nobody can pass without and is not there."""
    if scores.start is None:
        yield _reason("NO_START_SCORES", "The start model was not scored, so nobody knows what it knew. Give --start.")
        return
    if scores.kind == "none":
        yield _reason("NO_COMPARISON", "There is nothing to compare with. Give --reference or --holdout.")
        return
    for name in MUST:
        if all(one.name != name for one in views):
            why = "the models were not all scored for it, or their answers are of other tokens"
            yield _reason("VIEW_MISSING", f"Nothing shows what is left in the {name}: {why}.", name)
    for one in views:
        if one.noise is None and one.kind != "contrast":
            yield _reason("NO_NOISE", f"Nothing shows how models that never saw the rows differ. {MORE}", one.name)


MORE = "Give --holdout, rows that no model saw, or a second --reference."


def of_views(seen: Iterable[Seen], rows: Sequence[str], views: Sequence[View]) -> tuple[Reason, ...]:
    """What each of some views shows. rows: names of the person's."""
    by_name = {view.name: view for view in views}
    return tuple(_of_view(one, rows, by_name[one.view]) for one in seen)


def _of_view(seen: Seen, rows: Sequence[str], view: View) -> Reason:
    left = seen.left
    known = "what the start model knew is left"
    limit = f"{seen.view}; limit {100 * left.bound:g} %"
    match left.reason:
        case "known row":
            names = row_names(tuple(rows[place] for place in left.sure))
            return _reason(
                "ROW_KNOWN", f"More than half of what the start model knew of {names} is left ({limit}).", seen
            )
        case "above":
            return _reason("MEMORY_LEFT", f"At least {floor(left.low)} of {known} ({_figure(left, limit)}).", seen)
        case "overshot":
            words = "The rows lie below where a model that never saw them would put them"
            return _reason("PUSHED_BELOW", f"{words} ({_figure(left, seen.view)}).", seen)
        case "half known row":
            names = row_names(tuple(rows[place] for place in left.half))
            return _reason(
                "ROW_OPEN", f"More than half of what the start model knew of {names} may be left ({limit}).", seen
            )
        case "not surely below":
            words = f"Up to {ceiling(left.high)} of {known}, for all that the rows show"
            return _reason("SHARE_OPEN", f"{words} ({_figure(left, limit)}); {_remedy(left, view)}.", seen)
        case "not surely above":
            words = "The rows may lie below where a model that never saw them would put them"
            return _reason("BELOW_OPEN", f"{words} ({_figure(left, seen.view)}); {_remedy(left, view)}.", seen)
        case "below":
            return _reason("LITTLE_LEFT", f"At most {ceiling(left.high)} of {known} ({limit}).", seen)


def _figure(left: ShareLeft, limit: str) -> str:
    return f"{100 * (left.share or 0):.0f} %, {100 * left.low:.0f} to {100 * left.high:.0f} %; {limit}"


def _remedy(left: ShareLeft, view: View) -> str:
    """What would settle it, were nothing left."""
    if (left.share or 0) > left.bound:
        return "train further"
    if left.rows_needed is not None:
        return f"about {left.rows_needed} rows like these would settle it, if nothing is left"
    if view.noise is not None and not view.noise.components:
        return "a holdout whose rows say whose they are (subject_id), or one more --reference, would tell more"
    return "one more --reference would tell more"


def of_secrets(secrets: Iterable[SecretPlace]) -> Iterator[Reason]:
    """Named secrets of a person that stand out, or may."""
    by_state = groupby(sorted(secrets, key=lambda one: one.state), key=lambda one: one.state)
    found = {state: list(some) for state, some in by_state}
    if sure := found.get("remembered"):
        yield _reason(REMEMBERED, f"Named secrets stand out of what a reference makes likely ({in_figures(sure)}).")
    if likely := found.get("open"):
        yield _reason("SECRET_OPEN", f"Named secrets may still be known ({in_figures(likely)}).")


def of_nobody() -> Reason:
    """Said of rows without a subject."""
    return _reason("ONE_PERSON", "The rows name nobody (subject_id), so they are judged as one person's.")


def nothing_known() -> Reason:
    """Said where the start model fails no view."""
    words = "The start model knew these rows no better than one that never saw them: nothing was known to forget."
    return _reason("NOTHING_KNOWN", words)


def hardly_known() -> Reason:
    """Said where nothing shows surely what the start model knew."""
    words = "Nothing shows surely whether the start model knew these rows."
    return _reason("CONTROL_OPEN", f"{words} {MORE}")


def _reason(code: str, text: str, seen: Seen | str | None = None) -> Reason:
    return Reason(code=code, view=seen.view if isinstance(seen, Seen) else seen, text=text)


def rows_of(scores: Collected, people: People, person: int) -> tuple[str, ...]:
    """Names of a person's different rows."""
    names = scores.unlearned.forget.names
    return tuple(names[people.rows[place]] for place in people.positions(person))
