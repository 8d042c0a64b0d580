"""What may be written into the register: ids, texts, artefacts. Refusals never quote what they refuse."""

from __future__ import annotations

import re
import unicodedata

from ..errors import UsageError
from .records import Artefact
from .words import ARTEFACT_KINDS, ARTEFACT_STATUSES

ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
LONGEST_TEXT = 500
LONGEST_PATH = 4096

UNFIT = {"Cc": "a control character", "Cs": "broken text", "Zl": "a line separator", "Zp": "a paragraph separator"}
"""Unicode categories that no text may hold."""
BIDI_CONTROLS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that change the order in which others are shown, so that a text reads as something else."""


def checked_id(text: str) -> str:
    """`text` if it can be the id of a request. Raises UsageError otherwise."""
    if not ID.fullmatch(text):
        raise UsageError(
            "an id of a request has 1 to 64 letters, digits, dots, dashes or underscores and begins with a letter or "
            "a digit; it is a file number, never a name or an address"
        )
    return text


def checked_text(what: str, text: str, longest: int = LONGEST_TEXT) -> str:
    """`text` if it is fit to be kept and shown. Raises UsageError, naming `what`, otherwise."""
    if not text.strip():
        raise UsageError(f"{what} is empty")
    if len(text) > longest:
        raise UsageError(f"{what} has {len(text)} characters, more than {longest}")
    for character in text:
        if unfit := UNFIT.get(unicodedata.category(character)):
            raise UsageError(f"{what} holds {unfit}, U+{ord(character):04X}")
        if character in BIDI_CONTROLS:
            raise UsageError(f"{what} holds a character that reorders text, U+{ord(character):04X}")
    return text


def checked_choice(what: str, text: str, choices: tuple[str, ...]) -> str:
    """`text` if it is one of the choices. Raises UsageError, naming `what` and the choices, otherwise."""
    if text not in choices:
        raise UsageError(f"{what} is one of {', '.join(choices)}")
    return text


def parse_artefact(text: str) -> Artefact:
    """An artefact from KIND:NAME or KIND:NAME=STATUS; without a status it is pending.

    A name may hold colons and equals signs: what follows the last equals sign is the status. Raises UsageError.
    """
    kind, colon, rest = text.partition(":")
    name, equals, status = rest.rpartition("=")
    if not equals:
        name, status = rest, "pending"
    if not colon:
        raise UsageError("an artefact is KIND:NAME or KIND:NAME=STATUS, such as index:faq=done")
    return Artefact(
        checked_choice("the kind of an artefact", kind, ARTEFACT_KINDS),
        checked_text("the name of an artefact", name),
        checked_choice("the status of an artefact (after the last =)", status, ARTEFACT_STATUSES),
    )
