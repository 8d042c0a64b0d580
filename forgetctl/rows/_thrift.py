"""Structures of Thrift's compact protocol, in which Parquet says what its pages hold: pyarrow does not tell."""

from __future__ import annotations

import struct
from typing import Any, TypeVar

T = TypeVar("T")
DEEPEST = 16
_TRUE, _FALSE, _BYTE, _WHOLE, _DOUBLE, _BINARY, _LISTS, _STRUCT = 1, 2, 3, (4, 5, 6), 7, 8, (9, 10), 12


class Struct:
    """The fields of a structure, by their numbers. Raises ValueError for one that is not there or of another type."""

    def __init__(self, fields: dict[int, Any]) -> None:
        self._fields = fields

    def whole(self, number: int, otherwise: int | None = None) -> int:
        """A whole number."""
        value = self._fields.get(number, otherwise)
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError("no such number")
        return value

    def struct(self, number: int) -> Struct:
        """A structure."""
        return self._all([self._fields.get(number)], Struct)[0]

    def structs(self, number: int) -> list[Struct]:
        """A list of structures."""
        return self._all(self._fields.get(number), Struct)

    def texts(self, number: int) -> list[bytes]:
        """A list of strings, as bytes."""
        return self._all(self._fields.get(number), bytes)

    def _all(self, values: object, kind: type[T]) -> list[T]:
        if not isinstance(values, list) or not all(isinstance(value, kind) for value in values):
            raise ValueError("no such values")
        return values


def read_struct(data: bytes) -> tuple[Struct, int]:
    """The structure that data begins with, and its length.

    Raises EOFError where the data ends before it does, and ValueError for what is none.
    """
    reader = _Reader(data)
    return reader.fields(0), reader.place


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data, self.place = data, 0

    def fields(self, depth: int) -> Struct:
        if depth > DEEPEST:
            raise ValueError("nested too deeply")
        found: dict[int, Any] = {}
        number = 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self._signed()
            kind = head & 0x0F
            found[number] = kind == _TRUE if kind in (_TRUE, _FALSE) else self._value(kind, depth)
        return Struct(found)

    def _value(self, kind: int, depth: int) -> Any:
        if kind in _WHOLE:
            return self._signed()
        if kind == _BINARY:
            return self._bytes(self._unsigned())
        if kind == _STRUCT:
            return self.fields(depth + 1)
        if kind in _LISTS:
            head = self._byte()
            count = self._unsigned() if head >> 4 == 15 else head >> 4
            if count > len(self._data) - self.place:  # each takes a byte at least
                raise EOFError
            return [self._value(head & 0x0F, depth + 1) for _ in range(count)]
        if kind == _DOUBLE:
            return struct.unpack("<d", self._bytes(8))[0]
        if kind in (_TRUE, _FALSE, _BYTE):
            return self._byte()
        raise ValueError("no such kind of value")

    def _bytes(self, count: int) -> bytes:
        data = self._data[self.place : self.place + count]
        if len(data) < count:
            raise EOFError
        self.place += count
        return data

    def _byte(self) -> int:
        if self.place >= len(self._data):
            raise EOFError
        self.place += 1
        return self._data[self.place - 1]

    def _unsigned(self) -> int:
        value = shift = 0
        while (byte := self._byte()) & 0x80:
            value |= (byte & 0x7F) << shift
            shift += 7
            if shift > 63:
                raise ValueError("a number of more than 64 bits")
        return value | byte << shift

    def _signed(self) -> int:
        value = self._unsigned()
        return value >> 1 ^ -(value & 1)
