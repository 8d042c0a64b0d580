"""Records in forgetctl's own form: one object a line, which reads back to the same rows with the same targets."""

from __future__ import annotations

import json
from itertools import takewhile
from typing import Any

from .fields import FieldReader
from .formats import Fields, about_only, conversations_of
from .known_formats import ABOUT_RECORD, PARAPHRASED, PERTURBED, Conversation
from .messages import Message


def own_record(whole: FieldReader, fields: Fields) -> dict[str, Any] | None:
    """A record in our own form, None if `fields` leave nothing of it. Raises InputError as `conversations_of`."""
    conversations = conversations_of(whole, fields)
    if not conversations:
        return None
    several = sum(message.response is not None for one in conversations for message in one.messages) > 1
    about = {name: whole.value[name] for name in ABOUT_RECORD if whole.has(name)}
    if not several:
        (target,) = [message for one in conversations for message in one.messages if message.response is not None]
        about |= _about_response(about_only(whole, target))
    return {**_spoken(conversations, several=several), **about}


def _spoken(conversations: list[Conversation], *, several: bool) -> dict[str, Any]:
    """What is said. several: whether there are so many targets that what concerns one stands in its message."""
    if len(conversations) > 1:
        return _pair(*(one.messages for one in conversations), several=several)
    ((messages, rejected),) = conversations
    if len(messages) == 1:
        return {"text": messages[0].response}
    if [one.turn[0] for one in messages] == ["user", "assistant"] and not rejected:
        return {"prompt": messages[0].turn[1], "response": messages[1].response}
    return {**_said(messages, "messages", several=several), **({"label": False} if rejected else {})}


def _pair(chosen: list[Message], rejected: list[Message], *, several: bool) -> dict[str, Any]:
    if len(chosen) == len(rejected) == 1:
        return {"chosen": chosen[0].response, "rejected": rejected[0].response}
    shared = _shared(chosen, rejected)
    before = _said(chosen[:shared], "prompt", several=several)
    if not before.get("prompt"):
        before, shared = {}, 0
    # A list that does not begin with an answer must repeat the prompt.
    rests = [chosen[shared:], rejected[shared:]]
    parts = rests if all(rest[0].turn[0] in ("assistant", "calls") for rest in rests) else [chosen, rejected]
    named = zip(("chosen", "rejected"), parts, strict=True)
    said = [_said(messages, name, several=several) for name, messages in named]
    return {**before, **said[0], **said[1]}


def _shared(first: list[Message], second: list[Message]) -> int:
    """With how many messages both begin, of which none is a target."""
    pairs = zip(first, second, strict=False)
    alike = takewhile(lambda pair: pair[0].turn == pair[1].turn and pair[0].response == pair[1].response is None, pairs)
    return sum(1 for _ in alike)


def _said(messages: list[Message], name: str, *, several: bool) -> dict[str, Any]:
    """Messages under a name, and the tools that they begin with under theirs."""
    tools = next((json.loads(text) for role, text in (one.turn for one in messages) if role == "tools"), None)
    said = {name: [_message(one, several=several) for one in messages if one.turn[0] != "tools"]}
    return {"tools": tools, **said} if tools else said


def _message(message: Message, *, several: bool) -> dict[str, Any]:
    role, content = message.turn
    value: dict[str, Any] = json.loads(content) if role in ("calls", "result") else {"role": role, "content": content}
    if message.response is not None:
        return {**value, **(_about_response(message.about) if several else {})}
    return {**value, "weight": 0} if role in ("assistant", "calls") and value["content"].strip() else value


def _about_response(reader: FieldReader | None) -> dict[str, Any]:
    """What is said of a response beside it, under our names."""
    if reader is None:
        return {}
    given = {
        "spans": reader.value.get("spans"),
        PARAPHRASED[0]: reader.first_text(PARAPHRASED),
        PERTURBED[0]: list(reader.first_texts(PERTURBED)),
    }
    return {name: value for name, value in given.items() if value}
