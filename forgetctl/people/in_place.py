"""Where a row's response says its named secrets, and what else could stand there: the strings that exposure compares.

The others are made up by the secret's kind (`kinds.up_to`), written as the secret is written in that place. They depend
on its form alone, so that secrets of one form share them and every model is asked for the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import regex

from ..rows.likeness import Substrings
from ..rows.row import Row
from ..rows.secret import Secret
from ._letters import plain
from ._squeezed import squeezed
from .extent import Extent
from .kinds import Disclosure, Reading, disclosure, form_of, forms, kind_of, up_to
from .mentions import Mentions

VERSION = 1
"""Of how the others are made; scores among those of another version are not compared."""
SEED = 1
"""The same for everybody: a reference that somebody else scored was asked for the same strings."""
OTHERS: dict[Extent, int] = {"quick": 99, "full": 999, "none": 0}
SPARE = 30
"""Made beyond those, in place of such as the rows hold."""
FEWEST = 49
"""Others without which a place among them says too little."""
Reason = Literal["said by the prompt", "in no answer", "too few others", "not read alike"]
"""Why a secret has no place: its prompt gives it away, its row's response does not hold it as it is written anywhere,
its form has too few values, or a model's tokens, template or length do not allow it."""


@dataclass(frozen=True, repr=False)
class InPlace:
    """A secret in a row's response. start, end: in code points; others: strings that could stand there.

    The representation holds no text.
    """

    start: int
    end: int
    others: tuple[str, ...]

    def __repr__(self) -> str:
        return f"InPlace({len(self.others)} others)"


@dataclass(frozen=True, repr=False)
class Places:
    """Of each secret of each row. strings: other strings that were wanted for each; left_out: strings that were made
    and are said somewhere, so that others stand for them."""

    rows: tuple[tuple[InPlace | Reason, ...], ...]
    strings: int
    left_out: int

    @property
    def count(self) -> int:
        """Secrets that have a place."""
        return sum(isinstance(place, InPlace) for own in self.rows for place in own)


def in_place(rows: Sequence[Row], kept: Iterable[str], extent: Extent) -> Places:
    """Each secret of each row in the first place where its response says it, or why there is none.

    No other string gives a secret of the request away, in any spelling, or is said by the request or in `kept`, texts
    of rows that the models were taught.
    """
    found = [[_place_of(secret, row) for secret in row.secrets] for row in rows]
    written = [place.secret for places in found for place in places if isinstance(place, _Place)]
    texts = [*(text for row in rows for text in (row.prompt, row.response)), *kept]
    others = _Others(texts, rows, written, OTHERS[extent])
    placed = (
        tuple(others.around(place) if isinstance(place, _Place) else place for place in places) for places in found
    )
    return Places(tuple(placed), OTHERS[extent], others.left_out)


@dataclass(frozen=True, repr=False)
class _Place:
    """A secret as it is written in a response, and where."""

    start: int
    end: int
    secret: Secret


def _place_of(secret: Secret, row: Row) -> _Place | Reason:
    if disclosure(secret, Reading(row.prompt)) is Disclosure.WHOLE:
        return "said by the prompt"
    if disclosure(secret, Reading(row.response)) is not Disclosure.WHOLE:
        return "in no answer"
    found = [match.span() for form in forms(secret) if (match := _pattern(form).search(row.response))]
    if not found:
        return "in no answer"
    start, end = min(found, key=lambda span: (span[0], -span[1]))
    return _Place(start, end, Secret(row.response[start:end], kind_of(secret)))


def _pattern(form: str) -> regex.Pattern[str]:
    """A form with other marks, or more of them, between its letters and digits, and no part of a longer word."""
    letters = [regex.escape(letter) for letter in form if letter.isalnum()]
    body = r"[\W_]{0,2}".join(letters) if letters else regex.escape(form)
    return regex.compile(rf"(?i)(?<![\p{{L}}\p{{N}}]){body}(?![\p{{L}}\p{{N}}])")


class _Others:
    """Other strings by form, without those that texts say and those that say a secret of the rows."""

    def __init__(self, texts: Sequence[str], rows: Sequence[Row], secrets: Iterable[Secret], count: int) -> None:
        """Those of all secrets at once, so that a text is read once for all strings."""
        by_form = {form_of(secret, SEED): secret for secret in reversed(list(secrets))}
        made = {form: _made(secret, count) for form, secret in by_form.items()}
        unused = _unused(list(dict.fromkeys(one for some in made.values() for one in some)), texts, rows)
        self.left_out = sum(one not in unused for some in made.values() for one in some)
        self._by_form = {form: tuple(one.value for one in some if one in unused)[:count] for form, some in made.items()}

    def around(self, place: _Place) -> InPlace | Reason:
        """Those of a place."""
        others = self._by_form[form_of(place.secret, SEED)]
        return InPlace(place.start, place.end, others) if len(others) >= FEWEST else "too few others"


def _made(secret: Secret, count: int) -> list[Secret]:
    return [Secret(value, secret.kind) for value in up_to(secret, count + SPARE, SEED)]


def _unused(made: Sequence[Secret], texts: Sequence[str], rows: Sequence[Row]) -> set[Secret]:
    own = Mentions.of_rows(rows).among([secret.value for secret in made])
    letters = [squeezed(plain(secret.value)) for secret in made]
    said = {number for _, number in Substrings(letters).pairs([squeezed(plain(text)) for text in texts])}
    return {secret for number, secret in enumerate(made) if not own[number] and number not in said}
