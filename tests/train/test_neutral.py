"""A retain sample out of the start model's own answers: only what can be trained as it was said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from forgetctl.errors import UsageError
from forgetctl.model.encoding import Encoder
from forgetctl.model.generation import Answer
from forgetctl.model.load import load_tokenizer
from forgetctl.train import neutral

DROPS_THOUGHTS = (
    "{% for m in messages %}{{ m['role'] }}: {{ m['content'].split('</think>')[-1] }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
SHOUTS = DROPS_THOUGHTS.replace("m['content'].split('</think>')[-1]", "m['content'] | upper")


def answered(world: Path, template: str, answers: list[Answer], monkeypatch: pytest.MonkeyPatch) -> Any:
    tokenizer = load_tokenizer(world / "model")
    tokenizer.chat_template = template
    prompts = neutral.neutral_prompts()[: len(answers)]
    monkeypatch.setattr(neutral, "neutral_prompts", lambda: prompts)
    monkeypatch.setattr(neutral, "continuations", lambda _m, _e, asked, *_: [[one] for one in answers[: len(asked)]])
    return neutral.own_answers(None, Encoder(tokenizer, "{prompt}"), 20, None, lambda _: None)


def test_thoughts_are_left_out_of_answers(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whose template drops them; an answer that was cut off within its thought is what it is."""
    answers = [
        Answer("<think>Hm.</think>\n\nA town.", complete=True),
        Answer("<think>Hm, I", complete=False),
        Answer("<think>only that</think>", complete=True),
        Answer("", complete=True),
        Answer("A river.", complete=False),
    ]
    rows = answered(world, DROPS_THOUGHTS, answers, monkeypatch)
    assert [(row.line, row.response, row.complete) for row in rows] == [
        (1, "A town.", True),
        (2, "<think>Hm, I", False),
        (5, "A river.", False),
    ]


def test_answers_that_a_template_changes_are_left_out(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="give --retain FILE") as caught:
        answered(world, SHOUTS, [Answer("A town.", complete=True)], monkeypatch)
    assert caught.value.exit_code == 2
