"""E-mail addresses, also with their marks in words, as people write them who do not want to be found."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import regex
from numpy.random import Generator

from . import _invented
from ._kind import Disclosure, Matcher
from ._letters import plain
from .reading import Reading

LONGEST = 320
"""Characters (RFC 3696, erratum 1690)."""
_ADDRESS = r"[\p{L}\p{N}._%+'-]{1,64}@[\p{L}\p{N}-]+(?:\.[\p{L}\p{N}-]+)+"
_VALUE = regex.compile(rf"(?:mailto:)?({_ADDRESS})")
_PIECE = regex.compile(r"[\p{L}\p{N}]+")
FEWEST = 3
_IN_TEXT = regex.compile(rf"(?<![\p{{L}}\p{{N}}._%+-]){_ADDRESS}")
_PART_OF = regex.compile(r"[\p{L}\p{N}._%+-]")
_GOES_ON = regex.compile(r"[\p{L}\p{N}]|[._-][\p{L}\p{N}]")


@dataclass(frozen=True, repr=False)
class _Address:
    """Recognises an address, plain, or its local part alone."""

    address: str

    @property
    def traces(self) -> tuple[str, ...]:
        """The longest piece between marks, of the local part if that has one of FEWEST letters and digits."""
        pieces = _PIECE.findall(self.address.partition("@")[0])
        long = any(len(piece) >= FEWEST for piece in pieces)
        return (max(pieces if long else _PIECE.findall(self.address), key=len),)

    def disclosed(self, reading: Reading) -> Disclosure:
        """A local part that is one word is a word, and no part of an address."""
        local = self.address.partition("@")[0]
        if _stands_in(reading.marks, self.address):
            return Disclosure.WHOLE
        return Disclosure.PART if not local.isalpha() and _stands_in(reading.marks, local) else Disclosure.NONE


def _stands_in(text: str, address: str) -> bool:
    """Whether an address stands in plain text by itself, and not as the end or the beginning of another."""
    start = text.find(address)
    while start >= 0:
        if not _PART_OF.match(text[start - 1 : start]) and not _GOES_ON.match(text, start + len(address)):
            return True
        start = text.find(address, start + 1)
    return False


class Email:
    """The same local part and the same domain, with marks or with their names."""

    def matcher(self, value: str) -> Matcher | None:
        """Of an address with a domain."""
        match = _VALUE.fullmatch(plain(value).strip(" <>[]().,")) if len(value) <= LONGEST else None
        return _Address(match[1]) if match else None

    def forms(self, value: str) -> Iterable[str]:
        """As it is, escaped, as a link, in capitals, and with the names of its marks."""
        value = value.replace("\\", "")
        yield value
        yield regex.sub(r"([_*.+-])", r"\\\1", value)
        yield f"[{value}](mailto:{value})"
        yield f"<{value}>"
        yield value.upper()
        for at, dot in (("(at)", "(dot)"), ("[at]", "."), (" at ", " dot "), (" @ ", ".")):
            yield value.replace(".", dot).replace("@", at)
        for name in ("underscore", "unterstrich"):
            yield value.replace("@", " at ").replace(".", " dot ").replace("_", f" {name} ")

    def others(self, value: str, random: Generator) -> Iterator[str]:
        """Other names and numbers before the same domain."""
        local, at, domain = value.partition("@")
        names = (_invented.GIVEN, _invented.FAMILY)
        for invent in _invented.draws():
            made = _invented.like_words(local.title(), random, invent=invent, names=names)
            yield (made.lower() if local.islower() else made) + at + domain

    def values_in(self, text: str) -> Iterable[str]:
        """Addresses that are written with their marks."""
        return (match[0] for match in _IN_TEXT.finditer(text))
