"""Names of people: in any order, with initials between, in whatever case."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product

import regex
from numpy.random import Generator

from . import _invented
from ._kind import Disclosure, Matcher
from ._letters import readings
from ._squeezed import FLEXIBLE, GAP, Needle, Squeezed, squeezed, stem
from ._text import says
from .reading import Reading

LONGEST, MOST_WORDS = 100, 6
PARTICLES = frozenset(
    "al ap ben bin bint d da de del den der di do dos du el ibn la le lo mac mc o of st te ten ter van von y zu".split()
)
"""Plain words that begin a surname and are none alone."""
FEWEST = 4
"""Letters of a surname that is a part by itself; shorter ones are words as well."""
_WORD = regex.compile(r"[\p{L}\p{M}'.-]+")
_CAPITAL = r"(?:\p{Lu}[\p{L}\p{M}'\u2019-]+|\p{Lu}\.)"
_RUN = rf"{_CAPITAL}(?:\s(?:(?:{'|'.join(sorted(PARTICLES))})\s)?{_CAPITAL})+|{_CAPITAL}-\p{{Lu}}\p{{L}}+"
_IN_TEXT = regex.compile(rf"(?<!\p{{Lu}}[\p{{L}}\p{{M}}]*,\s|\p{{L}})(?:{_RUN})(?!,\s\p{{Lu}}|\p{{L}})")


@dataclass(frozen=True, repr=False)
class _Parts:
    """A name's plain words. surname: the last one with the particles before it."""

    first: Needle
    middle: tuple[Needle, ...]
    last: Needle
    surname: Needle

    @classmethod
    def of(cls, words: list[str]) -> _Parts:
        """From its words in order. In Cyrillic they lose the vowel that another case changes."""
        start = len(words) - 1
        while start > 1 and words[start - 1] in PARTICLES:
            start -= 1
        first, last, surname = (Needle(stem(squeezed(part))) for part in (words[0], words[-1], "".join(words[start:])))
        return cls(first, tuple(map(Needle, words[1:-1])), last, surname)


@dataclass(frozen=True, repr=False)
class _Names:
    """Recognises a name in any of its readings."""

    readings: tuple[_Parts, ...]

    @property
    def traces(self) -> tuple[str, ...]:
        """The longer of first and last word."""
        return tuple(max(name.first.letters, name.last.letters, key=len) for name in self.readings)

    def disclosed(self, reading: Reading) -> Disclosure:
        """First and last word beside each other; a part is the surname alone."""
        pairs = list(product(reading.squeezed, self.readings))
        if any(_in_order(text, name) or _turned(text, name) for text, name in pairs):
            return Disclosure.WHOLE
        return Disclosure.PART if any(_surname_in(text, name) for text, name in pairs) else Disclosure.NONE


def _in_order(text: Squeezed, name: _Parts) -> bool:
    """First to last, with what is between them in full, as initials or not at all."""
    for end in _ends(text, name.first):
        for word in name.middle:
            end = _after(text, end, word) or _after(text, end, Needle(word.letters[0])) or end
        if _after(text, end, name.last) or _after(text, _past_initial(text, end), name.last):
            return True
    joined = Needle(name.first.letters + name.last.letters)
    return len(joined) >= FLEXIBLE and says(text, joined)


def _turned(text: Squeezed, name: _Parts) -> bool:
    """The surname, or the last word of it, before the first name."""
    return any(_after(text, end, name.first) for last in (name.surname, name.last) for end in _ends(text, last))


def _surname_in(text: Squeezed, name: _Parts) -> bool:
    """The surname alone, which must not be so short that it is a word."""
    return len(name.surname) >= FEWEST and any(_ends(text, name.surname))


def _ends(text: Squeezed, word: Needle) -> Iterator[int]:
    """Where a word ends that stands in a text, with its ending."""
    for start in text.all(word):
        if text.begins(start) and (end := _after(text, start, word, first=True)):
            yield end


def _after(text: Squeezed, at: int, word: Needle, *, first: bool = False) -> int | None:
    """Where a word ends that begins at a place, not too far from what stands before; None where another is there."""
    size = len(word)
    if not text.letters.startswith(word.letters, at) or (not first and not 0 < text.gap(at) <= GAP):
        return None
    ending = text.ending(at + size, size + 1)  # a stem has lost a letter
    return None if ending is None else at + size + ending


def _past_initial(text: Squeezed, at: int) -> int:
    """After a single letter that stands at a place."""
    return at + 1 if text.gap(at + 1) and text.letters[at : at + 1].isalpha() else at


class Name:
    """First and last word of a name in either order, with what stands between them in full, as initials or not."""

    def matcher(self, value: str) -> Matcher | None:
        """Of two to six words of letters."""
        if len(value) > LONGEST:
            return None
        names = [words for form in readings(value) if (words := _words(form))]
        return _Names(tuple(map(_Parts.of, names))) if names else None

    def forms(self, value: str) -> Iterable[str]:
        """In both orders, in capitals, with and without middle names and accents."""
        yield value
        yield value.upper()
        yield value.lower()
        yield from readings(value)
        first, *middle, last = value.split()
        surname = " ".join([*(word for word in middle if word.lower() in PARTICLES), last])
        given = [first, *(word for word in middle if word.lower() not in PARTICLES)]
        yield f"{surname}, {' '.join(given)}"
        yield f"{surname.upper()} {first}"
        yield f"{first} {surname}"
        yield " ".join([first, *(f"{word[0]}." for word in given[1:]), surname])
        yield f"{value}'s"

    def others(self, value: str, random: Generator) -> Iterator[str]:
        """Other names of as many words."""
        count = len(value.split())
        names = (*(_invented.GIVEN for _ in range(count - 1)), _invented.FAMILY)
        return (_invented.like_words(value, random, invent=invent, names=names) for invent in _invented.draws())

    def values_in(self, text: str) -> Iterable[str]:
        """Words with capitals, two or more in a row: also names of other things, but not such as stand before or after
        a comma and another capital, which are places."""
        return (match[0] for match in _IN_TEXT.finditer(text))


def _words(form: str) -> list[str]:
    """A plain name's words, none if it is no name. A comma turns them round."""
    last, comma, given = form.partition(",")
    words = (f"{given} {last}" if comma else form).split()
    good = 2 <= len(words) <= MOST_WORDS and all(_WORD.fullmatch(word) and squeezed(word) for word in words)
    return words if good and "," not in given else []
