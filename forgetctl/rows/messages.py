"""Conversations as the public tools write them: lists of messages, with calls of tools and contents in parts.

Messages of `messages` (OpenAI, TRL) have `role` and `content`, those of `conversations` (ShareGPT) `from` and `value`;
either is read in either place. What is no text is refused by name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ..files.strict_json import LooseJSONError, parse_json
from .fields import FieldReader, kind_of
from .row import Role, Turn

MOST_MESSAGES = 2000
"""In a conversation: each turn becomes a row with everything before it."""
ROLES = {
    **{"system": "system", "developer": "system"},
    **{"user": "user", "human": "user"},
    **{"assistant": "assistant", "gpt": "assistant", "model": "assistant", "chatgpt": "assistant", "bot": "assistant"},
    **{"tool": "tool", "observation": "tool", "function": "tool", "tool_response": "tool", "ipython": "tool"},
    **{"function_call": "call", "tool_call": "call"},
}
"""Names of those who say something, in OpenAI's and ShareGPT's files. A ShareGPT message of a call holds it as JSON."""
REASONING = ("reasoning_content", "reasoning", "thinking")
MEDIA = ("image", "images", "audio", "audios", "video", "videos")
MEDIA_PARTS = ("image", "image_url", "input_image", "audio", "audio_url", "input_audio", "video", "video_url", "file")
TEXT_PARTS = ("text", "input_text", "output_text")
_BESIDE = frozenset((*REASONING, *MEDIA))
_ALONE: tuple[Role, ...] = ("system", "user", "assistant")
_SAYING: dict[str, Role] = {name: role for role in _ALONE for name, known in ROLES.items() if known == role}
MESSAGE_FIELDS = (
    *("role", "from", "content", "value", "tool_calls", "function_call", "tool_call_id", "name"),
    *("weight", "train"),
)
"""What is read of a message, besides what concerns its response."""


class Message(NamedTuple):
    """A message of a conversation. turn: as it stands in the context of what comes later.

    response: what the assistant says, where that may be a target; its end is none where `complete` is False. about:
    where the fields that concern this response stand, None if there can be none but those of its record.
    """

    turn: Turn
    response: str | None = None
    complete: bool = True
    about: FieldReader | None = None

    def __repr__(self) -> str:
        return f"Message({self.turn[0]})"


def user(text: str) -> Message:
    """What a user says."""
    return Message(("user", text))


def answer(text: str, about: FieldReader) -> Message:
    """What the assistant says, as a target."""
    return Message(("assistant", text), text, about=about)


def opening(whole: FieldReader) -> list[Message]:
    """What a record says before its conversation: the tools that the model is offered, and the system's message."""
    tools, system = _tools(whole), whole.filled_text("system")
    messages = [Message(("tools", tools))] if tools else []
    return [*messages, Message(("system", system))] if system else messages


def read_messages(whole: FieldReader, name: str, *, targets: bool = True) -> list[Message]:
    """The messages in a field, a list or one by itself. targets: whether what the assistant says there may be one.

    Raises InputError for what is none, and for what would be lost.
    """
    one = whole.value.get(name)
    values = [one] if isinstance(one, dict) else whole.objects(name)
    if len(values) > MOST_MESSAGES:
        raise whole.error(f"field '{whole.called(name)}' has more than {MOST_MESSAGES:,} messages")
    messages = []
    for position, value in enumerate(values, start=1):
        if (turn := _plain(value)) is not None:
            messages.append(Message(turn, turn[1] if targets and turn[0] == "assistant" else None))
        elif (message := _message(whole.within_list("message", position, value))) is not None:
            messages.append(message if targets else Message(message.turn))
    return messages


def plain_turns(values: Any) -> tuple[tuple[Turn, ...], list[int]] | None:
    """The turns of a list of messages that are roles and texts and nothing else, and the places of the assistant's, of
    which there is one that is not the first; None for any other list."""
    if not isinstance(values, list) or len(values) > MOST_MESSAGES:
        return None
    turns: list[Turn] = []
    places: list[int] = []
    for value in values:
        if not isinstance(value, dict) or (turn := _plain(value)) is None:
            return None
        if turn[0] == "assistant":
            places.append(len(turns))
        turns.append(turn)
    return (tuple(turns), places) if places and places[0] else None


def _plain(value: Mapping[str, Any]) -> Turn | None:
    """The turn of a message that is a role and a text and nothing else, as most are; None for any other."""
    if len(value) != 2:
        return None
    given, text = value.get("role"), value.get("content")
    if given is None:
        given, text = value.get("from"), value.get("value")
    if isinstance(given, str) and isinstance(text, str) and (role := _SAYING.get(given)) and text.strip():
        return (role, text)
    return None


def _message(reader: FieldReader) -> Message | None:
    """The message, None where the system says nothing."""
    role = _role(reader)
    for name in _BESIDE.intersection(reader.value):
        if reader.value[name]:
            raise reader.error(f"has '{name}', which is not a part of its text")
    if role == "call":
        return _called(reader, "", [_call(reader, call) for call in _spelled_calls(reader)])
    text = _content(reader)
    if role == "assistant":
        return _said(reader, text)
    if not text.strip():
        if role == "system":
            return None
        raise reader.error("has no text")
    if role == "tool":
        names = {key: reader.text(key) for key in ("tool_call_id", "name") if reader.has(key)}
        return Message(("result", _spelled({"role": "tool", "content": text, **names})))
    return Message(("system" if role == "system" else "user", text))


def _role(reader: FieldReader) -> str:
    given = reader.value.get("role", reader.value.get("from"))
    role = ROLES.get(given) if isinstance(given, str) else None
    if role is None:
        raise reader.error("needs a role, one of system, user, assistant, tool")
    return role


def _content(reader: FieldReader) -> str:
    """The text of a message, of parts joined as chat templates join them; empty where there is none."""
    content = reader.value.get("content", reader.value.get("value"))
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list):
        raise reader.error(f"has a {kind_of(content)} for text")
    return "".join(_part(reader, part) for part in content)


def _part(reader: FieldReader, part: Any) -> str:
    kind = part.get("type", "text") if isinstance(part, dict) else None
    if kind in TEXT_PARTS and isinstance(part.get("text"), str):
        return str(part["text"])
    named = f"a part of type {kind}" if kind in MEDIA_PARTS else "a part"
    raise reader.error(f"holds {named}, which is no text")


def _said(reader: FieldReader, text: str) -> Message:
    calls = [_call(reader, call) for call in _calls(reader)]
    if not calls and not text.strip():
        raise reader.error("has no text")
    if calls:
        return _called(reader, text, calls)
    return answer(text, reader) if _is_trained(reader) else Message(("assistant", text))


def _called(reader: FieldReader, text: str, calls: Sequence[Mapping[str, Any]]) -> Message:
    """An assistant's message that calls tools. What it says before may be a target, which the calls follow."""
    turn: Turn = ("calls", _spelled({"role": "assistant", "content": text, "tool_calls": calls}))
    if text.strip() and _is_trained(reader):
        return Message(turn, text, complete=False, about=reader)
    return Message(turn)


def _is_trained(reader: FieldReader) -> bool:
    """OpenAI's `weight` 0 and axolotl's `train` false keep a message out of training."""
    weight = reader.value.get("weight")
    if weight is not None and (isinstance(weight, bool) or not isinstance(weight, int | float)):
        raise reader.error(f"field 'weight' is a {kind_of(weight)}, expected a number")
    return weight != 0 and reader.flag("train") is not False


def _calls(reader: FieldReader) -> list[Any]:
    """OpenAI's `tool_calls`, or its older `function_call`."""
    calls, older = reader.value.get("tool_calls"), reader.value.get("function_call")
    if calls is not None and not isinstance(calls, list):
        raise reader.error(f"field 'tool_calls' is a {kind_of(calls)}, expected an array")
    return [*(calls or []), *([older] if older is not None else [])]


def _spelled_calls(reader: FieldReader) -> list[Any]:
    """ShareGPT's, one or a list of them as JSON."""
    value = _parsed(reader, _content(reader), "calls a tool in what is no JSON")
    return value if isinstance(value, list) else [value]


def _call(reader: FieldReader, call: Any) -> dict[str, Any]:
    """A call as chat templates take it: with its arguments as an object."""
    function = call.get("function", call) if isinstance(call, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(function, dict) or not isinstance(name, str) or not name.strip():
        raise reader.error("calls a tool that has no name")
    arguments = function.get("arguments", function.get("parameters"))
    if isinstance(arguments, str):
        arguments = _parsed(reader, arguments or "{}", "calls a tool with arguments that are no JSON")
    if not isinstance(arguments, dict | None):
        raise reader.error("calls a tool with arguments that are no object")
    id = {"id": call["id"]} if isinstance(call.get("id"), str) else {}
    return {**id, "type": "function", "function": {"name": name, "arguments": arguments or {}}}


def _tools(whole: FieldReader) -> str | None:
    """The tools that a model is offered as JSON, from a list or JSON of one; OpenAI's older `functions` are such."""
    name = "functions" if whole.has("functions") else "tools"
    value = whole.value.get(name)
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    value = _parsed(whole, value, f"field '{whole.called(name)}' is no JSON") if isinstance(value, str) else value
    if not isinstance(value, list) or not all(isinstance(tool, dict) for tool in value):
        raise whole.error(f"field '{whole.called(name)}' must be a list of objects")
    return _spelled([_tool(tool) for tool in value]) if value else None


def _tool(tool: Mapping[str, Any]) -> Mapping[str, Any]:
    return tool if "function" in tool else {"type": "function", "function": tool}


def _parsed(reader: FieldReader, text: str, why: str) -> Any:
    try:
        return parse_json(text)
    except LooseJSONError:
        raise reader.error(why) from None


_SPELLED = json.JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":"))
"""Of what was JSON before, so that nothing holds itself."""


def _spelled(value: Any) -> str:
    return _SPELLED.encode(value)
