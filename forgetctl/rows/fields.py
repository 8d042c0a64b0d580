"""Fields of a record, read for what they must be. Every refusal names the record and the field, never the text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import InputError
from ._values import Other
from .containers import Record


class FieldReader:
    """An object of a record, or the record itself, of which fields are read.

    within: what messages put before a field's name, such as "message 2: ".
    """

    __slots__ = ("path", "record", "value", "within")

    def __init__(self, path: Path, record: Record, value: Mapping[str, Any] | None = None, within: str = "") -> None:
        self.path, self.record = path, record
        self.value: Mapping[str, Any] = record.value if value is None else value
        self.within = within

    def error(self, why: str) -> InputError:
        """What to raise for this record."""
        return InputError(self.path, f"{self.within}{why}", self.record.name)

    def text(self, name: str) -> str:
        """A string that is not blank."""
        if name not in self.value:
            raise self.error(f"field '{name}' is missing")
        value = self.value[name]
        if not isinstance(value, str):
            kind = f"column of {value.kind}" if isinstance(value, Other) else f"JSON {json_type(value)}"
            raise self.error(f"field '{name}' is a {kind}, expected a string")
        if not value.strip():
            raise self.error(f"field '{name}' is empty")
        return value

    def optional_text(self, name: str) -> str | None:
        """The same, or None where the field is missing or null."""
        return self.text(name) if self.value.get(name) is not None else None

    def first_text(self, names: Sequence[str]) -> str | None:
        """That of the first of several names of one thing that is there."""
        for name in names:
            if self.value.get(name) is not None:
                return self.text(name)
        return None

    def texts(self, name: str) -> tuple[str, ...]:
        """Strings that are not blank, in a list, or one by itself; none where the field is missing or null."""
        values = self.value.get(name)
        if values is None:
            return ()
        values = [values] if isinstance(values, str) else values
        if not isinstance(values, list) or not all(isinstance(v, str) and v.strip() for v in values):
            raise self.error(f"field '{name}' must be a list of non-empty strings")
        return tuple(values)

    def first_texts(self, names: Sequence[str]) -> tuple[str, ...]:
        """Those of the first of several names of one thing that has some."""
        for name in names:
            if texts := self.texts(name):
                return texts
        return ()


def json_type(value: object) -> str:
    """What JSON calls a value."""
    names: dict[type, str] = {
        dict: "object",
        list: "array",
        str: "string",
        bool: "boolean",
        type(None): "null",
    }
    return names.get(type(value), "number")
