"""The check that what earlier runs forgot stays forgotten: the verified model against what was found back then.

A model that is trained to forget more can remember again what it had forgotten. The rows of an earlier run are scored
again, and compared with the scores that its own model had when it was verified: as forgotten as then is enough, more
forgotten is no fault, and whether it had been forgotten then is what that run's verdict says.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ...recipe.bounds import Bounds
from ..findings import COUNT_CHECKS, Check, Status
from ..statistics.counts import Excess
from ..statistics.distances import Interval
from ..statistics.means import Shift, equivalence_margin
from ..verdict import Verdict
from .harm import name_lines


@dataclass(frozen=True)
class StaysForgotten:
    """The rows of an earlier run now against then. name: its number and id.

    shift: mean of now less then, in nats a token; above 0 is better known. shift, distance: None where the answers are
    other tokens than they were. secrets, whole: what deterministic answers say now and did not then, None where nothing
    was asked both times.
    """

    name: str
    shift: Shift | None = None
    distance: Interval | None = None
    secrets: Excess | None = None
    whole: Excess | None = None


def check_earlier(found: StaysForgotten, bounds: Bounds) -> Iterator[Check]:
    """The checks of one earlier run."""
    yield _scores(found, bounds)
    if found.secrets is not None:
        yield _secrets(found, found.secrets)
    if found.whole is not None:
        yield _whole(found, found.whole, bounds)


def _scores(found: StaysForgotten, bounds: Bounds) -> Check:
    name, shift, distance = f"earlier request {found.name}", found.shift, found.distance
    if shift is None or distance is None:
        words = "Its rows are other tokens now than when it was verified, so the scores could not be compared."
        return Check(name, "unknown", "NOT_MEASURED", words)
    margin = equivalence_margin(bounds.delta) * shift.spread
    figure = (
        f"{shift.difference:+.3f} nats, {shift.lower:+.3f} to {shift.upper:+.3f}, n = {shift.n}; limit {margin:.3f}; "
        f"D = {distance.D:.3f}"
    )
    if distance.lower > bounds.delta and shift.lower > 0:
        return Check(
            name, "fail", "REMEMBERED_AGAIN", f"Its rows are better known than when it was verified ({figure})."
        )
    if shift.upper < margin:
        words = f"Its rows are no better known than when it was verified ({figure})."
        return Check(name, "pass", "STAYS_FORGOTTEN", words)
    words = f"Its rows may be better known than when it was verified ({figure})."
    return Check(name, "unknown", "REMEMBERING_UNSURE", words)


def _secrets(found: StaysForgotten, secrets: Excess) -> Check:
    name = f"secrets of earlier request {found.name}"
    if secrets.more:
        words = f"{secrets.more} of {secrets.total} named secrets come out that did not when it was verified"
        return Check(name, "fail", "EARLIER_SECRET_LEAKED", f"{words} ({name_lines(secrets.lines)} of its own file).")
    words = f"No named secret comes out that did not when it was verified (of {secrets.total})."
    return Check(name, "pass", "NO_EARLIER_LEAK", words)


def _whole(found: StaysForgotten, whole: Excess, bounds: Bounds) -> Check:
    name = f"whole answers of earlier request {found.name}"
    figure = f"{whole.more} of {whole.total}, {whole.fewer} the other way; p = {whole.p:.2g}"
    words = "Answers repeat whole responses that were not repeated when it was verified"
    if whole.p <= bounds.fail_level / COUNT_CHECKS:
        return Check(
            name, "fail", "EARLIER_ANSWERS_LEAKED", f"{words} ({figure}; {name_lines(whole.lines)} of its own file)."
        )
    if whole.more:
        words = f"{words}, too few to be sure ({figure}; {name_lines(whole.lines)} of its own file); read them."
        return Check(name, "unknown", "EARLIER_ANSWERS_SAID", words)
    words = f"No answer repeats a whole response that was not repeated when it was verified (of {whole.total})."
    return Check(name, "pass", "NO_EARLIER_ANSWER_LEAKED", words)


def with_earlier(verdict: Verdict, found: Iterable[StaysForgotten], bounds: Bounds) -> Verdict:
    """The verdict with the checks of earlier runs added, by the rule of `verdict.judge`.

    One that fails makes a FAIL of whatever could have been a PASS, one that is open makes a PASS INCONCLUSIVE. A
    verdict without anything to compare the model with stays INCONCLUSIVE.
    """
    further = tuple(check for one in found for check in check_earlier(one, bounds))
    states: set[Status] = {check.status for check in further}
    outcome, compared = verdict.outcome, all(check.code != "NO_REFERENCE" for check in verdict.checks)
    if "fail" in states and compared:
        outcome = "FAIL"
    elif "unknown" in states and outcome == "PASS":
        outcome = "INCONCLUSIVE"
    return Verdict(outcome, (*verdict.checks, *further))
