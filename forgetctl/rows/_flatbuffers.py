"""Tables of FlatBuffers, in which Arrow says what its messages hold: pyarrow does not tell."""

from __future__ import annotations

import struct


class Table:
    """Fields by their numbers. Every method raises ValueError for what leads out of the data."""

    def __init__(self, data: bytes, place: int) -> None:
        self._data, self._place = data, place
        start = place - self._unpacked("<i", place)
        width = self._unpacked("<H", start)
        self._fields = [self._unpacked("<H", start + at) for at in range(4, width - 1, 2)]

    def has(self, number: int) -> bool:
        """Whether a field is there."""
        return number < len(self._fields) and self._fields[number] != 0

    def byte(self, number: int) -> int:
        """A number of 8 bits, 0 where there is none."""
        return self._unpacked("<B", self._at(number)) if self.has(number) else 0

    def whole(self, number: int) -> int:
        """One of 64 bits that is not negative, 0 where there is none."""
        return self._unpacked("<Q", self._at(number)) if self.has(number) else 0

    def table(self, number: int) -> Table:
        """A table within."""
        return Table(self._data, self._behind(number))

    def structs(self, number: int, size: int) -> list[bytes]:
        """A list of structs of as many bytes, empty where there is none."""
        if not self.has(number):
            return []
        place = self._behind(number)
        count, place = self._unpacked("<I", place), place + 4
        if place + count * size > len(self._data):
            raise ValueError("a list that leaves the data")
        return [self._data[start : start + size] for start in range(place, place + count * size, size)]

    def _at(self, number: int) -> int:
        if not self.has(number):
            raise ValueError("no such field")
        return self._place + self._fields[number]

    def _behind(self, number: int) -> int:
        """Where the offset in a field leads."""
        place = self._at(number)
        return place + self._unpacked("<I", place)

    def _unpacked(self, kind: str, place: int) -> int:
        if place < 0 or place + struct.calcsize(kind) > len(self._data):
            raise ValueError("a place that leaves the data")
        return int(struct.unpack_from(kind, self._data, place)[0])


def root_of(data: bytes) -> Table:
    """The outermost table."""
    if len(data) < 4:
        raise ValueError("no table")
    return Table(data, int.from_bytes(data[:4], "little"))
