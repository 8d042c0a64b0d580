"""A container is where records come from: a file, or several, of some kind, from bytes to one object a record.

What the objects mean is `formats`' to say; which container reads a file, `sources` says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from ..errors import InputError
from .row import SourceFile


@dataclass(frozen=True)
class Limits:
    """Most that a container may hold. record_bytes: of one record as it is written; records: None for any number."""

    record_bytes: int
    records: int | None = None


@dataclass(frozen=True)
class Asked:
    """What is read of records. fields: names of fields; nothing is done for the sake of others.

    lists: those of them that are lists or objects wherever they are no lone text; messages: those that may be text or a
    list of messages.
    """

    fields: frozenset[str]
    lists: frozenset[str] = frozenset()
    messages: frozenset[str] = frozenset()


class Place(NamedTuple):
    """Where a record stands, for its container to read it again.

    number: as in `Record`. offset: whatever the container goes by, below 2**63 and another for each record. check: of
    the record's content, below 2**32, such as its CRC-32; 0 where the container has another proof that nothing changed.
    """

    number: int
    offset: int
    check: int


class Record(NamedTuple):
    """One object of a container. Its representation holds no text.

    number: from 1, line of a text file or row of a table. size: bytes of its text, about. file: None where the
    container is one file. refused: why its text is no object, which whoever reads the record raises.
    """

    number: int
    value: dict[str, Any]
    offset: int
    check: int
    size: int
    file: SourceFile | None = None
    refused: InputError | None = None

    def __repr__(self) -> str:
        return f"Record({self.name})"

    @property
    def name(self) -> str:
        """What messages call the record: "3", "b.jsonl:3"."""
        return str(self.number) if self.file is None else f"{self.file.name}:{self.number}"


def ignore(_: bytes) -> None:
    """Shows bytes to nobody."""


class Container(Protocol):
    """Records in order, and again one by one.

    Every method raises InputError, which names the place and never quotes text, for what cannot be read.
    """

    @property
    def path(self) -> Path:
        """As it was given."""

    @property
    def revision(self) -> str | None:
        """Of a data set of the hub the commit, once it was read; of files None."""

    @property
    def unit(self) -> Literal["line", "row"]:
        """What a record's number counts."""

    def check_size(self, limits: Limits) -> None:
        """Raise InputError if it holds more than `limits` allow, before any record is held."""

    def records(self, limits: Limits, seen: Callable[[bytes], None] = ignore) -> Iterator[Record]:
        """Every record, checked. seen: is shown all bytes that `chunks` gives, by the end of the records."""

    def again(self, places: Iterable[Place]) -> Iterator[Record]:
        """Records that `records` gave before, in the order asked for; files are opened once at most.

        Raises InputError if something changed since.
        """

    def chunks(self) -> Iterator[bytes]:
        """The bytes that the container's digest is of: of one file its content."""
