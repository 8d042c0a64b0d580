"""One row of a request, a retain file or a holdout: the only shape in which text travels through forgetctl."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from functools import cached_property
from typing import Any, Literal, NamedTuple

from .secret import Secret
from .text import fold

Role = Literal["system", "user", "assistant", "calls", "result", "tools"]
Turn = tuple[Role, str]
"""Who says something, and what. Calls of tools by the assistant and a tool's result are JSON of the message that a chat
template takes, the tools that a model is offered JSON of their list."""


class SourceFile(NamedTuple):
    """One of the several files of a source. number: from 1, in their order; name: relative to the source."""

    number: int
    name: str


class Key(NamedTuple):
    """What makes two rows the same: their prompts and responses, normalised. Its representation holds no text."""

    prompt: str
    response: str

    def __repr__(self) -> str:
        return "Key()"


@dataclass(frozen=True, repr=False)
class Row:
    """A conversation and the response at its end.

    line: from 1, of its file, or row of its table; with `turn` and `file` it is what messages call the row (`name`).
    turn: which of the assistant's turns in its conversation the response is, from 1; None where its record has one
    target. rejected: whether the response is the one of a pair that was not preferred. file: None where the source is
    one file.
    context: the turns before the response; empty for a bare passage.
    perturbed_responses: wrong answers of the same form; secrets: identifiers that must not come out.
    spans: parts of the response that are about the subject, start and end in code points, half-open, in order and apart
    from one another; none: all of it.
    complete: False for a response that was cut off, or that a call of a tool follows, so that its end is none.

    The representation holds no text, so that tracebacks and logs cannot spread it.
    """

    line: int
    context: tuple[Turn, ...]
    response: str
    _: KW_ONLY
    turn: int | None = None
    rejected: bool = False
    file: SourceFile | None = None
    request_id: str | None = None
    subject_id: str | None = None
    paraphrased_response: str | None = None
    perturbed_responses: tuple[str, ...] = ()
    secrets: tuple[Secret, ...] = ()
    spans: tuple[tuple[int, int], ...] = ()
    complete: bool = True

    @classmethod
    def of(
        cls, line: int, context: tuple[Turn, ...], response: str, file: SourceFile | None, about: Mapping[str, Any]
    ) -> Row:
        """As the constructor, in a quarter of its time: that of a frozen class sets each field by a call. about: other
        fields; those that are not among them are read off the class, which has the defaults."""
        row = cls.__new__(cls)
        vars(row).update(about, line=line, context=context, response=response, file=file)
        return row

    def __repr__(self) -> str:
        return f"Row({self.record_name})"

    @property
    def name(self) -> str:
        """What messages call the row, and no other of its source: "3", "3, turn 2", "b.jsonl:3, turn 2"."""
        return self._named(self.file.name if self.file else None)

    @property
    def record_name(self) -> str:
        """The same for records, where the name of a file could say whom it is about: "3", "2:3, turn 2" in the second
        file."""
        return self._named(self.file.number if self.file else None)

    @property
    def place(self) -> tuple[int, int, int, bool]:
        """By which rows of a source are in its order."""
        return (self.file.number if self.file else 0, self.line, self.turn or 0, self.rejected)

    def _named(self, file: str | int | None) -> str:
        where = str(self.line) if file is None else f"{file}:{self.line}"
        turn = "" if self.turn is None else f", turn {self.turn}"
        return f"{where}{turn}{', rejected' if self.rejected else ''}"

    @property
    def prompt(self) -> str:
        """The turns before the response as one string."""
        return "\n".join(content for _, content in self.context)

    @cached_property
    def key(self) -> Key:
        """What rows are compared by; made on first use, since folding is slow for text outside ASCII."""
        return Key(normalise(self.prompt), normalise(self.response))

    @property
    def marked(self) -> str:
        """The marked parts of the response with a blank between them; all of it where nothing is marked."""
        return " ".join(self.response[start:end] for start, end in self.spans) if self.spans else self.response

    def answering(self, response: str, spans: tuple[tuple[int, int], ...] = ()) -> Row:
        """The same prompt with another response, and spans of that."""
        return replace(self, response=response, spans=spans)


def subjects_of(rows: Iterable[Row]) -> tuple[str | None, ...]:
    """Whom rows are about, in the order of their numbers, which start at 1 in every record; None for rows that name
    nobody, who are taken for one."""
    return tuple(dict.fromkeys(row.subject_id or None for row in rows))


def listed(names: Sequence[str], most: int) -> str:
    """The first few names of rows in one line: "3, 5 and 2 more"."""
    apart = "; " if any("," in name for name in names) else ", "
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return f"{apart.join(names[:most])}{more}"


def normalise(text: str) -> str:
    """Text for comparisons: folded (`text.fold`), runs of white space as one blank."""
    return " ".join(fold(text).split())
