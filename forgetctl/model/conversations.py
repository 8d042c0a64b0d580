"""The turns of a row as a chat template takes them, and the words of theirs that it must keep."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from ..rows.row import Row, Turn

TOOL_ROLES = ("calls", "result", "tools")
"""Turns that are more than a role and a text."""
THOUGHT = re.compile(r"<think>.*?</think>", re.DOTALL)
"""What templates of reasoning models leave out of earlier turns, as their models were trained."""


def messages_of(context: Iterable[Turn]) -> list[dict[str, Any]]:
    """The messages of some turns."""
    return [
        json.loads(content) if role in TOOL_ROLES else {"role": role, "content": content}
        for role, content in context
        if role != "tools"
    ]


def tools_of(context: Iterable[Turn]) -> list[dict[str, Any]] | None:
    """The tools that the model is offered, None without any."""
    return next((json.loads(content) for role, content in context if role == "tools"), None)


def uses_tools(row: Row) -> bool:
    """Whether only a chat template can say what goes before the response."""
    return any(role in TOOL_ROLES for role, _ in row.context)


def keeps_words(context: Iterable[Turn], rendered: str) -> bool:
    """Whether a rendered prompt holds the words of every turn; white space may differ."""
    there = _squashed(rendered)
    return all(_holds(there, words) for turn in context for words in _words(*turn))


def _words(role: str, content: str) -> Iterator[str]:
    """Texts of a turn that a model was shown; of a call its name and every argument, of a tool its name."""
    if role == "tools":
        yield from (tool["function"]["name"] for tool in json.loads(content))
    elif role in TOOL_ROLES:
        message = json.loads(content)
        yield message["content"]
        for call in message.get("tool_calls", ()):
            yield call["function"]["name"]
            yield from _texts(call["function"]["arguments"])
    else:
        yield THOUGHT.sub("", content) if role == "assistant" else content


def _texts(value: Any) -> Iterator[str]:
    """The keys and the texts in a value of JSON."""
    if isinstance(value, dict):
        yield from value
        for part in value.values():
            yield from _texts(part)
    elif isinstance(value, list):
        for part in value:
            yield from _texts(part)
    elif isinstance(value, str):
        yield value


def _holds(there: str, words: str) -> bool:
    """As they are, or as a template spells them that writes JSON."""
    return _squashed(words) in there or _squashed(json.dumps(words, ensure_ascii=False)[1:-1]) in there


def _squashed(text: str) -> str:
    return "".join(text.split())
