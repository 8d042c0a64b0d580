"""Digits that are spelled out, one by one, as who dictates a number does."""

from __future__ import annotations

import regex

DIGITS = {
    word: str(digit)
    for digit, spellings in enumerate(
        (
            "zero null zero cero nul oh",
            "one eins ein un une uno",
            "two zwei zwo deux dos",
            "three drei trois tres",
            "four vier quatre cuatro",
            "five funf fuenf cinq cinco",
            "six sechs seis",
            "seven sieben sept siete",
            "eight acht huit ocho",
            "nine neun neuf nueve",
        )
    )
    for word in spellings.split()
}
"""Plain words of English, German, French and Spanish."""
FEWEST = 3
"""Spelled digits in a row that are a number; fewer are words of a sentence."""
_DIGIT = rf"(?:{'|'.join(sorted(DIGITS, key=len, reverse=True))}|\d)"
_WORD = regex.compile(r"\w+")
_SPELLED = regex.compile(rf"\b{_DIGIT}(?:[\s,.;/-]{{1,3}}{_DIGIT}\b){{{FEWEST - 1},}}")


def with_digits(plain: str) -> str:
    """Plain text in which rows of at least FEWEST digits, spelled but for some, stand in digits without gaps."""
    return str(_SPELLED.sub(_in_digits, plain))


def _in_digits(row: regex.Match[str]) -> str:
    words = _WORD.findall(row[0])
    return row[0] if all(map(str.isdecimal, words)) else "".join(DIGITS.get(word, word) for word in words)
