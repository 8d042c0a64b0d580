"""Postal addresses: the street, with or without abbreviations, and the house number before or after it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import regex
from numpy.random import Generator

from . import _invented
from ._address_words import SHORT, shortest, words_of, written
from ._kind import Disclosure, Matcher
from ._letters import plain
from .reading import Reading

LONGEST = 300
TYPES = frozenset(
    "st ave rd blvd dr ln ct pl sq hwy pkwy ter cir trl cres aly grv tpke xing cv rte pass run path pike point ridge "
    "hill trace park way loop walk row str weg allee gasse ring damm ufer ch imp rue quai cours c pza plaza po via "
    "viale corso straat laan".split()
)
"""Of streets. Words that end in German's are of their type as well."""
DIRECTIONS = frozenset("n s e w nw ne sw se".split())
ENDINGS = ("str", "weg", "platz", "allee", "gasse", "ring", "damm", "ufer", "straat", "laan")
POSTCODE, NEAR = 5, 8
"""Digits of a postal code, of many countries, and words after a street within which it stands."""
NUMBER_WORDS = frozenset("no nr num number numero nummer house".split())
"""Between a street and its number."""
_IN_TEXT = regex.compile(
    r"(?<![\p{L}\p{N}])\p{N}{1,5}[a-z]?(?:\s\p{Lu}[\p{L}.]*|\s\p{N}+(?:st|nd|rd|th)){1,5}"
    r"|(?<!\p{L})\p{Lu}\p{L}+(?:[ -]\p{L}+){0,3}\s\p{N}{1,4}\s?[a-z]?(?![\p{L}\p{N}])"
)


@dataclass(frozen=True, repr=False, kw_only=True)
class _Street:
    """Recognises a street by its words, as `words_of` gives them, and its house number beside them."""

    words: tuple[str, ...]
    number: str
    postcode: str | None

    @property
    def traces(self) -> tuple[str, ...]:
        """The number with the word that it stands before or behind, in every length of that."""
        before = [self.number + word for word in written(self.words[0])]
        behind = [word + filler + self.number for word in written(self.words[-1]) for filler in ("", *NUMBER_WORDS)]
        return tuple(sorted({*before, *behind}))

    def disclosed(self, reading: Reading) -> Disclosure:
        """Street and number, unless another town's postal code follows; a part is the street alone or the code."""
        return max(map(self._said_in, reading.address_words))

    def _said_in(self, words: list[str]) -> Disclosure:
        places = list(_places(words, self.words))
        if any(self._numbered(words, place, place + len(self.words)) for place in places):
            return Disclosure.WHOLE
        named = bool(places) and len(self.words) > 1
        return Disclosure.PART if named or self.postcode in words else Disclosure.NONE

    def _numbered(self, words: list[str], start: int, end: int) -> bool:
        codes = [word for word in words[end : end + NEAR] if _is_postcode(word) and word != self.number]
        elsewhere = self.postcode is not None and codes != [] and self.postcode not in codes
        return self.number in _beside(words, start, end) and not elsewhere


class Address:
    """A street and a house number."""

    def matcher(self, value: str) -> Matcher | None:
        """Of a value with a street and a number, and whatever else an address has."""
        return _parse(plain(value)) if len(value) <= LONGEST else None

    def forms(self, value: str) -> Iterable[str]:
        """As it is; with every word short and long; in one line; the street alone, its number after it too."""
        yield value
        yield value.replace(", ", "\n")
        yield value.replace(", ", " ")
        street = value.split(",")[0]
        yield street
        for table in (SHORT, {short: long for long, short in reversed(SHORT.items())}):
            yield regex.sub(r"(?<!\d)\p{L}+", lambda word, t=table: t.get(plain(word[0]), word[0]).capitalize(), street)
        if match := regex.fullmatch(r"(\d+\p{L}?)\s+(.*)", street):
            yield f"{match[2]} {match[1]}"
            yield f"{match[2]}, No. {match[1]}"

    def others(self, value: str, random: Generator) -> Iterator[str]:
        """Other names, digits and places between the same types."""
        kept = regex.compile(r"\p{L}+")
        for invent in _invented.draws():
            made = _invented.like_words(value, random, invent=invent, names=(_invented.PLACES,))
            pairs = zip(kept.findall(value), kept.finditer(made), strict=False)
            whole = list(made)
            for word, match in reversed(list(pairs)):
                if shortest(plain(word)) in TYPES | DIRECTIONS:
                    whole[match.start() : match.end()] = word
            yield "".join(whole)

    def values_in(self, text: str) -> Iterable[str]:
        """Streets with their numbers."""
        return (match[0] for match in _IN_TEXT.finditer(text) if _parse(plain(match[0])))


def _parse(form: str) -> _Street | None:
    """The first piece between commas that is a street with a number: by its type, or because a postal code follows."""
    pieces = [words_of(piece) for piece in regex.split(r"[,;\n]", form)]
    postcode = next((word for piece in pieces[1:] for word in piece if _is_postcode(word)), None)
    for piece in pieces:
        typed = any(word in TYPES or word.endswith(ENDINGS) for word in piece)
        sent = piece is pieces[0] and postcode is not None
        place = next((place for place, word in enumerate(piece) if word[0].isdecimal()), None)
        if (typed or sent) and place is not None:
            street = piece[:place] or piece[1:]
            words = tuple(word for word in street if word not in NUMBER_WORDS)
            if any(word not in TYPES for word in words):
                return _Street(words=words, number=piece[place], postcode=postcode)
    return None


def _is_postcode(word: str) -> bool:
    return word.isdecimal() and len(word) >= POSTCODE


def _places(words: list[str], street: tuple[str, ...]) -> Iterator[int]:
    size = len(street)
    return (start for start in range(len(words) - size + 1) if tuple(words[start : start + size]) == street)


def _beside(words: list[str], start: int, end: int) -> Iterator[str]:
    """The words before and after, past those that only say that a number follows."""
    for beside in (words[:start][::-1], words[end:]):
        yield from [word for word in beside if word not in NUMBER_WORDS][:1]
