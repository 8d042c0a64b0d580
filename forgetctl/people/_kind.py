"""What a kind of identifier is: the interface of the modules beside this one, and what they share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import IntEnum
from typing import Protocol

from numpy.random import Generator

from .reading import Reading


class Disclosure(IntEnum):
    """What a text says of an identifier. PART: its last four digits, say, or a name without the house number."""

    NONE = 0
    PART = 1
    WHOLE = 2


class Matcher(Protocol):
    """Recognises one identifier in texts."""

    @property
    def traces(self) -> tuple[str, ...]:
        """Letters and digits (`_squeezed.squeezed`) of which every text that says the whole holds some in a row."""

    def disclosed(self, reading: Reading) -> Disclosure:
        """What a text says of it."""


class IdentifierKind(Protocol):
    """A kind of identifier. Values are as somebody wrote them; a method gets such as `matcher` takes."""

    def matcher(self, value: str) -> Matcher | None:
        """What recognises the value in texts, None if it is none of this kind."""

    def forms(self, value: str) -> Iterable[str]:
        """The ways in which it is commonly written; `matcher` recognises more."""

    def others(self, value: str, random: Generator) -> Iterator[str]:
        """Made-up values of the same form, without end; some may repeat."""

    def values_in(self, text: str) -> Iterable[str]:
        """Values of the kind that stand in a text, as they are written there."""
