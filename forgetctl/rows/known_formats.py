"""The formats that rows come in: which fields each needs, and what conversations it makes of them.

Add one here: a function from the fields of a record to its conversations, and a line of the table at the end.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from typing import NamedTuple

from .fields import FieldReader
from .messages import Message, answer, opening, read_messages, user

# Ours first, then TOFU's name for the same thing.
PARAPHRASED = ("paraphrased_response", "paraphrased_answer")
PERTURBED = ("perturbed_responses", "perturbed_answer")
ABOUT_RECORD = ("request_id", "subject_id", "secrets")
ABOUT_RESPONSE = ("spans", *PARAPHRASED, *PERTURBED)
"""Optional fields of every format. Those about a response stand in its message where a record has several."""
FEEDBACK = ("label", "kto_tag")
"""TRL's and LLaMA-Factory's name for whether an answer was wanted."""
OPENING = ("system", "tools", "functions")
TRANSCRIPT = re.compile(r"\n\n(Human|Assistant):")
"""What separates the turns in Anthropic's files of preference pairs."""


class Conversation(NamedTuple):
    """What one model was shown at once. rejected: whether its answer was the one not preferred. A passage is a lone
    answer."""

    messages: list[Message]
    rejected: bool = False

    def __repr__(self) -> str:
        return f"Conversation({len(self.messages)})"


@dataclass(frozen=True, kw_only=True)
class Format:
    """How a format is known and read. written: whose tools write it. Fields besides those needed may be missing.

    read: its conversations, one or two. Raises InputError for what is none. is_plain: whether the fields needed are a
    prompt and its response, a passage, or messages, as they are.
    """

    name: str
    written: str
    needed: tuple[str, ...]
    read: Callable[[FieldReader], list[Conversation]]
    optional: tuple[str, ...] = ()
    is_plain: bool = False

    @cached_property
    def fields(self) -> frozenset[str]:
        """Every field that is read."""
        return frozenset((*self.needed, *self.optional, *ABOUT_RECORD, *ABOUT_RESPONSE))


def _pair(prompt: str, response: str) -> Callable[[FieldReader], list[Conversation]]:
    def read(whole: FieldReader) -> list[Conversation]:
        asked, said = whole.text(prompt), answer(whole.text(response), whole)
        return [Conversation([*opening(whole), user(asked), said])]

    return read


def _passage(whole: FieldReader) -> list[Conversation]:
    return [Conversation([answer(whole.text("text"), whole)])]


def _messages(name: str) -> Callable[[FieldReader], list[Conversation]]:
    def read(whole: FieldReader) -> list[Conversation]:
        return [Conversation(_opened(whole, read_messages(whole, name)), _unwanted(whole))]

    return read


def _opened(whole: FieldReader, messages: list[Message]) -> list[Message]:
    """Messages behind what the record says before them. Raises InputError where that contradicts itself."""
    before = opening(whole)
    systems = [message.turn for message in (*before, *messages[:1]) if message.turn[0] == "system"]
    if len(set(systems)) > 1:
        raise whole.error(f"field '{whole.called('system')}' says something else than the first message")
    if messages and messages[0].response is not None:
        raise whole.error("begins with what the assistant says, which answers nothing")
    return [*before, *messages[len(systems) == 2 :]]


def _alpaca(context: str, response: str) -> Callable[[FieldReader], list[Conversation]]:
    def read(whole: FieldReader) -> list[Conversation]:
        said = answer(whole.text(response), whole)
        return [Conversation([*_instructed(whole, context, targets=True), said], _unwanted(whole))]

    return read


def _completion(whole: FieldReader) -> list[Conversation]:
    wanted = whole.flag("label")
    return [Conversation(_answered(whole, "completion", _prompted(whole)), wanted is False)]


def _preference(whole: FieldReader) -> list[Conversation]:
    """Two answers to one prompt: as texts, as messages, or as whole conversations that begin alike."""
    before, names = _prompted(whole), ("chosen", "rejected")
    answers = [_answered(whole, name, before) if before else _unprompted(whole, name) for name in names]
    if not before:
        shared = _common(*answers)
        answers = [[*context_of(some[:shared]), *some[shared:]] for some in answers]
    return [Conversation(messages, rejected) for messages, rejected in zip(answers, (False, True), strict=True)]


def _outputs(whole: FieldReader) -> list[Conversation]:
    """OpenAI's preference pairs."""
    if not isinstance(given := whole.value["input"], dict):
        raise whole.error("field 'input' must be an object")
    asked = FieldReader(whole.path, whole.record, given, "input: ")
    before = _opened(asked, read_messages(asked, "messages", targets=False))
    names = ("preferred_output", "non_preferred_output")
    return [Conversation([*before, *read_messages(whole, name)], name == names[1]) for name in names]


def _prompted(whole: FieldReader) -> list[Message]:
    """What an answer is to: none of it is a target. Empty where a record gives none."""
    for name in ("messages", "conversations"):
        if whole.has(name):
            return _opened(whole, read_messages(whole, name, targets=False))
    if whole.has("instruction"):
        return _instructed(whole, "input", targets=False)
    if isinstance(whole.value.get("prompt"), list):
        return _opened(whole, read_messages(whole, "prompt", targets=False))
    return [*opening(whole), user(whole.text("prompt"))] if whole.has("prompt") else []


def _instructed(whole: FieldReader, context: str, *, targets: bool) -> list[Message]:
    """A user's turn of an instruction and what it is about, on lines of their own as LLaMA-Factory joins them, after
    the turns of `history`. targets: whether those of the assistant there may be targets."""
    parts = [text for name in ("instruction", context) if (text := whole.filled_text(name))]
    parts = parts or [whole.text("instruction")]  # which says what is wrong with it
    before = [message for said in _history(whole) for message in (user(said[0]), answer(said[1], whole))]
    return [*opening(whole), *(before if targets else context_of(before)), user("\n".join(parts))]


def _history(whole: FieldReader) -> list[list[str]]:
    pairs = whole.value.get("history") or []
    if not isinstance(pairs, list) or not all(
        isinstance(pair, list) and len(pair) == 2 and all(isinstance(text, str) and text.strip() for text in pair)
        for pair in pairs
    ):
        raise whole.error(f"field '{whole.called('history')}' must be a list of pairs of non-empty strings")
    return pairs


def _answered(whole: FieldReader, name: str, before: list[Message]) -> list[Message]:
    """An answer behind its prompt, which a list of messages may repeat."""
    value = whole.value[name]
    if not isinstance(value, dict | list):
        return [*before, answer(whole.text(name), whole)]
    said = read_messages(whole, name)
    if not said or said[0].turn[0] in ("assistant", "calls"):
        return [*before, *said]
    asked, turns = [message.turn for message in before], [message.turn for message in said]
    for end in range(len(asked), len(turns)):
        if turns[end - 1] == asked[-1] and set(asked).issubset(turns[:end]):
            return [*context_of(said[:end]), *said[end:]]
    raise whole.error(f"field '{whole.called(name)}' begins with another prompt than the record has")


def _unprompted(whole: FieldReader, name: str) -> list[Message]:
    """An answer with its prompt: a list of messages, a transcript as Anthropic writes it, or else a passage."""
    if isinstance(whole.value[name], list):
        return _opened(whole, read_messages(whole, name))
    parts = TRANSCRIPT.split(text := whole.text(name))
    if len(parts) == 1 or parts[0].strip():
        return [answer(text, whole)]
    said = [(parts[place], parts[place + 1].strip()) for place in range(1, len(parts), 2)]
    if not all(text for _, text in said):
        raise whole.error(f"field '{whole.called(name)}' holds a turn without text")
    return [user(text) if who == "Human" else answer(text, whole) for who, text in said]


def _common(first: list[Message], second: list[Message]) -> int:
    """With how many messages both begin, but for the last of either."""
    pairs = zip(first[:-1], second[:-1], strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0].turn == pair[1].turn, pairs))


def context_of(messages: Iterable[Message]) -> list[Message]:
    """The same messages, none a target."""
    return [Message(message.turn) for message in messages]


def _unwanted(whole: FieldReader) -> bool:
    """Whether feedback says that the answer was not wanted; a label that is neither true nor false is none."""
    return any(whole.value.get(name) is False for name in FEEDBACK)


_ANY = "LLaMA-Factory, axolotl, TRL"
FORMATS = (
    Format(
        name="preference pair",
        written=f"{_ANY}, Anthropic's hh-rlhf",
        needed=("chosen", "rejected"),
        optional=(*OPENING, "prompt", "messages", "conversations", "instruction", "input", "history"),
        read=_preference,
    ),
    Format(
        name="OpenAI preference pair",
        written="OpenAI",
        needed=("input", "preferred_output", "non_preferred_output"),
        read=_outputs,
    ),
    Format(
        name="messages",
        written=f"OpenAI, {_ANY}",
        needed=("messages",),
        optional=(*OPENING, *FEEDBACK),
        read=_messages("messages"),
        is_plain=True,
    ),
    Format(
        name="ShareGPT",
        written="LLaMA-Factory, axolotl, FastChat",
        needed=("conversations",),
        optional=(*OPENING, *FEEDBACK),
        read=_messages("conversations"),
        is_plain=True,
    ),
    Format(
        name="prompt and response",
        written="forgetctl",
        needed=("prompt", "response"),
        optional=OPENING,
        read=_pair("prompt", "response"),
        is_plain=True,
    ),
    Format(
        name="question and answer",
        written="TOFU",
        needed=("question", "answer"),
        optional=OPENING,
        read=_pair("question", "answer"),
        is_plain=True,
    ),
    Format(
        name="Alpaca",
        written="stanford_alpaca, LLaMA-Factory, axolotl",
        needed=("instruction", "output"),
        optional=(*OPENING, "input", "history", *FEEDBACK),
        read=_alpaca("input", "output"),
    ),
    Format(
        name="Dolly",
        written="databricks-dolly",
        needed=("instruction", "response"),
        optional=(*OPENING, "context", "history"),
        read=_alpaca("context", "response"),
    ),
    Format(
        name="unpaired preference",
        written="TRL's KTO",
        needed=("prompt", "completion", "label"),
        optional=OPENING,
        read=_completion,
    ),
    Format(
        name="prompt and completion",
        written="TRL",
        needed=("prompt", "completion"),
        optional=OPENING,
        read=_completion,
    ),
    Format(name="passage", written=_ANY, needed=("text",), read=_passage, is_plain=True),
)
"""Every format; the first whose fields a record has is its own."""
FIELDS = frozenset().union(*(one.fields for one in FORMATS))
"""Every name of a field that is read."""
LISTS = frozenset(
    ("messages", "conversations", "history", "preferred_output", "non_preferred_output", "spans", "secrets", *PERTURBED)
)
"""Fields that hold a list or an object wherever they hold more than one text: a cell of a table spells it as JSON."""
TEXTS_OR_MESSAGES = frozenset(("prompt", "completion", "chosen", "rejected"))
"""Fields that hold text or messages."""
