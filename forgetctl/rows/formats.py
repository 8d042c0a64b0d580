"""What a record means: the rows that its conversations make, and what of them is read.

Refuses, by file and record, whatever is not exactly a row.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from ..errors import UsageError
from .containers import Asked, Record
from .fields import FieldReader
from .known_formats import (
    ABOUT_RECORD,
    ABOUT_RESPONSE,
    FIELDS,
    FORMATS,
    LISTS,
    PARAPHRASED,
    PERTURBED,
    TEXTS_OR_MESSAGES,
    Conversation,
    Format,
    context_of,
)
from .messages import MEDIA, Message, plain_turns
from .row import Row, Turn, normalise
from .secret import KINDS, Secret
from .spans import answering_alike, read_spans

MAX_RECORD_BYTES, MAX_ROWS = 64 * 1024, 10_000
"""Of a request, and of whatever else is held in memory: it comes from outside."""
IDS = ("request_id", "subject_id")
_MEDIA, _ABOUT_RESPONSE = frozenset(MEDIA), frozenset(ABOUT_RESPONSE)
_NOTHING: Mapping[str, Any] = MappingProxyType({})
Turns = Literal["all", "last"]
Answers = Literal["chosen", "both"]


@dataclass(frozen=True, kw_only=True)
class Fields:
    """How a file of rows is read.

    names: fields by forgetctl's names and the owner's, where those differ; "" leaves a field out. turns: which of the
    assistant's turns are targets. answers: which answers of preference pairs are. max_line: bytes of the longest
    record that is accepted; max_rows: most rows. A retain file has limits of its own. spans: whether they are read;
    where nothing is forgotten, as in a retain file, they mean nothing. allow_download: whether a data set may be
    fetched from the hub.
    """

    names: tuple[tuple[str, str], ...] = ()
    turns: Turns = "all"
    answers: Answers = "both"
    max_line: int = MAX_RECORD_BYTES
    max_rows: int = MAX_ROWS
    spans: bool = True
    allow_download: bool = False

    @property
    def kept(self) -> Fields:
        """The same for rows that are kept or learned: no answers that were not wanted, and no spans."""
        return replace(self, answers="chosen", spans=False)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Fields:
        """Back from plain values, also those of a run of 0.2, of which only last turns were read."""
        given = dict(values)
        if "turns" not in given:
            older = [(name, given.pop(name)) for name in ("prompt", "response")]
            given |= {"names": [pair for pair in older if pair[1]], "turns": "last"}
        return cls(**{**given, "names": tuple((ours, theirs) for ours, theirs in given["names"])})


def read_names(texts: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Names of fields from the option: "prompt=q,response=a". Raises UsageError for what is none, and a name twice."""
    pairs = [pair.partition("=") for text in texts for pair in text.split(",")]
    names = tuple((ours.strip(), theirs.strip()) for ours, _, theirs in pairs)
    for (ours, _), (_, equals, _) in zip(names, pairs, strict=True):
        if not equals:
            raise UsageError(f"--map: {ours!r} names no field; write it as prompt=question")
        if ours not in FIELDS:
            raise UsageError(f"--map: no format has a field {ours!r}; there are {', '.join(sorted(FIELDS))}")
    if len(dict(names)) != len(names):
        raise UsageError("--map names a field twice")
    return names


def rows_of(path: Path, record: Record, fields: Fields) -> list[Row]:
    """The rows of a record: one a target, none where all of them are left out by `fields`.

    Raises InputError, which names the record, for what holds none.
    """
    if record.refused is not None:
        raise record.refused
    if not fields.names and (rows := _plain_rows(path, record, fields)) is not None:
        return rows
    whole = reader_of(path, record, fields)
    targets = [one for conversation in conversations_of(whole, fields) for one in targets_of(conversation)]
    if len(targets) == 1:
        return [_row(whole, targets[0], about_only(whole, targets[0].message), None, fields)]
    return _several(whole, targets, fields) if targets else []


class _Plain(NamedTuple):
    """Fields of a record that is a question and an answer, a passage, or messages, and nothing else but what concerns
    its one response. texts: those that must be strings; response: of messages the field that holds them, and no texts;
    about: whether it has other fields."""

    texts: tuple[str, ...]
    prompt: str | None
    response: str
    about: bool


def _plain_rows(path: Path, record: Record, fields: Fields) -> list[Row] | None:
    """The rows of a record that is plain: most are, and are read so in half the time. None for any other, or one whose
    texts are refused."""
    if (plain := _plain_fields(tuple(record.value))) is None:
        return None
    if not plain.texts:
        return _spoken_rows(path, record, plain, fields)
    value, (texts, prompt, response, about) = record.value, plain
    for name in texts:
        if not isinstance(text := value[name], str) or not text.strip():
            return None
    context: tuple[Turn, ...] = () if prompt is None else (("user", value[prompt]),)
    if about:
        return [_described_row(path, record, context, value[response], fields)]
    return [Row.of(record.number, context, value[response], record.file, _NOTHING)]


def _spoken_rows(path: Path, record: Record, plain: _Plain, fields: Fields) -> list[Row] | None:
    if (found := plain_turns(record.value[plain.response])) is None:
        return None
    turns, places = found
    if len(places) == 1 or fields.turns == "last":
        context, (_, said) = turns[: places[-1]], turns[places[-1]]
        if plain.about:
            return [_described_row(path, record, context, said, fields)]
        return [Row.of(record.number, context, said, record.file, _NOTHING)]
    if plain.about:
        return None
    return [
        Row.of(record.number, turns[:place], turns[place][1], record.file, {"turn": turn})
        for turn, place in enumerate(places, start=1)
    ]


def _described_row(path: Path, record: Record, context: tuple[Turn, ...], said: str, fields: Fields) -> Row:
    whole = FieldReader(path, record, record.value)
    return _described(whole, context, said, {}, whole, None, fields)


@lru_cache(maxsize=1024)
def _plain_fields(present: tuple[str, ...]) -> _Plain | None:
    """What such a record has; None if more of it is read."""
    known = _recognised(present, ())
    if known is None or not known.is_plain:
        return None
    others = known.fields.union(MEDIA).intersection(present).difference(known.needed)
    if not others.issubset((*ABOUT_RECORD, *ABOUT_RESPONSE)):
        return None
    if known.needed in (("messages",), ("conversations",)):
        return _Plain((), None, known.needed[0], bool(others))
    prompt = known.needed[0] if len(known.needed) > 1 else None
    return _Plain(known.needed, prompt, known.needed[-1], bool(others))


class Target(NamedTuple):
    """A message that is a target. turn: which of the assistant's it is in its conversation, from 1, None if no other of
    it is a target; context: what goes before."""

    message: Message
    context: tuple[Turn, ...]
    rejected: bool
    turn: int | None

    def __repr__(self) -> str:
        return f"Target({self.turn})"


def asked_of(fields: Fields) -> Asked:
    """What may be read of a record, by the owner's names for it."""
    outer = {theirs.split(".")[0] for _, theirs in fields.names}
    lists, messages = (
        some.union(theirs for ours, theirs in fields.names if ours in some) for some in (LISTS, TEXTS_OR_MESSAGES)
    )
    return Asked(FIELDS.union(MEDIA, outer, (theirs for _, theirs in fields.names)), lists, messages)


def reader_of(path: Path, record: Record, fields: Fields) -> FieldReader:
    """The fields of a record by forgetctl's names."""
    if not fields.names:
        return FieldReader(path, record, record.value)
    value = dict(record.value)
    for ours, theirs in fields.names:
        value.pop(ours, None)
        if theirs and (given := field_named(record, theirs)) is not None:
            value[ours] = given
    return FieldReader(path, record, value, renamed={ours: theirs for ours, theirs in fields.names if theirs})


def field_named(record: Record, name: str) -> Any:
    """A field by the owner's name, None if there is none."""
    return _nested(record.value, name)


def _nested(value: Mapping[str, Any], name: str) -> Any:
    """A field, or one within others whose names are before dots; None where there is none."""
    if name in value or "." not in name:
        return value.get(name)
    first, rest = name.split(".", maxsplit=1)
    inner = value.get(first)
    return _nested(inner, rest) if isinstance(inner, dict) else None


def format_of(whole: FieldReader) -> Format:
    """The format of a record. Raises InputError if it has none."""
    present = tuple([name for name, value in whole.value.items() if value is not None])
    if (known := _recognised(present, tuple(whole.renamed))) is not None:
        return known
    known = _closest(frozenset(whole.value), tuple(whole.renamed))
    if known is None:
        shapes = ", ".join("/".join(one.needed) for one in FORMATS)
        raise whole.error(f"has none of {shapes} (name other fields with --map)")
    raise whole.lacks(next(name for name in known.needed if not whole.has(name)))


@lru_cache(maxsize=1024)
def _recognised(present: tuple[str, ...], named: tuple[str, ...]) -> Format | None:
    """The first format whose fields are there, and that has all those that the owner named."""
    for one in FORMATS:
        if one.fields.issuperset(named) and set(one.needed).issubset(present):
            return one
    return None


def _closest(present: frozenset[str], named: tuple[str, ...]) -> Format | None:
    """The format of whose fields most are there."""
    wanted = present | set(named)
    best = max(FORMATS, key=lambda one: (len(wanted & set(one.needed)), -len(set(one.needed) - wanted)))
    return best if wanted & set(best.needed) else None


def conversations_of(whole: FieldReader, fields: Fields) -> list[Conversation]:
    """The conversations of a record, less what `fields` leave out. Raises InputError for a record without a target."""
    for name in _MEDIA.intersection(whole.value):
        if whole.value[name]:
            raise whole.error(f"has '{whole.called(name)}', which is no text")
    conversations = [one for one in format_of(whole).read(whole) if any(map(_is_target, one.messages))]
    if not conversations:
        raise whole.error("holds no text of the assistant's that could be a target")
    if fields.answers == "chosen":
        conversations = [one for one in conversations if not one.rejected]
    return [_only_last(one) for one in conversations] if fields.turns == "last" else conversations


def _only_last(conversation: Conversation) -> Conversation:
    """The same with its last target alone."""
    messages = conversation.messages
    last = max(place for place, one in enumerate(messages) if _is_target(one))
    return conversation._replace(messages=[*context_of(messages[:last]), *messages[last:]])


def _is_target(message: Message) -> bool:
    return message.response is not None


def targets_of(conversation: Conversation) -> list[Target]:
    """The targets of a conversation."""
    messages, rejected = conversation
    turns = tuple([message.turn for message in messages])
    places = [position for position, message in enumerate(messages) if message.response is not None]
    if len(places) == 1:
        return [Target(messages[places[0]], turns[: places[0]], rejected, None)]
    said = list(accumulate(role in ("assistant", "calls") for role, _ in turns))
    return [Target(messages[position], turns[:position], rejected, said[position]) for position in places]


def _several(whole: FieldReader, targets: list[Target], fields: Fields) -> list[Row]:
    for name in _ABOUT_RESPONSE.intersection(whole.value):
        if whole.has(name) and (fields.spans or name != "spans"):
            why = f"is about one response, and there are {len(targets)}; put it into its message"
            raise whole.error(f"field '{whole.called(name)}' {why}")
    if (secrets := _secrets(whole)) == ():
        return [_row(whole, target, target.message.about or whole, secrets, fields) for target in targets]
    own = [tuple(secret for secret in secrets if _says(target, secret)) for target in targets]
    # A secret belongs to the responses that hold it, and to all of them if none does.
    return [
        _row(whole, target, target.message.about or whole, some if any(own) else secrets, fields)
        for target, some in zip(targets, own, strict=True)
    ]


def _says(target: Target, secret: Secret) -> bool:
    return normalise(secret.value) in normalise(target.message.response or "")


def about_only(whole: FieldReader, message: Message) -> FieldReader:
    """Where the fields about a record's only target stand: in its message, or beside it."""
    own = message.about
    if own is None or own is whole:
        return whole
    return own if any(map(own.has, ABOUT_RESPONSE)) else whole


def _row(
    whole: FieldReader, target: Target, about: FieldReader, secrets: tuple[Secret, ...] | None, fields: Fields
) -> Row:
    """secrets: those of the target, None if they are the record's."""
    message, context, rejected, turn = target
    given = {"turn": turn, "rejected": rejected, "complete": message.complete}
    return _described(whole, context, message.response or "", given, about, secrets, fields)


def _described(
    whole: FieldReader,
    context: tuple[Turn, ...],
    response: str,
    given: dict[str, Any],
    about: FieldReader,
    secrets: tuple[Secret, ...] | None,
    fields: Fields,
) -> Row:
    """A row with what its record says of it. given: other fields of the row."""
    record = whole.record
    for name in IDS:
        if name in whole.value:
            given[name] = whole.identifier(name)
    if is_said_of := not _ABOUT_RESPONSE.isdisjoint(about.value):
        given["paraphrased_response"] = about.first_text(PARAPHRASED)
        given["perturbed_responses"] = about.first_texts(PERTURBED)
    given["secrets"] = _secrets(whole) if secrets is None else secrets
    row = Row.of(record.number, context, response, record.file, given)
    return _marked(row, about) if is_said_of and fields.spans else row


def _secrets(whole: FieldReader) -> tuple[Secret, ...]:
    """Strings, or objects that say the kind of their value; one may stand without a list."""
    values = whole.value.get("secrets")
    values = [] if values is None else values if isinstance(values, list) else [values]
    return tuple(_secret(whole, value) for value in values)


def _secret(whole: FieldReader, value: object) -> Secret:
    # A column of objects gives each of them every field, null where it was left out.
    fields: dict[str, Any] = value if isinstance(value, dict) else {"value": value}
    text, kind = fields.get("value"), fields.get("kind")
    known = set(fields) <= {"value", "kind"} and kind in (None, *KINDS)
    if not known or not isinstance(text, str) or not text.strip():
        name, kinds = whole.called("secrets"), ", ".join(KINDS)
        raise whole.error(f"field '{name}' must hold non-empty strings, or objects of a kind ({kinds}) and a value")
    return Secret(text, kind)


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
