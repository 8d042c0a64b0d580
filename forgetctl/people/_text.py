"""Any other text: the same letters and digits in the same order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from numpy.random import Generator

from . import _invented
from ._kind import Disclosure, Matcher
from ._letters import plain, readings
from ._squeezed import Needle, Squeezed, squeezed
from .reading import Reading

FEWEST_WORDS, MOST_WORDS = 5, 40
"""Of a text of which half may be said: at least three words in a row. More are no identifier."""


@dataclass(frozen=True, repr=False)
class _Letters:
    """Recognises any of the needles, or of the halves as a part."""

    whole: tuple[Needle, ...]
    part: tuple[Needle, ...]

    @property
    def traces(self) -> tuple[str, ...]:
        """The needles' letters."""
        return tuple(needle.letters for needle in self.whole)

    def disclosed(self, reading: Reading) -> Disclosure:
        """In the readings of a text."""
        for level, needles in ((Disclosure.WHOLE, self.whole), (Disclosure.PART, self.part)):
            if any(says(text, needle) for text in reading.squeezed for needle in needles):
                return level
        return Disclosure.NONE


@dataclass(frozen=True, repr=False)
class _Marks:
    """Recognises a value without a letter or digit by itself."""

    value: str

    @property
    def traces(self) -> tuple[str, ...]:
        """None, so that every text is read."""
        return ("",)

    def disclosed(self, reading: Reading) -> Disclosure:
        """As a substring."""
        return Disclosure.WHOLE if self.value in reading.plain else Disclosure.NONE


class Text:
    """Case, accents, marks and white space are the writer's; the letters and digits are not."""

    def matcher(self, value: str) -> Matcher:
        """Of every value."""
        forms = readings(value)
        if not squeezed(forms[0]):
            return _Marks(forms[0])
        return _Letters(tuple(map(Needle, forms)), tuple(Needle(half) for form in forms for half in _halves(form)))

    def forms(self, value: str) -> Iterable[str]:
        """Other typography of the same words."""
        yield value
        yield value.upper()
        yield value.lower()
        yield plain(value)
        yield value.replace("'", "\N{RIGHT SINGLE QUOTATION MARK}")
        yield " ".join(f"**{word}**" for word in value.split())

    def others(self, value: str, random: Generator) -> Iterator[str]:
        """Other words of the same shapes."""
        return (_invented.like_words(value, random, invent=invent) for invent in _invented.draws())

    def values_in(self, text: str) -> Iterable[str]:
        """None: what of a text is an identifier is for the other kinds to say."""
        return ()


def says(text: Squeezed, needle: Needle) -> bool:
    """Whether a text has a needle's letters from the beginning of a word or number to the end of one."""
    size = len(needle)
    return any(text.begins(start) and text.ends(start + size, size) for start in text.all(needle))


def _halves(form: str) -> Iterator[str]:
    """Half of the words in a row, of a text that has enough of them."""
    words = [word for word in form.split() if squeezed(word)]
    size = (len(words) + 1) // 2
    if FEWEST_WORDS <= len(words) <= MOST_WORDS:
        yield from (" ".join(words[start : start + size]) for start in range(len(words) - size + 1))
