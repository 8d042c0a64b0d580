"""Fields of a record, read for what they must be. Every refusal names the record and the field, never the text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import InputError
from ._values import Other
from .containers import Record

_NONE: Mapping[str, str] = {}


class FieldReader:
    """An object of a record, or the record itself, of which fields are read.

    value: its fields by the names that forgetctl has for them. renamed: what the owner calls those of another name.
    within: what messages put before everything else, such as "message 2: ".
    """

    __slots__ = ("path", "record", "renamed", "value", "within")

    def __init__(
        self,
        path: Path,
        record: Record,
        value: Mapping[str, Any],
        within: str = "",
        renamed: Mapping[str, str] = _NONE,
    ) -> None:
        self.path, self.record = path, record
        self.value, self.within, self.renamed = value, within, renamed

    def within_list(self, kind: str, position: int, value: Mapping[str, Any]) -> FieldReader:
        """An object in a list of this one. position: from 1; kind: what messages call it."""
        return FieldReader(self.path, self.record, value, f"{self.within}{kind} {position}: ")

    def error(self, why: str) -> InputError:
        """What to raise for this record."""
        return InputError(self.path, f"{self.within}{why}", self.record.name)

    def called(self, name: str) -> str:
        """The owner's name of a field."""
        return self.renamed.get(name, name)

    def has(self, name: str) -> bool:
        """Whether the field is there and not null."""
        return self.value.get(name) is not None

    def text(self, name: str) -> str:
        """A string that is not blank."""
        value = self.value.get(name)
        if isinstance(value, str) and value.strip():
            return value
        raise self.lacks(name)

    def lacks(self, name: str) -> InputError:
        """What to raise for a field that is missing, or is no such string."""
        if name not in self.value:
            return self.error(f"field '{self.called(name)}' is missing")
        value = self.value[name]
        if value is None:
            return self.error(f"field '{self.called(name)}' is null")
        if not isinstance(value, str):
            return self.error(f"field '{self.called(name)}' is a {kind_of(value)}, expected a string")
        return self.error(f"field '{self.called(name)}' is empty")

    def optional_text(self, name: str) -> str | None:
        """The same, or None where the field is missing or null."""
        return self.text(name) if self.value.get(name) is not None else None

    def identifier(self, name: str) -> str | None:
        """The same, or the digits of a whole number: data bases number whom a row is about."""
        value = self.value.get(name)
        return str(value) if isinstance(value, int) and not isinstance(value, bool) else self.optional_text(name)

    def filled_text(self, name: str) -> str | None:
        """The same, or None where it is missing, null or blank."""
        value = self.value.get(name)
        return None if value is None or (isinstance(value, str) and not value.strip()) else self.text(name)

    def flag(self, name: str) -> bool | None:
        """True or false, None where the field is missing or null."""
        value = self.value.get(name)
        if value is None or isinstance(value, bool):
            return value
        raise self.error(f"field '{self.called(name)}' is a {kind_of(value)}, expected true or false")

    def objects(self, name: str) -> list[dict[str, Any]]:
        """The objects of a list, one at least."""
        values = self.value.get(name)
        if not isinstance(values, list) or not values or not all(isinstance(value, dict) for value in values):
            raise self.error(f"field '{self.called(name)}' must be a list of objects")
        return values

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
            raise self.error(f"field '{self.called(name)}' must be a list of non-empty strings")
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


def kind_of(value: object) -> str:
    """What messages call a value that is not what it must be."""
    return f"column of {value.kind}" if isinstance(value, Other) else f"JSON {json_type(value)}"
