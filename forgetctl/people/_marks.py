"""Marks of e-mail addresses that are written as words, by people who do not want their address to be found."""

from __future__ import annotations

import regex

WORDS = {
    "@": "at arroba arobase chez klammeraffe".split(),
    ".": "dot punkt point punto".split(),
    "_": ["underscore", "unterstrich", "tiret bas", "guion bajo"],
    "-": "dash hyphen minus bindestrich tiret guion".split(),
    "+": "plus mas".split(),
}
"""How marks are called in English, German, French and Spanish, plain."""
_MARKS = [
    (regex.compile(rf"(?<=[\p{{L}}\p{{N}}])[\s(\[{{<]+(?:{'|'.join(names)})[\s)\]}}>]+(?=[\p{{L}}\p{{N}}])"), mark)
    for mark, names in WORDS.items()
]
_AROUND = regex.compile(r"\s*[(\[{<]?\s*(@)\s*[)\]}>]?\s*|(?<=@\S*)\s*[(\[{<]\s*(\.)\s*[)\]}>]\s*|(?<=@\S*)\s+(\.)\s*")
"""Blanks and brackets around a mark."""


def with_marks(plain: str) -> str:
    """Plain text with marks for their names, and without blanks and brackets around them."""
    for pattern, mark in _MARKS:
        plain = pattern.sub(mark, plain)
    return str(_AROUND.sub(lambda match: match[1] or match[2] or match[3], plain))
