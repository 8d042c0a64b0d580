"""What the summary page says, cut to what one printed page has room for; the rest stands further down."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from ..verify.checks import comparison, subjects
from ..verify.record import Conclusion
from ..verify.tables import number
from ._history import input_name
from .records import Report
from .words import MEANING, WEAKER

MOST_PASSED = 6
"""More passed checks than this are named, not told; all are told further down."""
LINE, LINES_OF_REASONS = 95, 10
"""Characters in a line of the reasons, and lines that there is room for if nothing else needs them."""
MOST_PEOPLE = 4
"""People that the page tells of, those first whom somebody should look at."""
ROOM_FOR_REQUESTS, ROOM_FOR_NAMES = 75, 60
"""Characters of request ids, and of names of further references."""


def summary(report: Report, warnings: Sequence[str]) -> dict[str, Any]:
    """The summary by the names that the templates use."""
    verdict = report.verdict
    holdout = verdict is not None and comparison.MEASURE.of(verdict).by == "holdout"
    yardstick = "rows that it never saw" if holdout else "a model that never saw them"
    passed = _all_passed(verdict) if verdict else []
    reasons = [reason.text for reason in verdict.reasons] if verdict and not passed else []
    people = subjects.worst_first(subjects.MEASURE.of(verdict)) if verdict else []
    # Each of these takes about two lines, and a person one.
    room = LINES_OF_REASONS - 2 * (len(warnings) + holdout + bool(report.run.lineage)) - min(len(people), MOST_PEOPLE)
    return {
        "people": [_person(one) for one in people[:MOST_PEOPLE]],
        "more_people": _more(people),
        "meaning": MEANING[verdict.verdict].format(yardstick=yardstick) if verdict else "",
        "weaker": WEAKER if holdout else "",
        "compared": _compared(verdict) if verdict else "",
        "passed": passed,
        "reasons": reasons,
        "first_reasons": _first(reasons, room, LINE),
        "first_requests": _first(report.run.requests, ROOM_FOR_REQUESTS),
        "model_name": input_name(report.run.inputs.get("model")),
    }


def _person(person: subjects.Subject) -> str:
    rows = f"{number(person.rows)} {'row' if person.rows == 1 else 'rows'}"
    whose = "" if person.named else ", which name nobody"
    return f"Person {person.subject} ({rows}{whose}): {person.verdict.replace('_', ' ')}, {subjects.in_words(person)}."


def _more(people: Sequence[subjects.Subject]) -> str:
    """How many people there are besides, by verdict; empty without any."""
    rest = Counter(one.verdict.replace("_", " ") for one in people[MOST_PEOPLE:])
    return ", ".join(f"{number(count)} {verdict}" for verdict, count in rest.items())


def _first(texts: Sequence[str], room: int, unit: int = 1) -> list[str]:
    """The first texts, at least one, for which there is room: counted in units of so many characters, all begun."""
    used = accumulate(math.ceil(len(text) / unit) for text in texts)
    return list(texts[: max(1, sum(end <= room for end in used))])


def _compared(verdict: Conclusion) -> str:
    """What the model was compared with, by name where it has one."""
    compared = comparison.MEASURE.of(verdict)
    words = comparison.WORDS[compared.kind] + (
        f" ({compared.name})" if compared.name and compared.kind != "holdout" else ""
    )
    if not compared.others:
        return words
    first = _first(compared.others, ROOM_FOR_NAMES)
    more = f" and {len(compared.others) - len(first)} more" if len(compared.others) > len(first) else ""
    return f"{words}; for the noise between such models also {', '.join(first)}{more}"


def _all_passed(verdict: Conclusion) -> list[str]:
    """Names of the checks behind a PASS, if they are too many to be told twice."""
    names = [check.name for check in verdict.checks if check.status == "pass"]
    return names if verdict.verdict == "PASS" and len(names) > MOST_PASSED else []
