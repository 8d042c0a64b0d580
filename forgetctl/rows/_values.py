"""Columns of Arrow as the values of JSON that records are made of."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import pyarrow as pa

DEEPEST = 32
"""Lists and structs in each other."""
_VALUE, _OBJECT = 16, 200
"""Bytes that a value takes besides its text, and an object besides its values."""


class Other(NamedTuple):
    """Stands for a value that JSON has not, such as bytes or a time. kind: what it is, for messages."""

    kind: str


class Unread(NamedTuple):
    """Stands for a value of a field that nobody asked for."""


def other_kind(type_: pa.DataType, depth: int = 0) -> str | None:
    """What a type holds that JSON has not, or None where it holds JSON's values alone."""
    from pyarrow import types

    if depth > DEEPEST:
        return "columns nested too deeply"
    if types.is_dictionary(type_):
        return other_kind(type_.value_type, depth + 1)
    if types.is_struct(type_):
        names = {field.name for field in type_}
        if names == {"bytes", "path"}:  # what the library `datasets` makes of either
            return "images, sound or other media"
        kinds = (other_kind(field.type, depth + 1) for field in type_)
        return next(filter(None, kinds), None)
    if _is_list(type_):
        return other_kind(type_.value_type, depth + 1)
    if _is_plain(type_):
        return None
    return str(getattr(type_, "extension_name", type_))


def _is_list(type_: pa.DataType) -> bool:
    from pyarrow import types

    kinds = (types.is_list, types.is_large_list, types.is_fixed_size_list, types.is_list_view, types.is_large_list_view)
    return any(kind(type_) for kind in kinds)


def _is_plain(type_: pa.DataType) -> bool:
    from pyarrow import types

    kinds = (types.is_string, types.is_large_string, types.is_string_view, types.is_null, types.is_boolean)
    return any(kind(type_) for kind in (*kinds, types.is_integer, types.is_floating))


def values(array: pa.Array) -> list[Any]:
    """The values of a column, those of a dictionary once however often they occur; NaN, pandas' way to say so, is
    null."""
    from pyarrow import types

    if types.is_dictionary(array.type):
        indices = array.indices.to_pylist()
        known = {index: array.dictionary[index].as_py() for index in set(indices) if index is not None}
        return [known.get(index) for index in indices]
    if types.is_floating(array.type):
        return [None if value is None or math.isnan(value) else value for value in array.to_pylist()]
    return array.to_pylist()  # type: ignore[no-any-return]


def object_bytes(array: pa.Array) -> int:
    """Bytes that the values of a column take as objects, about: a few bytes of lists and dictionaries stand for any
    number of them."""
    import pyarrow.compute as pc
    from pyarrow import types

    if types.is_struct(array.type):
        return _OBJECT * len(array) + sum(map(object_bytes, array.flatten()))
    if _is_list(array.type):
        return _VALUE * len(array) + object_bytes(array.flatten())
    if types.is_dictionary(array.type) and not types.is_nested(array.type.value_type):
        if not (types.is_string(array.type.value_type) or types.is_large_string(array.type.value_type)):
            return object_bytes(array.dictionary_decode())
        lengths = pc.binary_length(array.dictionary).take(array.indices)
        return _VALUE * len(array) + (pc.sum(lengths).as_py() or 0)
    return _VALUE * len(array) + int(array.nbytes)


def size_of(value: Any) -> int:
    """Bytes of all text in a value, about."""
    if isinstance(value, str):
        return len(value) if value.isascii() else len(value.encode())
    if isinstance(value, dict):
        return sum(size_of(part) for part in value.values())
    if isinstance(value, list):
        return sum(size_of(part) for part in value)
    return 8
