"""Read rows from JSONL and refuse, with file and line, whatever is not exactly a row.

Used for the deletion request, the retain file and the holdout alike.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast, overload

from ..errors import InputError
from ..files.outside import opened, opened_text
from ..files.strict_json import LooseJSONError, parse_json
from .row import Row, Turn

MAX_LINE_BYTES, MAX_ROWS = 64 * 1024, 10_000
"""Of a request, and of whatever else is held in memory: it comes from outside."""
RETAIN_LINE_BYTES = 16 * 1024 * 1024
"""Of the owner's retain file, which may have any number of rows."""
KEPT_BYTES = 16 * 1024 * 1024
"""Of lines whose rows are held in memory, for about four times as much of it; a larger retain file stays on disk."""
ROLES = ("system", "user", "assistant")
# Ours first, then TOFU's name for the same thing.
PARAPHRASED = ("paraphrased_response", "paraphrased_answer")
PERTURBED = ("perturbed_responses", "perturbed_answer")


@dataclass(frozen=True)
class Fields:
    """How a file of rows is read.

    prompt, response: names of the fields that hold them, where they are not the usual ones. max_line: bytes of the
    longest line that is accepted; max_rows: most rows. A retain file has limits of its own.
    """

    prompt: str | None = None
    response: str | None = None
    max_line: int = MAX_LINE_BYTES
    max_rows: int = MAX_ROWS


@dataclass(frozen=True, repr=False)
class FileRows:
    """The rows of a file as they were read. sha256: of exactly those bytes, hexadecimal."""

    path: Path
    rows: list[Row]
    sha256: str


def read_rows(path: Path, fields: Fields | None = None) -> list[Row]:
    """All rows of a JSONL file; blank lines are skipped.

    Accepts prompt/response, question/answer (TOFU), messages (chat) and text (a passage).
    Raises InputError, which names file and line, for anything that is not a valid row, and for more than `fields`
    allows.
    """
    return read_file(path, fields).rows


def read_file(path: Path, fields: Fields | None = None) -> FileRows:
    """The same with the digest of what was read."""
    fields, digest = fields or Fields(), hashlib.sha256()
    for _ in _lines(path, fields.max_line, fields.max_rows):
        pass  # a file of more than may be held is refused before any of it is
    rows = [_row(path, line, fields) for line in _lines(path, fields.max_line, fields.max_rows, digest.update)]
    if not rows:
        raise InputError(path, "holds no row")
    return FileRows(path, rows, digest.hexdigest())


class RowReader:
    """Reads files of rows, each of them once however often it is asked for in the same way."""

    def __init__(self) -> None:
        self._known: dict[tuple[Path, Fields], FileRows] = {}
        self._retain: dict[tuple[Path, Fields, int | None], RowFile] = {}

    def read(self, path: Path, fields: Fields) -> FileRows:
        """As `read_file`."""
        key = (path.absolute(), fields)
        if key not in self._known:
            self._known[key] = read_file(path, fields)
        return replace(self._known[key], path=path)

    def retain(self, path: Path, fields: Fields, most: int | None = None) -> RowFile:
        """As `RowFile`."""
        key = (path.absolute(), fields, most)
        if key not in self._retain:
            self._retain[key] = RowFile(path, fields, most)
        return self._retain[key]


class RowFile(Sequence[Row]):
    """The rows of a JSONL file as a sequence, which leaves them in the file if it is large.

    Every row is read and checked once when this is made. Up to `kept` bytes of them are held from then on; those of a
    larger file are read again, from their place, whenever they are asked for.
    Lines may be longer than a request's (RETAIN_LINE_BYTES), and there may be any number of rows, or `most`.
    sha256: of the file as it was checked. Raises InputError as `read_rows` does, and later if a file that the rows were
    left in is no longer what was checked.
    """

    def __init__(
        self, path: Path, fields: Fields | None = None, most: int | None = None, *, kept: int = KEPT_BYTES
    ) -> None:
        self.path, self.fields = path, fields or Fields()
        # 20 bytes a row.
        self._starts, self._numbers, self._checks = array("q"), array("q"), array("I")
        self._rows: list[Row] | None = []
        digest, size = hashlib.sha256(), 0
        for line in _lines(path, RETAIN_LINE_BYTES, most, digest.update):
            row = _row(path, line, self.fields)
            self._starts.append(line.start)
            self._numbers.append(line.number)
            self._checks.append(zlib.crc32(line.raw))
            size += len(line.raw)
            if self._rows is not None and size <= kept:
                self._rows.append(row)
            else:
                self._rows = None
        if not self._starts:
            raise InputError(path, "holds no row")
        self.sha256 = digest.hexdigest()
        self._size = path.stat().st_size

    def __len__(self) -> int:
        return len(self._starts)

    def __iter__(self) -> Iterator[Row]:
        return self._read(range(len(self)))

    def pick(self, positions: Sequence[int]) -> list[Row]:
        """The rows at some positions, for which the file is opened once at most."""
        return list(self._read(positions))

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        if isinstance(index, slice):
            return self.pick(range(len(self))[index])
        return next(self._read([range(len(self))[index]]))

    def _read(self, positions: Sequence[int]) -> Iterator[Row]:
        if self._rows is not None:
            yield from (self._rows[position] for position in positions)
            return
        with opened(self.path) as file:
            if os.fstat(file.fileno()).st_size != self._size:
                raise InputError(self.path, "has changed since it was checked")
            for position in positions:
                yield _row(self.path, self._line(file, position), self.fields)

    def _line(self, file: BinaryIO, position: int) -> _RawLine:
        number = self._numbers[position]
        file.seek(self._starts[position])
        raw = file.readline(RETAIN_LINE_BYTES + 1)
        if zlib.crc32(raw) != self._checks[position]:
            raise InputError(self.path, "has changed since it was checked", number)
        return _RawLine(number, self._starts[position], raw, _decode(self.path, number, raw))


def pick(rows: Sequence[Row], positions: Sequence[int]) -> list[Row]:
    """The rows at some positions, wherever they are."""
    return rows.pick(positions) if isinstance(rows, RowFile) else [rows[position] for position in positions]


class _RawLine(NamedTuple):
    """A line that is not blank. number: from 1; start: its place in the file, in bytes."""

    number: int
    start: int
    raw: bytes
    text: str

    def __repr__(self) -> str:
        return f"_RawLine(number={self.number})"


def _lines(
    path: Path, max_line: int, max_rows: int | None, seen: Callable[[bytes], None] = lambda _: None
) -> Iterator[_RawLine]:
    """Lines that are not blank. seen: is shown all bytes, of blank lines too. Raises InputError for what is no line of
    text, and for more lines than may be."""
    with opened_text(path) as file:
        start = rows = 0
        # A bounded read per line: a file without line breaks cannot fill the memory.
        for number, raw in enumerate(iter(lambda: file.readline(max_line + 1), b""), start=1):
            if len(raw) > max_line:
                raise InputError(path, f"line is longer than {max_line // 1024} KiB", number)
            seen(raw)
            text = _decode(path, number, raw)
            filled = bool(text.strip())
            rows += filled
            # As many blank lines may stand between the rows.
            if max_rows is not None and max(rows, number - rows) > max_rows:
                raise InputError(path, f"has more than {max_rows:,} {'rows' if filled else 'blank lines'}", number)
            if filled:
                yield _RawLine(number, start, raw, text)
            start += len(raw)


def _row(path: Path, line: _RawLine, fields: Fields) -> Row:
    return _Line(path, line.number, line.text).row(fields)


def _decode(path: Path, number: int, raw: bytes) -> str:
    try:
        return raw.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        # The exception itself would carry the line's text.
        raise InputError(path, f"is not UTF-8 (byte {error.start + 1} of the line)", number) from None


class _Line:
    """One line of a file on its way to a Row; every refusal names the line and the field, never the text."""

    def __init__(self, path: Path, number: int, text: str) -> None:
        self.path, self.number = path, number
        try:
            value = parse_json(text)
        except LooseJSONError as error:
            raise self.error(str(error)) from None
        if not isinstance(value, dict):
            raise self.error(f"is a JSON {_json_type(value)}, expected one object a line")
        self.value: dict[str, Any] = value

    def error(self, why: str) -> InputError:
        return InputError(self.path, why, self.number)

    def row(self, fields: Fields) -> Row:
        context, response = self.conversation(fields)
        return Row(
            line=self.number,
            context=context,
            response=response,
            request_id=self.optional_text("request_id"),
            subject_id=self.optional_text("subject_id"),
            paraphrased_response=self.first_text(PARAPHRASED),
            perturbed_responses=self.first_texts(PERTURBED),
            secrets=self.texts("secrets"),
        )

    def conversation(self, fields: Fields) -> tuple[tuple[Turn, ...], str]:
        if fields.prompt or fields.response:
            prompt = self.text(fields.prompt or "prompt")
            return (("user", prompt),), self.text(fields.response or "response")
        if "messages" in self.value:
            return self.messages()
        for prompt_name, response_name in (("prompt", "response"), ("question", "answer")):
            if prompt_name in self.value or response_name in self.value:
                return (("user", self.text(prompt_name)),), self.text(response_name)
        if "text" in self.value:
            return (), self.text("text")
        raise self.error(
            "has none of prompt/response, question/answer, messages or text "
            "(name other fields with --prompt-field and --response-field)"
        )

    def messages(self) -> tuple[tuple[Turn, ...], str]:
        messages = self.value["messages"]
        if not isinstance(messages, list) or len(messages) < 2:
            raise self.error("field 'messages' must be a list of at least two messages")
        turns: list[Turn] = []
        for position, message in enumerate(messages, start=1):
            if not isinstance(message, dict) or message.get("role") not in ROLES:
                raise self.error(f"message {position} needs a role, one of {', '.join(ROLES)}")
            content = message.get("content")
            if not isinstance(content, str) or not content.strip():
                raise self.error(f"message {position} has no text in 'content'")
            turns.append(cast(Turn, (message["role"], content)))
        if turns[-1][0] != "assistant":
            raise self.error("the last message must be the assistant's: it is the response to forget")
        return tuple(turns[:-1]), turns[-1][1]

    def text(self, name: str) -> str:
        if name not in self.value:
            raise self.error(f"field '{name}' is missing")
        value = self.value[name]
        if not isinstance(value, str):
            raise self.error(f"field '{name}' is a JSON {_json_type(value)}, expected a string")
        if not value.strip():
            raise self.error(f"field '{name}' is empty")
        return value

    def optional_text(self, name: str) -> str | None:
        return self.text(name) if self.value.get(name) is not None else None

    def first_text(self, names: tuple[str, ...]) -> str | None:
        for name in names:
            if self.value.get(name) is not None:
                return self.text(name)
        return None

    def texts(self, name: str) -> tuple[str, ...]:
        values = self.value.get(name)
        if values is None:
            return ()
        values = [values] if isinstance(values, str) else values
        if not isinstance(values, list) or not all(isinstance(v, str) and v.strip() for v in values):
            raise self.error(f"field '{name}' must be a list of non-empty strings")
        return tuple(values)

    def first_texts(self, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if texts := self.texts(name):
                return texts
        return ()


def _json_type(value: object) -> str:
    names: dict[type, str] = {
        dict: "object",
        list: "array",
        str: "string",
        bool: "boolean",
        type(None): "null",
    }
    return names.get(type(value), "number")
