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
_WORD = regex.compile(
    rf"(?V1)[{UNSPACED}]\p{{M}}*|[[\p{{L}}\p{{N}}]--[{UNSPACED}]][[\p{{L}}\p{{M}}\p{{N}}]--[{UNSPACED}]]*"
)
_LONE = regex.compile(f"[{UNSPACED}]")


def fold(text: str) -> str:
    """Text with composed and compatible forms alike (NFKC), case folded, and without characters that nobody sees."""
    if text.isascii():
        return text.casefold()
    # Folding may take composed letters apart again (Unicode 16, section 3.13, D146).
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()).translate(UNSEEN)


def words(text: str) -> list[str]:
    """The words of folded text, in order: runs of letters, their marks, and digits; where a script has no blanks
    between words, each letter with its marks."""
    return list(_WORD.findall(fold(text)))


def word_length(text: str) -> float:
    """How many words a text has, where two letters of a script without blanks count as one."""
    return sum(0.5 if _LONE.match(word) else 1.0 for word in words(text))
