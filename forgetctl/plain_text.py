"""Text from outside made fit for a terminal."""

from __future__ import annotations


def printable(text: str) -> str:
    """Text without control, bidirectional and zero-width characters, which could change the terminal or hide text."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)
