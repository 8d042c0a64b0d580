"""Text from outside made fit for a terminal or a page."""

from __future__ import annotations

import unicodedata


def printable(text: str) -> str:
    """Text with a mark in place of each control, bidirectional, zero-width or other invisible character and each lone
    surrogate: they could steer a terminal, reorder or hide parts of a name, or could not be written at all."""
    return text if text.isprintable() else "".join(c if _is_plain(c) else "\N{REPLACEMENT CHARACTER}" for c in text)


def one_line(text: str) -> str:
    """The same for what stands on a line, such as a name: no line break or tab either, which could begin a line, or a
    column, that looks like one of ours."""
    return printable(text).translate(_BREAKS)


_BREAKS = dict.fromkeys(map(ord, "\n\t"), "\N{REPLACEMENT CHARACTER}")


def _is_plain(character: str) -> bool:
    """Whether a character shows, or is a blank, a tab or a line feed."""
    return character.isprintable() or character in "\n\t" or unicodedata.category(character) == "Zs"
