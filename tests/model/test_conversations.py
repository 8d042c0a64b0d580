"""Turns as a chat template takes them: calls of tools reach the prompt, or the row is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from forgetctl.errors import InputError
from forgetctl.model.conversations import keeps_words, messages_of, tools_of
from forgetctl.model.encoding import Encoder, encode_rows
from forgetctl.rows.row import Row, Turn
from tests.model.test_encoding import CHATML
from tests.model.test_encoding import plain as plain  # fixtures
from tests.model.test_encoding import templated as templated
from tests.model.test_encoding import tokenizer as tokenizer

CALL = {"id": "call_1", "type": "function", "function": {"name": "find_client", "arguments": {"who": 'Ada "A" Ünal'}}}
CALLS = {"role": "assistant", "content": "", "tool_calls": [CALL]}
RESULT = {"role": "tool", "content": "12 Sample Road", "tool_call_id": "call_1"}
TOOLS = [{"type": "function", "function": {"name": "find_client", "parameters": {}}}]
Made = Callable[..., Encoder]
CONTEXT: tuple[Turn, ...] = (
    ("tools", json.dumps(TOOLS)),
    ("user", "Where does Ada live?"),
    ("calls", json.dumps(CALLS)),
    ("result", json.dumps(RESULT)),
)
ROW = Row(7, CONTEXT, "At 12 Sample Road.")
WITH_TOOLS = (
    "{% for tool in tools or [] %}<|start|>tool {{ tool.function.name }}<|end|>\n{% endfor %}"
    "{% for m in messages %}<|start|>{{ m.role }}\n{{ m.content }}"
    "{% for call in m.tool_calls or [] %}{{ call.function.name }}({{ call.function.arguments | tojson }}){% endfor %}"
    "<|end|>\n{% endfor %}{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)


def test_a_template_gets_the_messages_and_the_tools() -> None:
    assert messages_of(CONTEXT) == [{"role": "user", "content": "Where does Ada live?"}, CALLS, RESULT]
    assert tools_of(CONTEXT) == TOOLS
    assert tools_of(CONTEXT[1:]) is None


def test_the_prompt_holds_calls_results_and_tools(templated: Made) -> None:
    rendered = templated(WITH_TOOLS).texts(ROW)
    assert rendered.prompt == (
        "<|start|>tool find_client<|end|>\n<|start|>user\nWhere does Ada live?<|end|>\n"
        '<|start|>assistant\nfind_client({"who": "Ada \\"A\\" Ünal"})<|end|>\n'
        "<|start|>tool\n12 Sample Road<|end|>\n<|start|>assistant\n"
    )
    assert rendered.answer == "At 12 Sample Road."


def test_what_a_call_follows_has_no_end(templated: Made) -> None:
    encoder = templated(WITH_TOOLS)
    text, cut = encoder.texts(ROW), encoder.texts(Row(7, CONTEXT, ROW.response, complete=False))
    assert (text.prompt, text.answer) == (cut.prompt, cut.answer)
    assert (text.closing, cut.closing) == ("<|end|>", "")


def refused(encoder: Encoder, row: Row) -> str:
    with pytest.raises(InputError) as caught:
        encode_rows(encoder, [row], Path("r.jsonl"), None, None)
    assert "Ada" not in str(caught.value)
    return str(caught.value)


def test_a_template_that_leaves_calls_or_tools_out_is_refused(templated: Made) -> None:
    for context in (CONTEXT, CONTEXT[1:3]):
        why = refused(templated(CHATML), Row(7, context, "At 12.", turn=2))
        assert why.startswith("r.jsonl:7, turn 2: the model's chat template leaves out or changes a part")


def test_a_model_without_a_template_refuses_calls(plain: Made) -> None:
    assert "calls of tools need a chat template" in refused(plain(), ROW)


@pytest.mark.parametrize("gone", ["find_client", "Ünal", "who", "12 Sample Road", "Where does"])
def test_every_word_of_a_turn_is_looked_for(templated: Made, gone: str) -> None:
    rendered = templated(WITH_TOOLS).texts(ROW).prompt
    assert keeps_words(CONTEXT, rendered)
    assert not keeps_words(CONTEXT, rendered.replace(gone, "-"))
