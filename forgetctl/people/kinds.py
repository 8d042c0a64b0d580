"""Kinds of identifier: which one a value is of, how it is written, whether a text says it, what others look like.

A kind is a module beside this one (`_kind.IdentifierKind`); nothing else lists them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice

import numpy as np

from ..rows.secret import KindName, Secret
from ._address import Address
from ._date import DateKind
from ._email import Email
from ._iban import Iban
from ._kind import Disclosure as Disclosure  # part of this module's own interface
from ._kind import IdentifierKind, Matcher
from ._letters import plain
from ._name import PARTICLES, Name
from ._number import Number
from ._phone import Phone, looks_called
from ._squeezed import squeezed
from ._text import Text
from .reading import Reading as Reading  # and this

_TEXT = Text()
_KINDS: dict[KindName, IdentifierKind] = {
    "email": Email(),
    "iban": Iban(),
    "date": DateKind(),
    "phone": Phone(),
    "number": Number(),
    "address": Address(),
    "name": Name(),
    "text": _TEXT,
}
"""In the order in which a value is guessed to be of them."""
_PIECE = re.compile(r"[^\W_]+")
CACHED = 4096
"""Identifiers whose matchers are kept."""
TRIES = 200
"""Draws for each made-up value after which a form is taken to have too few."""

FEW = 3
"""Made-up values by which forms are told from each other."""


def kind_of(secret: Secret) -> KindName:
    """The kind that the request names, or the first one that the value is clearly of."""
    if secret.kind is not None:
        return secret.kind
    return next(name for name in _KINDS if _is_clearly(name, secret.value))


@lru_cache(maxsize=CACHED)
def matcher(secret: Secret) -> Matcher:
    """What recognises an identifier. A value that is not of the named kind is recognised as text."""
    return _KINDS[kind_of(secret)].matcher(secret.value) or _TEXT.matcher(secret.value)


def disclosure(secret: Secret, reading: Reading) -> Disclosure:
    """What a text says of an identifier, however it is written there."""
    return matcher(secret).disclosed(reading)


def forms(secret: Secret) -> tuple[str, ...]:
    """The ways in which an identifier is commonly written, its own first."""
    return tuple(dict.fromkeys((secret.value, *_of_kind(secret).forms(secret.value))))


def others(secret: Secret, count: int, seed: int) -> tuple[str, ...]:
    """Made-up values of the same form, all different and none of them the value itself: counterfactuals.

    A pure function of the value, its kind, the count and the seed. Raises ValueError for a form that has not so many.
    """
    made = up_to(secret, count, seed)
    if len(made) < count:
        raise ValueError(f"a value of this form has no {count} others")
    return made


def up_to(secret: Secret, most: int, seed: int) -> tuple[str, ...]:
    """As `others`, but as many as are found where a form has fewer."""
    own = squeezed(plain(secret.value))
    random = np.random.default_rng([seed, most])
    made: dict[str, str] = {}
    for value in islice(_of_kind(secret).others(secret.value, random), TRIES * most):
        if len(made) == most:
            break
        if (key := squeezed(plain(value))) != own:
            made.setdefault(key, value)
    return tuple(made.values())


def form_of(secret: Secret, seed: int) -> tuple[str, ...]:
    """A key of a value's form, the first values that are made of it: those of the same form get the same ones."""
    return (kind_of(secret), *islice(_of_kind(secret).others(secret.value, np.random.default_rng(seed)), FEW))


def new_identifiers(prompt: str, response: str) -> tuple[Secret, ...]:
    """Identifiers in a response that its prompt does not say and does not hold all words of.

    Of an e-mail address only the local part counts: who is asked for Ada Example's may guess ada.example.
    """
    asked = Reading(prompt)
    held = frozenset(_PIECE.findall(asked.plain))

    def is_new(secret: Secret) -> bool:
        pieces = _PIECE.findall(plain(secret.value).partition("@")[0])
        return disclosure(secret, asked) is not Disclosure.WHOLE and not held.issuperset(pieces)

    return tuple(filter(is_new, dict.fromkeys(identifiers_in(response))))


def identifiers_in(text: str) -> Iterator[Secret]:
    """Identifiers that stand in a text, by their kinds; of names also those of other things than people."""
    return (Secret(value, name) for name, kind in _KINDS.items() for value in kind.values_in(text))


def _of_kind(secret: Secret) -> IdentifierKind:
    """The kind by which a value is recognised."""
    kind = _KINDS[kind_of(secret)]
    return kind if kind.matcher(secret.value) else _TEXT


def _is_clearly(name: KindName, value: str) -> bool:
    """Whether nobody would take a value for something else. Digits that are not written as telephone numbers are a
    number; a name has capitals and no comma."""
    if name == "phone" and not looks_called(value):
        return False
    if name == "name" and ("," in value or not all(_is_name_part(word) for word in value.split())):
        return False
    return _KINDS[name].matcher(value) is not None


def _is_name_part(word: str) -> bool:
    return not word[:1].islower() or word in PARTICLES
