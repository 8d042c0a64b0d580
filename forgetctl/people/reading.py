"""A text as identifiers are looked for in it: every form is made once, when it is first asked for."""

from __future__ import annotations

from functools import cached_property

from . import _letters
from ._address_words import words_of
from ._dates import Date, dates_in
from ._digit_words import with_digits
from ._marks import with_marks
from ._squeezed import Squeezed


class Reading:
    """A text in the forms in which identifiers are compared. Its representation holds no text."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return "Reading()"

    @cached_property
    def plain(self) -> str:
        """`_letters.plain`."""
        return _letters.plain(self._text)

    @cached_property
    def squeezed(self) -> tuple[Squeezed, ...]:
        """Of `_letters.readings`."""
        return tuple(map(Squeezed, dict.fromkeys((self.plain, _letters.spelled(self._text)))))

    @cached_property
    def digits(self) -> tuple[Squeezed, ...]:
        """Of plain text, as it is and with spelled digits as digits."""
        spelled = with_digits(self.plain)
        return (self.squeezed[0], *([Squeezed(spelled)] if spelled != self.plain else []))

    @cached_property
    def marks(self) -> str:
        """Plain text in which the names of an address's marks are marks."""
        return with_marks(self.plain)

    @cached_property
    def address_words(self) -> tuple[list[str], ...]:
        """Words of addresses at their shortest."""
        return tuple(words_of(text.plain) for text in self.squeezed)

    @cached_property
    def dates(self) -> frozenset[Date]:
        """Every date that it may be read to name, whole or in part."""
        return dates_in(self.plain)
