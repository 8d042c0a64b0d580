"""Bytes of a stream as text: UTF-8, or UTF-16 where a byte order mark says so, as spreadsheets write it.

Bytes that are no text travel as lone surrogates to the piece of text that they stand in, so that it can be named.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from io import BufferedReader, TextIOWrapper

_NOT_TEXT = re.compile("[\ud800-\udfff]")


def is_utf16(data: bytes) -> bool:
    """Whether these first bytes say that a text is UTF-16."""
    return data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))


class NotTextError(ValueError):
    """What was read is no text. The message goes after the name of a place, and quotes nothing."""


class TextReader:
    """Text of a stream, with its line breaks as they are. Both methods raise NotTextError."""

    def __init__(self, file: BufferedReader) -> None:
        utf16 = is_utf16(file.peek(2))
        encoding, errors = ("utf-16", "surrogatepass") if utf16 else ("utf-8-sig", "surrogateescape")
        self._text = TextIOWrapper(file, encoding, errors, newline="")
        self._name = "UTF-16" if utf16 else "UTF-8"

    def line(self, longest: int) -> str:
        """The next line with its break (LF, CR or CR LF), or as much of it; empty at the end."""
        return self._checked(self._text.readline, longest)

    def characters(self, most: int) -> str:
        """The next characters; empty at the end."""
        return self._checked(self._text.read, most)

    def _checked(self, read: Callable[[int], str], size: int) -> str:
        try:
            text = read(size)
        except UnicodeDecodeError:  # which would carry the text
            raise NotTextError(f"is not {self._name}") from None
        if "\0" in text:
            raise NotTextError("holds a NUL byte")
        if not text.isascii() and _NOT_TEXT.search(text):
            raise NotTextError(f"is not {self._name}")
        return text
