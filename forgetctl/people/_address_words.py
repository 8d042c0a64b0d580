"""Words of postal addresses at their shortest."""

from __future__ import annotations

import regex

SHORT = {
    long: short
    for short, longs in {
        "st": "street saint",
        "ave": "avenue av avenida avda",
        "rd": "road",
        "blvd": "boulevard bd boul",
        "dr": "drive",
        "ln": "lane",
        "ct": "court",
        "pl": "place platz",
        "sq": "square",
        "hwy": "highway",
        "pkwy": "parkway",
        "ter": "terrace",
        "cir": "circle",
        "trl": "trail",
        "cres": "crescent",
        "aly": "alley",
        "str": "strasse",
        "ch": "chemin",
        "imp": "impasse",
        "c": "calle",
        "pza": "plaza",
        "po": "paseo",
        "n": "north",
        "s": "south",
        "e": "east",
        "w": "west",
        "nw": "northwest",
        "ne": "northeast",
        "sw": "southwest",
        "se": "southeast",
        "grv": "grove",
        "tpke": "turnpike",
        "xing": "crossing",
        "cv": "cove",
        "rte": "route",
    }.items()
    for long in longs.split()
}
"""Plain words of addresses by what each is cut to."""
_TOKEN = regex.compile(r"\p{N}+(?:(?:[a-z]|\s[a-d])(?![\p{L}\p{N}]))?|\p{L}[\p{L}\p{M}]*")
_ORDINAL = regex.compile(r"(?<=\d)(?:st|nd|rd|th)\b")
_STRASSE = regex.compile(r"(?<=\p{L})stra(?:ss|sz)e\b|(?<=\p{L})str\b\.?")


def words_of(plain: str) -> list[str]:
    """Words and numbers of plain text, with every word of addresses at its shortest: 12a, 58, hauptstr, n."""
    bare = _STRASSE.sub("str", _ORDINAL.sub("", plain))
    return [shortest(word.replace(" ", "")) for word in _TOKEN.findall(bare)]


def shortest(word: str) -> str:
    """Of a plain word of addresses; another as it is."""
    return SHORT.get(word, word)


def written(word: str) -> list[str]:
    """How one of `words_of` may be written in full."""
    longs = [long for long, short in SHORT.items() if short == word]
    ordinals = [word + ending for ending in ("st", "nd", "rd", "th")] if word.isdecimal() else []
    streets = [word + ending for ending in ("asse", "asze")] if word.endswith("str") else []
    return [word, *longs, *ordinals, *streets]
