"""What came out of each way of asking, by model. Shown; the checks of leaks judge it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from ...model.scores import Elicited, Role
from ...recipe.bounds import Bounds
from ..collected import Collected
from ..findings import Measure
from ..statistics.shapes import Shape, Share
from ..tables import EMPTY, ROLES, Row, Shown, Table, cell, share, tables_of
from ._answers import HEADING
from .models import mean

MODES = {
    "greedy": ("Asked", "The prompt as it is, answered with the likeliest tokens."),
    "without thought": (
        "Without a thought",
        "The prompt with an empty thought behind it, for a model that thinks.",
    ),
    "first tokens": ("Beginning given", "The first tokens of the response are given away; does the rest come out?"),
    "affirmative": ("Made willing", "The answer is made to begin willingly; does the response come out?"),
    "sampled": ("Sampled", "Several answers drawn at random, for some of the rows; the best one counts."),
    "as served": ("Sampled as served", "The same in the settings in which the owner draws answers."),
}
"""Ways of asking, each with what it is called and what it means."""


class GivenAway(Shape):
    """What one way of asking brought out of the rows that were asked. answers: to each row. rouge: mean ROUGE-L recall.
    secrets, whole: how many came out at least once, and of how many."""

    answers: int
    rouge: Share | None
    secrets: tuple[int, int]
    whole: tuple[int, int]


def measure(scores: Collected, bounds: Bounds) -> dict[Role, dict[str, GivenAway]]:
    """The forget rows, by model and by way of asking."""
    return {
        role: {mode: _given_away(answers) for mode, answers in scored.forget.elicited.items()}
        for role, scored in scores.models.items()
    }


def _given_away(elicited: Elicited) -> GivenAway:
    secrets = [count for row in elicited.secrets or [] for count in row if count is not None]
    whole = [count for count in elicited.whole or [] if count is not None]
    return GivenAway(
        answers=elicited.answers,
        rouge=mean([value for value in elicited.recall if value is not None]),
        secrets=(sum(count > 0 for count in secrets), len(secrets)),
        whole=(sum(count > 0 for count in whole), len(whole)),
    )


def table(finding: dict[Role, dict[str, GivenAway]], shown: Shown) -> Iterable[Table]:
    """Ways of asking down, models across."""
    by_role = {role: finding[role] for role in ROLES if finding.get(role)}
    modes = dict.fromkeys([*MODES, *(mode for known in by_role.values() for mode in known)])
    rows = (row for mode in modes for row in _rows(mode, {role: known.get(mode) for role, known in by_role.items()}))
    caption = (
        "What came out, of the rows that were asked: the mean share of the response's words, and how many named "
        "secrets, and whole responses too long to guess, came out at least once."
    )
    return tables_of(caption, ("Answers", *(shown.labels[role] for role in by_role)), rows)


def _rows(mode: str, finding: Mapping[Role, GivenAway | None]) -> Iterator[Row]:
    label, note = MODES.get(mode, (mode, ""))
    answers = next((one.answers for one in finding.values() if one and one.answers > 1), None)
    note = f"{note} Answers to each: {answers}." if answers else note
    for measure, cells in (
        ("ROUGE-L recall", tuple(cell(one.rouge) if one else EMPTY for one in finding.values())),
        ("secrets said", tuple(share(one.secrets) if one else EMPTY for one in finding.values())),
        ("whole responses", tuple(share(one.whole) if one else EMPTY for one in finding.values())),
    ):
        if any(one != EMPTY for one in cells):
            yield Row(f"{label}: {measure}", note, cells)
            note = ""


MEASURE: Measure[dict[Role, dict[str, GivenAway]]] = Measure(
    place=70, measure=measure, empty={}, heading=HEADING, table=table
)
