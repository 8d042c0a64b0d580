"""`forgetctl rows`: files of any container and format -> forgetctl's own JSONL, and what was understood of them."""

from __future__ import annotations

import json
import statistics
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from ..errors import InputError, UsageError, source_name
from ..files.writing import refuse_in_bundle, whole_file
from .containers import Limits, Record
from .fields import FieldReader
from .formats import Fields, conversations_of, format_of, reader_of, rows_of
from .known_formats import ABOUT_RESPONSE
from .messages import MESSAGE_FIELDS
from .own_form import own_record
from .reading import RETAIN_RECORD_BYTES
from .row import Row
from .sources import open_source

SHOWN = 5
"""Reasons for which rows were left out that are kept."""
BATCH_ROWS = 1024
"""Whose tokens are counted at once."""


class Lengths(Protocol):
    """Counts tokens for a model. context: its longest input, None if it has none."""

    @property
    def context(self) -> int | None: ...

    def of(self, rows: Sequence[Row]) -> list[int | None]:
        """Tokens of each row; None for one that the model's chat template refuses."""


@dataclass(frozen=True, kw_only=True)
class TokenCounts:
    """Tokens of rows with prompts, as a model sees them. longer: rows beyond its context; refused: by its template."""

    least: int | None
    median: float | None
    most: int | None
    longer: int
    refused: int


@dataclass(frozen=True, kw_only=True)
class Understood:
    """What was understood of a source. records: lines or rows, `unit` says which; formats: how many are of each.

    used, dropped: its fields, with how many records have each. rows: by kind. context_only: what the assistant says
    that is no target. skipped: records that could not be read; why: of the first few. tokens: None without a model.
    """

    source: str
    unit: str
    records: int
    formats: Mapping[str, int]
    used: Mapping[str, int]
    dropped: Mapping[str, int]
    rows: Mapping[str, int]
    subjects: int
    context_only: int
    skipped: int
    why: tuple[str, ...]
    tokens: TokenCounts | None

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def run_convert(
    sources: Sequence[Path],
    out: Path | None,
    fields: Fields,
    lengths: Lengths | None = None,
    *,
    skip_bad: bool = False,
) -> list[Understood]:
    """Read every source, write its rows to `out` if there is one, and say what was understood.

    `out` is written privately and whole or not at all. skip_bad: leave out what cannot be read, instead of raising
    InputError. Raises UsageError if `out` is there already.
    """
    if out is not None:
        refuse_in_bundle(out)
        if out.exists():
            raise UsageError(f"{out} exists and is not overwritten")
    with nullcontext() if out is None else whole_file(out) as file:
        found = [_Conversion(path, fields, lengths, skip_bad=skip_bad).run(file) for path in sources]
        if not any(sum(one.rows.values()) for one in found):
            raise InputError(sources[0], "holds no row")
    return found


class _Conversion:
    """One source on its way."""

    def __init__(self, path: Path, fields: Fields, lengths: Lengths | None, *, skip_bad: bool) -> None:
        self.path, self.fields, self.skip_bad = path, fields, skip_bad
        self.formats: Counter[str] = Counter()
        self.used: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self.kinds: Counter[str] = Counter()
        self.subjects: set[str] = set()
        self.context_only = self.records = self.skipped = 0
        self.why: list[str] = []
        self.tokens = None if lengths is None else _Tokens(lengths)

    def run(self, file: BinaryIO | None) -> Understood:
        """Read everything, and write what was read."""
        source = open_source(self.path, self.fields)
        for record in source.records(Limits(RETAIN_RECORD_BYTES)):
            self.records += 1
            if (value := self._value(record)) is not None and file is not None:
                file.write((json.dumps(value, ensure_ascii=False) + "\n").encode())
        return Understood(
            source=source_name(self.path),
            unit=source.unit,
            records=self.records,
            formats=dict(self.formats),
            used=dict(self.used),
            dropped=dict(self.dropped),
            rows=dict(self.kinds),
            subjects=len(self.subjects),
            context_only=self.context_only,
            skipped=self.skipped,
            why=tuple(self.why),
            tokens=self.tokens.counts() if self.tokens else None,
        )

    def _value(self, record: Record) -> dict[str, Any] | None:
        try:
            rows = rows_of(self.path, record, self.fields)
            whole = reader_of(self.path, record, self.fields)
            value = own_record(whole, self.fields)
        except InputError as error:
            if not self.skip_bad:
                raise
            self.skipped += 1
            self.why += [str(error)] if len(self.why) < SHOWN else []
            return None
        self._count(whole, rows)
        return value

    def _count(self, whole: FieldReader, rows: Sequence[Row]) -> None:
        self.formats[format_of(whole).name] += 1
        self.used.update(_used(whole))
        self.dropped.update(_dropped(whole))
        self.kinds.update(map(_kind, rows))
        self.subjects.update(row.subject_id for row in rows if row.subject_id is not None)
        messages = (message for one in conversations_of(whole, self.fields) for message in one.messages)
        self.context_only += sum(one.turn[0] in ("assistant", "calls") and one.response is None for one in messages)
        if self.tokens:
            self.tokens.add(rows)


def _kind(row: Row) -> str:
    if row.rejected:
        return "rejected answers"
    if not row.context:
        return "passages"
    return "answers" if row.turn is None else "turns of conversations"


def _used(whole: FieldReader) -> Iterator[str]:
    known = format_of(whole).fields
    yield from (whole.called(name) for name in whole.value if name in known and whole.has(name))


def _dropped(whole: FieldReader) -> Iterator[str]:
    """Fields of the record, and of its messages, that nothing is read of."""
    theirs = {name.split(".")[0] for name in whole.renamed.values()} | set(whole.renamed.values())
    known = format_of(whole).fields
    for name, value in whole.record.value.items():
        if value is None:
            continue
        if name not in known and name not in theirs:
            yield name
        elif isinstance(value, list):
            yield from {f"{name}.{key}" for part in value if isinstance(part, dict) for key in _unread(name, part)}


def _unread(name: str, message: Mapping[str, Any]) -> Iterator[str]:
    if name not in ("tools", "functions"):
        known = (*MESSAGE_FIELDS, *ABOUT_RESPONSE)
        yield from (key for key, value in message.items() if value is not None and key not in known)


class _Tokens:
    """Token counts of rows, batch by batch."""

    def __init__(self, lengths: Lengths) -> None:
        self.lengths = lengths
        self.counted = array("q")
        self.refused = 0
        self.waiting: list[Row] = []

    def add(self, rows: Sequence[Row]) -> None:
        """Rows to be counted."""
        self.waiting += rows
        if len(self.waiting) >= BATCH_ROWS:
            self._count()

    def counts(self) -> TokenCounts:
        """Of all rows so far."""
        self._count()
        lengths, context = self.counted, self.lengths.context
        return TokenCounts(
            least=min(lengths, default=None),
            median=statistics.median(lengths) if lengths else None,
            most=max(lengths, default=None),
            longer=sum(length > context for length in lengths) if context is not None else 0,
            refused=self.refused,
        )

    def _count(self) -> None:
        found = self.lengths.of(self.waiting)
        self.counted.extend(length for length in found if length is not None)
        self.refused += sum(length is None for length in found)
        self.waiting = []
