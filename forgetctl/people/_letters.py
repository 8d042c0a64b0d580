"""Letters as identifiers are compared by them: without accents, typographic marks, escapes and markup."""

from __future__ import annotations

import html
import unicodedata

import regex

from ..rows.text import fold

_ESCAPED = regex.compile(r"\\([!-/:-@\[-`{-~])")
"""Markdown's escapes: a backslash before a mark (CommonMark 0.31, section 2.4)."""
_MARKUP = regex.compile(r"[*`\u0640]+|</?(?:b|br|code|em|i|mark|span|strong|sub|sup|u|wbr)\s*/?>")
"""Emphasis within a word, and Arabic's stretched lines, which are no letters."""
_ACCENTS = regex.compile(r"(?<=[\p{Latin}\p{Greek}\p{Cyrillic}\p{Hebrew}\p{Arabic}])\p{Mn}+")
"""Marks that are left out in careless writing. Those of other scripts are vowels or make other letters."""
_OTHER_DIGIT = regex.compile(r"(?V1)[\p{Nd}--[0-9]]")
_MARKS = {
    **dict.fromkeys(map(ord, "\u2018\u2019\u201a\u201b\u2032\u02b9\u02bb\u02bc\u00b4\ua78c\uff07"), "'"),
    **dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d"), "-"),
}
_BARE = {**_MARKS, **str.maketrans({"æ": "ae", "œ": "oe", "ø": "o", "đ": "d", "ð": "d", "ł": "l", "ı": "i", "þ": "th"})}
"""Letters whose strokes are no marks of their own."""
_SPELLED = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "å": "aa", "ø": "oe"})
"""How umlauts are written where there are none (DIN 5007-2; Danish and Norwegian the same way)."""


def plain(text: str) -> str:
    """Text folded (`rows.text.fold`), without escapes, markup and accents; digits, dashes and apostrophes are plain."""
    return _bare(_folded(text))


def spelled(text: str) -> str:
    """The same with umlauts written out: Müller is mueller, where `plain` has muller."""
    return _bare(_folded(text).translate(_SPELLED))


def readings(text: str) -> tuple[str, ...]:
    """Both, or one where they are the same."""
    folded = _folded(text)
    if folded.isascii():
        return (folded,)
    return tuple(dict.fromkeys((_bare(folded), _bare(folded.translate(_SPELLED)))))


def _folded(text: str) -> str:
    unescaped = _ESCAPED.sub(r"\1", html.unescape(text) if "&" in text else text)
    return fold(_MARKUP.sub("", unescaped))


def _bare(folded: str) -> str:
    if folded.isascii():
        return folded
    apart = unicodedata.normalize("NFD", folded)
    whole = unicodedata.normalize("NFC", _ACCENTS.sub("", apart)).translate(_BARE)
    return str(_OTHER_DIGIT.sub(lambda digit: str(unicodedata.digit(digit[0])), whole))
