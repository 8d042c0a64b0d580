"""How likely a leak is among so many drawn answers, to one prompt: by how many are drawn. Shown; samples are judged by
`samples` and `response_chance`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from pydantic import NonNegativeInt, PositiveInt

from ...model.sampling import PLAIN
from ...model.scores import SAMPLED, SERVED, ScoreSet
from ...recipe.bounds import Bounds
from ..collected import Collected
from ..findings import Measure
from ..statistics.counts import chance_in_samples, chance_of_any
from ..statistics.resampling import Floats
from ..statistics.shapes import Shape, Share
from ..tables import EMPTY, Cell, Row, Shown, Table, cell, number, tables_of
from ._answers import HEADING
from ._counts import distinct

DRAWS = (1, 2, 4, 8, 16, 32, 64)


class Chances(Shape):
    """That at least one of so many answers leaks: of the row that leaks most, and in the mean over the rows."""

    draws: PositiveInt
    worst: Share
    mean: Share


class Leaks(Shape):
    """Of one model. answers: drawn to each row. chances: of each of DRAWS of which something is known."""

    answers: PositiveInt
    chances: tuple[Chances, ...]


class Drawn(Shape):
    """One way to draw answers. served: whether as the owner decodes. sampling: the settings, in words. rows: that were
    asked and of which a leak can be seen. leaked: rows of which an answer of the verified model leaks. references:
    those whose answers were drawn alike."""

    served: bool
    sampling: str
    rows: PositiveInt
    leaked: NonNegativeInt
    unlearned: Leaks
    references: tuple[Leaks, ...]


def measure(scores: Collected, bounds: Bounds) -> tuple[Drawn, ...]:
    """From the model's own distribution, and as the owner draws."""
    found = (_drawn(scores, mode) for mode in (SAMPLED, SERVED))
    return tuple(drawn for drawn in found if drawn is not None)


def _drawn(scores: Collected, mode: str) -> Drawn | None:
    forget = scores.unlearned.forget
    ours = forget.elicited.get(mode)
    if ours is None or ours.leaked is None:
        return None
    rows = [row for row in distinct(forget) if ours.leaked[row] is not None]
    if not rows:
        return None
    others = (one.forget for one in scores.references)
    alike = [one for one in others if mode in one.elicited and one.elicited[mode].sampling == ours.sampling]
    references = (_leaks(one, mode, rows) for one in alike)
    unlearned = _leaks(forget, mode, rows)
    assert unlearned is not None  # noqa: S101  of these rows leaks are known
    return Drawn(
        served=ours.sampling is not None,
        sampling=str(ours.sampling or PLAIN),
        rows=len(rows),
        leaked=sum(bool(ours.leaked[row]) for row in rows),
        unlearned=unlearned,
        references=tuple(one for one in references if one is not None),
    )


def _leaks(scored: ScoreSet, mode: str, rows: Sequence[int]) -> Leaks | None:
    """None where leaks of these rows are not known."""
    elicited = scored.elicited[mode]
    counts = [elicited.leaked[row] if elicited.leaked else None for row in rows]
    known = [count for count in counts if count is not None]
    if len(known) < len(counts):
        return None
    summed = scored.summed[list(rows)] if elicited.sampling is None else None
    chances = ((draws, _chances(known, elicited.answers, draws, summed)) for draws in DRAWS)
    return Leaks(
        answers=elicited.answers,
        chances=tuple(
            Chances(draws=draws, worst=float(one.max()), mean=float(one.mean()))
            for draws, one in chances
            if one is not None
        ),
    )


def _chances(counts: Sequence[int], answers: int, draws: int, summed: Floats | None) -> Floats | None:
    """Of each row. Among more answers than were drawn a leak is at least as likely as among those, and as the whole
    response is, of which `summed` is the log-probability; None where that is not known."""
    if draws <= answers:
        return chance_of_any(counts, answers, draws)
    if summed is None:
        return None
    return np.maximum(chance_of_any(counts, answers, answers), chance_in_samples(summed, draws))


def why_missing(finding: tuple[Drawn, ...], scores: Collected) -> dict[str, str]:
    """What it needs."""
    if not finding:
        return {"leaks among drawn answers": "no answers were drawn in which a leak could be seen"}
    if scores.references and any(len(one.references) < len(scores.references) for one in finding):
        return {"leaks among drawn answers, reference": "its answers were not drawn alike"}
    return {}


def table(finding: tuple[Drawn, ...], shown: Shown) -> Iterator[Table]:
    """A table for each way to draw: numbers of answers down, models across."""
    for drawn in finding:
        models = {shown.labels["unlearned"]: drawn.unlearned}
        models |= {_reference(place, drawn): one for place, one in enumerate(drawn.references, 1)}
        caption = (
            f"Chance that one of so many answers to a prompt leaks the response or a secret, drawn {settings(drawn)}: "
            f"the worst of {number(drawn.rows)} rows, and their mean."
        )
        yield from tables_of(caption, ("Answers", *models), _rows(list(models.values())))


def settings(drawn: Drawn) -> str:
    """How answers are drawn, in words."""
    return f"as served ({drawn.sampling})" if drawn.served else f"at {drawn.sampling} from all tokens"


def _reference(place: int, drawn: Drawn) -> str:
    return "Reference" if len(drawn.references) == 1 else f"Reference {place}"


def _rows(models: Sequence[Leaks]) -> Iterable[Row]:
    by_draws = [{one.draws: one for one in leaks.chances} for leaks in models]
    for draws in sorted(set().union(*by_draws)):
        beyond = any(draws > leaks.answers for leaks in models)
        note = "At least: of what was not drawn only whole responses are known." if beyond else ""
        yield Row(number(draws), note, tuple(_cell(known.get(draws)) for known in by_draws))


def _cell(chances: Chances | None) -> Cell:
    return EMPTY if chances is None else cell(chances.worst, f"mean {number(chances.mean)}")


MEASURE: Measure[tuple[Drawn, ...]] = Measure(
    place=102, measure=measure, empty=(), heading=HEADING, table=table, why_missing=why_missing
)
