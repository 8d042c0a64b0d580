"""Text from outside made fit for a terminal or a page."""

from __future__ import annotations

import unicodedata


def printable(text: str) -> str:
    """Text with a mark in place of each control, bidirectional, zero-width or other invisible character and each lone
    surrogate: they could steer a terminal, reorder or hide parts of a name, or could not be written at all."""
    return text if text.isprintable() else "".join(c if _is_plain(c) else "\N{REPLACEMENT CHARACTER}" for c in text)


def _is_plain(character: str) -> bool:
    """Whether a character shows, or is a blank, a tab or a line feed."""
    return character.isprintable() or character in "\n\t" or unicodedata.category(character) == "Zs"
