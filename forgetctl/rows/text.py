"""Text as it is compared: folded, and cut into words in any script."""

from __future__ import annotations

import unicodedata

import regex

UNSEEN = dict.fromkeys(
    [0xAD, 0x34F, 0x61C, 0x180E, *range(0x200B, 0x2010), *range(0x202A, 0x202F), *range(0x2060, 0x2070), 0xFEFF]
)
"""Soft hyphens, joiners, marks of direction: characters that text is copied with and nobody sees."""
UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}"
"""Scripts that are written without blanks between words."""
_BOUNDARY = regex.compile(r"(?V1w)\b")
"""Default word boundaries (Unicode Standard Annex 29, section 4): blanks and marks part words, a point within a number
does not, and scripts that a dictionary would be needed for come apart letter by letter."""
_WORD = regex.compile(rf"(?V1)[{UNSPACED}]\p{{M}}*|[[\p{{L}}\p{{M}}\p{{N}}]--[{UNSPACED}]][^'\u2019_{UNSPACED}]*")
"""What of a segment is a word: an apostrophe or a line parts two, so that a genitive holds its noun."""
_SPOKEN = regex.compile(r"[\p{L}\p{N}]")
_LONE = regex.compile(f"[{UNSPACED}]")


def fold(text: str) -> str:
    """Text with composed and compatible forms alike (NFKC), case folded, and without characters that nobody sees."""
    if text.isascii():
        return text.casefold()
    # Folding may take composed letters apart again (Unicode 16, section 3.13, D146).
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()).translate(UNSEEN)


def words(text: str) -> list[str]:
    """The words of folded text, in order; where a script has no blanks between words, each letter with its marks."""
    segments = (segment for segment in _BOUNDARY.split(fold(text)) if _SPOKEN.search(segment))
    return [word for segment in segments for word in _WORD.findall(segment)]


def word_length(text: str) -> float:
    """How many words a text has, where two letters of a script without blanks count as one."""
    return sum(map(weight, words(text)))


def weight(word: str) -> float:
    """What one of `words` counts: a letter of a script without blanks half of a word."""
    return 0.5 if _LONE.match(word) else 1.0
