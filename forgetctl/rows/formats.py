"""What a record means: the formats that rows come in, each a function from the fields of a record to its targets.

Refuses, by file and record, whatever is not exactly a row.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, cast

from .containers import Record
from .fields import FieldReader
from .row import Row, Turn
from .spans import answering_alike, read_spans

MAX_RECORD_BYTES, MAX_ROWS = 64 * 1024, 10_000
"""Of a request, and of whatever else is held in memory: it comes from outside."""
ROLES = ("system", "user", "assistant")
# Ours first, then TOFU's name for the same thing.
PARAPHRASED = ("paraphrased_response", "paraphrased_answer")
PERTURBED = ("perturbed_responses", "perturbed_answer")
NAMES = frozenset(
    (
        *("prompt", "response", "question", "answer", "messages", "text"),
        *("request_id", "subject_id", "secrets", *PARAPHRASED, *PERTURBED),
    )
)
"""Fields that are read by their own names."""


@dataclass(frozen=True, kw_only=True)
class Fields:
    """How a file of rows is read.

    prompt, response: names of the fields that hold them, where they are not the usual ones. max_line: bytes of the
    longest record that is accepted; max_rows: most rows. A retain file has limits of its own. spans: whether they are
    read; where nothing is forgotten, as in a retain file, they mean nothing. allow_download: whether a data set may be
    fetched from the hub.
    """

    prompt: str | None = None
    response: str | None = None
    max_line: int = MAX_RECORD_BYTES
    max_rows: int = MAX_ROWS
    spans: bool = True
    allow_download: bool = False


class Target(NamedTuple):
    """A response with what went before. about: where the fields that concern this response alone stand.

    turn: which of the assistant's turns it is, from 1; None where the record has one target.
    """

    context: tuple[Turn, ...]
    response: str
    about: FieldReader
    turn: int | None = None

    def __repr__(self) -> str:
        return f"Target(turn={self.turn})"


def names_read(fields: Fields) -> frozenset[str]:
    """Names of all fields that may be read of a record: of a table in columns no others are."""
    return NAMES | {name for name in (fields.prompt, fields.response) if name}


def rows_of(path: Path, record: Record, fields: Fields) -> Iterator[Row]:
    """The rows of a record, one or more. Raises InputError, which names the record, for what is none."""
    whole = FieldReader(path, record)
    for target in _targets(whole, fields):
        row = _row(whole, target)
        yield _marked(row, target.about) if fields.spans else row


def _marked(row: Row, about: FieldReader) -> Row:
    """The row with its spans. Raises InputError for what are none, and for another response that differs elsewhere."""
    if not (spans := read_spans(about, row.response)):
        return row
    row = replace(row, spans=spans)
    for response in filter(None, (row.paraphrased_response, *row.perturbed_responses)):
        try:
            answering_alike(row, response)
        except ValueError:
            raise about.error(
                "has spans, so its paraphrased and perturbed responses must be as the response outside of them"
            ) from None
    return row


def _row(whole: FieldReader, target: Target) -> Row:
    record, about = whole.record, target.about
    return Row(
        line=record.number,
        context=target.context,
        response=target.response,
        turn=target.turn,
        file=record.file,
        request_id=whole.optional_text("request_id"),
        subject_id=whole.optional_text("subject_id"),
        paraphrased_response=about.first_text(PARAPHRASED),
        perturbed_responses=about.first_texts(PERTURBED),
        secrets=whole.texts("secrets"),
    )


def _targets(whole: FieldReader, fields: Fields) -> list[Target]:
    if fields.prompt or fields.response:
        return _pair(whole, fields.prompt or "prompt", fields.response or "response")
    if "messages" in whole.value:
        return _messages(whole)
    for prompt_name, response_name in (("prompt", "response"), ("question", "answer")):
        if prompt_name in whole.value or response_name in whole.value:
            return _pair(whole, prompt_name, response_name)
    if "text" in whole.value:
        return [Target((), whole.text("text"), whole)]
    raise whole.error(
        "has none of prompt/response, question/answer, messages or text "
        "(name other fields with --prompt-field and --response-field)"
    )


def _pair(whole: FieldReader, prompt: str, response: str) -> list[Target]:
    return [Target((("user", whole.text(prompt)),), whole.text(response), whole)]


def _messages(whole: FieldReader) -> list[Target]:
    messages = whole.value["messages"]
    if not isinstance(messages, list) or len(messages) < 2:
        raise whole.error("field 'messages' must be a list of at least two messages")
    turns: list[Turn] = []
    for position, message in enumerate(messages, start=1):
        if not isinstance(message, dict) or message.get("role") not in ROLES:
            raise whole.error(f"message {position} needs a role, one of {', '.join(ROLES)}")
        content = message.get("content")
        if not isinstance(content, str) or not content.strip():
            raise whole.error(f"message {position} has no text in 'content'")
        turns.append(cast(Turn, (message["role"], content)))
    if turns[-1][0] != "assistant":
        raise whole.error("the last message must be the assistant's: it is the response to forget")
    return [Target(tuple(turns[:-1]), turns[-1][1], whole)]
