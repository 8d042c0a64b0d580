"""`--also RUN`: what earlier runs forgot stays forgotten, in the model that came of theirs.

A model that is trained to forget more can remember again what it had forgotten. The rows of an earlier run are scored
again, and compared with the scores that its own model had when it was verified: as forgotten as then is enough, more
forgotten is no fault, and whether it had been forgotten then is what that run's verdict says.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ...model.scores import ScoreSet
from ...recipe.bounds import Bounds
from ..collected import EARLIER, Collected, Earlier, same_tokens
from ..findings import Check, Context, Heading, Measure, failed, passed, unsure
from ..statistics.counts import Excess, excess
from ..statistics.distances import Interval, paired_distance
from ..statistics.means import Shift, equivalence_margin, paired_shift
from ..statistics.shapes import Shape
from ..tables import EMPTY, Cell, Row, Shown, Table, between, cell, number, shift_cell, tables_of
from ._answers import secrets_said, whole_said
from ._counts import distinct, name_rows
from .exposure import SURE
from .secrets import by_chance


class StaysForgotten(Shape):
    """The rows of an earlier run now against then. name: its number and id.

    shift: mean of now less then, in nats a token; above 0 is better known. shift, distance: null where the answers are
    other tokens than they were. secrets, whole: what deterministic answers say now and did not then, null where nothing
    was asked both times.
    """

    name: str
    shift: Shift | None
    distance: Interval | None
    secrets: Excess | None
    whole: Excess | None


def measure(scores: Collected, bounds: Bounds) -> tuple[StaysForgotten, ...]:
    """For each earlier run its rows as they are now against how they were when it was verified."""
    return tuple(_compared(number, pair, bounds) for number, pair in enumerate(scores.earlier, 1))


def _compared(number: int, pair: Earlier, bounds: Bounds) -> StaysForgotten:
    name, then, now = f"{number} ({pair.then.name})", pair.then.sets[EARLIER], pair.now.sets[EARLIER]
    if not same_tokens(now, then):
        return StaysForgotten(name=name, shift=None, distance=None, secrets=None, whole=None)
    units, levels = now.units, bounds.levels
    return StaysForgotten(
        name=name,
        shift=paired_shift(now.per_token, then.per_token, units, levels),
        distance=paired_distance(now.per_token, then.per_token, units, levels),
        secrets=_secrets(now, then),
        whole=_whole(now, then),
    )


def _secrets(now: ScoreSet, then: ScoreSet) -> Excess | None:
    """Named secrets that come out now, against those that came out then; None where none was asked for both times."""
    ours, theirs = secrets_said([now]), secrets_said([then])
    if not ours or [len(row) for row in ours] != [len(row) for row in theirs]:
        return None
    pairs = [
        (our, their, name)
        for name, own, other in zip(now.names, ours, theirs, strict=True)
        for our, their in zip(own, other, strict=True)
    ]
    return _excess(pairs)


def _whole(now: ScoreSet, then: ScoreSet) -> Excess | None:
    """Whole responses likewise, identical rows once."""
    ours, theirs = whole_said(now), whole_said(then)
    if not ours or not theirs:
        return None
    return _excess([(ours[row], theirs[row], now.names[row]) for row in distinct(now)])


def _excess(pairs: list[tuple[bool | None, bool | None, str]]) -> Excess | None:
    asked = [(our, their, name) for our, their, name in pairs if our is not None and their is not None]
    if not asked:
        return None
    counted = excess(*zip(*asked, strict=True))
    return counted.model_copy(update={"names": tuple(dict.fromkeys(counted.names))})  # a row may name several secrets


def judge(finding: tuple[StaysForgotten, ...], context: Context) -> Iterator[Check]:
    """Scores, secrets and whole answers of each earlier run."""
    for one in finding:
        yield _judge_scores(one, context.bounds)
        if one.secrets is not None:
            yield _judge_secrets(one, one.secrets)
        if one.whole is not None:
            yield _judge_whole(one, one.whole, context.count_level)


def _judge_scores(finding: StaysForgotten, bounds: Bounds) -> Check:
    name, shift, distance = f"earlier request {finding.name}", finding.shift, finding.distance
    if shift is None or distance is None:
        words = "Its rows are other tokens now than when it was verified, so the scores could not be compared."
        return unsure(name, "NOT_MEASURED", words)
    margin = equivalence_margin(bounds.delta) * shift.spread
    figure = (
        f"{shift.difference:+.3f} nats, {shift.lower:+.3f} to {shift.upper:+.3f}, n = {shift.n}; limit {margin:.3f}; "
        f"D = {distance.D:.3f}"
    )
    if distance.lower > bounds.delta and shift.lower > 0:
        return failed(name, "REMEMBERED_AGAIN", f"Its rows are better known than when it was verified ({figure}).")
    if shift.upper < margin:
        return passed(name, "STAYS_FORGOTTEN", f"Its rows are no better known than when it was verified ({figure}).")
    return unsure(name, "REMEMBERING_UNSURE", f"Its rows may be better known than when it was verified ({figure}).")


def _judge_secrets(finding: StaysForgotten, secrets: Excess) -> Check:
    name = f"secrets of earlier request {finding.name}"
    if secrets.more:
        p = by_chance(secrets.more, secrets.total)
        words = f"{secrets.more} of {secrets.total} named secrets come out that did not when it was verified"
        figure = f"{name_rows(secrets.names)} of its own file; p = {p:.2g}"
        if p <= SURE:
            return failed(name, "EARLIER_SECRET_LEAKED", f"{words} ({figure}).")
        return unsure(name, "EARLIER_SECRET_SAID", f"{words}, as may be guessed ({figure}); read the answers.")
    words = f"No named secret comes out that did not when it was verified (of {secrets.total})."
    return passed(name, "NO_EARLIER_LEAK", words)


def _judge_whole(finding: StaysForgotten, whole: Excess, level: float) -> Check:
    name = f"whole answers of earlier request {finding.name}"
    figure = f"{whole.more} of {whole.total}, {whole.fewer} the other way; p = {whole.p:.2g}"
    words = "Answers repeat whole responses that were not repeated when it was verified"
    if whole.p <= level:
        return failed(name, "EARLIER_ANSWERS_LEAKED", f"{words} ({figure}; {name_rows(whole.names)} of its own file).")
    if whole.more:
        text = f"{words}, too few to be sure ({figure}; {name_rows(whole.names)} of its own file); read them."
        return unsure(name, "EARLIER_ANSWERS_SAID", text)
    words = f"No answer repeats a whole response that was not repeated when it was verified (of {whole.total})."
    return passed(name, "NO_EARLIER_ANSWER_LEAKED", words)


def table(finding: tuple[StaysForgotten, ...], shown: Shown) -> Iterable[Table]:
    """A row for each earlier run."""
    caption = "Rows of earlier requests, now against when they were verified."
    columns = (
        "Request",
        "Difference of means",
        "Distance D",
        "Rows",
        "Secrets said only now",
        "Responses said only now",
    )
    return tables_of(caption, columns, (_row(one, shown.bounds.delta) for one in finding))


def _row(finding: StaysForgotten, delta: float) -> Row:
    distance, shift = finding.distance, finding.shift
    cells = (
        shift_cell(shift, delta, "+"),
        cell(distance.D, between(distance.lower, distance.upper)) if distance else EMPTY,
        cell(shift.n if shift else None),
        _only_now(finding.secrets),
        _only_now(finding.whole),
    )
    return Row(finding.name, "", cells)


def _only_now(counted: Excess | None) -> Cell:
    return EMPTY if counted is None else cell(counted.more, f"of {number(counted.total)}")


HEADING = Heading(
    title="What was forgotten earlier",
    words=lambda findings, bounds: (
        "A model that learns to forget more can remember what it had forgotten. The rows of earlier runs were scored "
        "again and compared with the scores that their own models had: above 0 they are better known now, in nats per "
        "token. Whether they were forgotten then is what those runs' verdicts say."
    ),
)
MEASURE: Measure[tuple[StaysForgotten, ...]] = Measure(
    place=160, measure=measure, empty=(), judge=judge, heading=HEADING, table=table
)
