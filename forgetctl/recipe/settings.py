"""What a group of settings is, whoever wrote it: nothing undeclared, numbers that can be computed with, and every key
described where it is declared."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, field_validator
from pydantic.fields import FieldInfo

LARGEST = 1e12
"""No setting comes near this; what is larger would only overflow later."""


class Settings(BaseModel):
    """Frozen, without unknown keys; numbers are finite and no truth values, also in a mapping."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_values(cls, value: object) -> object:
        if isinstance(value, bool):  # YAML's yes and no; pydantic would take them for 1 and 0
            raise ValueError("is true or false, which nothing here can be")
        if isinstance(value, int) and abs(value) > LARGEST:  # before it is made a float, which may not hold it
            raise ValueError(f"is a number beyond {LARGEST:g}")
        return value

    @field_validator("*")
    @classmethod
    def _no_huge_numbers(cls, value: object) -> object:
        for name, number in value.items() if isinstance(value, dict) else [("", value)]:
            if isinstance(number, int | float) and abs(number) > LARGEST:
                raise ValueError(f"{name} is a number beyond {LARGEST:g}".lstrip())
        return value


@dataclass(frozen=True)
class Key:
    """A key of a group of settings by its dotted name, with what it means, may be, and is by default."""

    name: str
    description: str
    values: str
    default: object


def keys(group: type[Settings], prefix: str = "") -> Iterator[Key]:
    """Every key of a group and of the groups in it, in the order of their declaration.

    A group that can be left out has itself the default None, one that cannot has none of its own, {}.
    """
    for name, field in group.model_fields.items():
        inner = _group(field.annotation)
        default = {} if isinstance(field.default, Settings) else field.default
        yield Key(f"{prefix}{name}", field.description or "", _values(field), default)
        if inner is not None:
            yield from keys(inner, f"{prefix}{name}.")


def group_at(group: type[Settings], name: str) -> type[Settings]:
    """The group inside of `group` that has this dotted name; `group` itself where there is none of that name."""
    reached: type[Settings] | None = group
    for part in filter(None, name.split(".")):
        field = reached.model_fields.get(part) if reached else None
        reached = _group(field.annotation) if field else None
    return reached or group


def _group(annotation: Any) -> type[Settings] | None:
    kinds = get_args(annotation) or (annotation,)
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Settings)), None)


def _values(field: FieldInfo) -> str:
    """What a key may be, in words."""
    kinds = [kind for kind in get_args(field.annotation) or (field.annotation,) if kind is not type(None)]
    if get_origin(field.annotation) is Literal:
        words = " or ".join(map(str, kinds))
    elif _group(field.annotation):
        words = "keys"
    elif get_origin(field.annotation) is dict or get_origin(kinds[0]) is dict:
        words = "numbers by name"
    elif str in kinds:
        words = "text" if len(kinds) == 1 else "text or a list"
    else:
        words = f"{'whole number' if kinds == [int] else 'number'} {_limits(field)}".rstrip()
    return f"{words}, or none" if type(None) in get_args(field.annotation) else words


def _limits(field: FieldInfo) -> str:
    """The limits of a number; pydantic keeps them as marks with an attribute of the limit's name."""
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    limits = [
        (word, getattr(mark, name)) for mark in field.metadata for name, word in words.items() if hasattr(mark, name)
    ]
    return ", ".join(f"{word} {limit:,}" for word, limit in limits)
