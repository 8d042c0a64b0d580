"""Letters and digits of a text in one piece, in which an identifier is found whatever stands between its own."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import regex

from ..rows.text import UNSPACED

GAP = 3
"""Marks and blanks that may stand between two letters or digits of an identifier: more stand between two things."""
FLEXIBLE = 5
"""Letters or digits from which an identifier may be written with other gaps than its own: a shorter one is soon found
in the end of one word and the beginning of the next."""
OPEN_ENDED = 4
"""Letters of a word from which it may have an ending of its own language."""
PREFIX, PARTICLE, ENDING = 3, 4, 3
"""Most letters of an article before its noun, of a particle and of an ending behind it."""
_BETWEEN = regex.compile(r"[^\p{L}\p{M}\p{N}]+")
_NO_MARKS = {code: None for code in range(128) if not chr(code).isalnum()}
_UNSPACED = regex.compile(f"[{UNSPACED}]")
_HANGUL = regex.compile(r"\p{Hangul}")
_PREFIXING = regex.compile(r"[\p{Arabic}\p{Hebrew}]")
_LATIN = regex.compile(r"\p{Latin}")
_LATIN_ENDINGS = ("", "s", "es", "n", "en")
_CYRILLIC_VOWELS = tuple("аеийоуыьэюя")


def squeezed(plain: str) -> str:
    """Letters with their marks, and digits, alone."""
    return plain.translate(_NO_MARKS) if plain.isascii() else _BETWEEN.sub("", plain)


def _counts(letter: str) -> bool:
    return letter.isalnum() if letter.isascii() else not _BETWEEN.match(letter)


class Needle:
    """Letters and digits that are looked for. Shows no text."""

    def __init__(self, plain: str) -> None:
        self.letters = squeezed(plain)
        places = [place for place, letter in enumerate(plain) if _counts(letter)]
        gaps = enumerate((other - one - 1 for one, other in pairwise(places)), 1)
        self._gaps = {at: gap for at, gap in gaps if gap}

    def __repr__(self) -> str:
        return "Needle()"

    def __len__(self) -> int:
        return len(self.letters)

    def widest(self, at: int) -> int:
        """Characters that may stand before a letter: in a short needle none but where it has some itself."""
        own = self._gaps.get(at, 0)
        free = own or len(self) >= FLEXIBLE or _UNSPACED.match(self.letters, at)
        return max(GAP, own) if free else 0


class Squeezed:
    """Letters and digits of plain text (`_letters.plain`) with the places where they stood. Shows no text."""

    def __init__(self, plain: str) -> None:
        self.plain = plain
        self.places = [place for place, letter in enumerate(plain) if _counts(letter)]
        self.letters = "".join([plain[place] for place in self.places])

    def __repr__(self) -> str:
        return "Squeezed()"

    def gap(self, at: int) -> int:
        """Characters between a letter and the one before; before the first and after the last there is nothing."""
        return self.places[at] - self.places[at - 1] - 1 if 0 < at < len(self.places) else GAP + 1

    def all(self, needle: Needle) -> Iterator[int]:
        """Where a needle's letters stand one after another, and no wider gap between them than may be."""
        start = self.letters.find(needle.letters)
        while start >= 0:
            if all(self.gap(start + at) <= needle.widest(at) for at in range(1, len(needle.letters))):
                yield start
            start = self.letters.find(needle.letters, start + 1)

    def begins(self, at: int) -> bool:
        """Whether a word or number begins here, and not in the middle of another."""
        if self.gap(at):
            return True
        letter, before = self.letters[at], self.letters[at - 1]
        if letter.isdecimal() or before.isdecimal():
            return letter.isdecimal() != before.isdecimal()
        if _PREFIXING.match(letter):  # articles and conjunctions are written with their noun
            return any(self.gap(at - length) for length in range(1, PREFIX + 1))
        return bool(_UNSPACED.match(letter))

    def ends(self, at: int, length: int) -> bool:
        """Whether a word or number of that length ends before here, or nothing but an ending follows."""
        return self.ending(at, length) is not None

    def ending(self, at: int, length: int) -> int | None:
        """Letters of the ending that follows, which may be none; None where the word goes on as another."""
        if self.gap(at):
            return 0
        last, after = self.letters[at - 1], self.letters[at]
        if last.isdecimal() or after.isdecimal():
            return 0 if last.isdecimal() != after.isdecimal() else None
        if _UNSPACED.match(last):
            return 0
        tail = self._tail(at)
        return len(tail) if _is_ending(last, tail, length) else None

    def _tail(self, at: int) -> str:
        end = at
        while end < len(self.letters) and not self.gap(end) and not self.letters[end].isdecimal():
            end += 1
        return self.letters[at:end]


def _is_ending(last: str, tail: str, length: int) -> bool:
    if _HANGUL.match(last):
        return len(tail) <= PARTICLE  # particles are written with their noun
    if _LATIN.match(last):
        return tail in (_LATIN_ENDINGS if length >= OPEN_ENDED else _LATIN_ENDINGS[:2])
    return length >= OPEN_ENDED and len(tail) <= ENDING


def stem(word: str) -> str:
    """What of a squeezed word stays in every case: in Cyrillic the last vowel gives way to the ending."""
    return word[:-1] if len(word) >= OPEN_ENDED and word.endswith(_CYRILLIC_VOWELS) else word
