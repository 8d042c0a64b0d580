"""A string that must not come out. It is data of a row and stands here; what is said of it stands in `people`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

KindName = Literal["text", "number", "date", "email", "phone", "iban", "address", "name"]
KINDS: tuple[KindName, ...] = get_args(KindName)
"""Kinds of identifier. Rows name them, `people.kinds` knows them."""


@dataclass(frozen=True, repr=False)
class Secret:
    """An identifier as the request writes it. kind: None where it is to be guessed (`people.kinds.kind_of`).

    The representation holds no text.
    """

    value: str
    kind: KindName | None = None

    def __repr__(self) -> str:
        return f"Secret(kind={self.kind})"
