"""Chat templates that attack: what escapes the sandbox, never ends, or fills the memory is our refusal, in seconds."""

from __future__ import annotations

import resource
import signal
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from jinja2 import TemplateError
from transformers.utils import chat_template_utils
from transformers.utils.chat_template_utils import render_jinja_template

from forgetctl.errors import TemplateRefusal
from forgetctl.model import templates
from forgetctl.model.load import load_tokenizer
from forgetctl.model.templates import render, template_date, template_digest

TURNS = [{"role": "user", "content": "Velmira"}]


class Templated:
    """The part of a tokenizer that renders, as transformers does it."""

    def __init__(self, template: str) -> None:
        self.chat_template = template

    def apply_chat_template(self, turns: list[dict[str, str]], *, tokenize: bool, add_generation_prompt: bool) -> str:
        assert not tokenize
        made, _ = render_jinja_template(
            [turns], chat_template=self.chat_template, add_generation_prompt=add_generation_prompt
        )
        return str(made[0])


ESCAPES = [
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ messages.__init__.__globals__['os'].system('id') }}",
    "{{ self._TemplateReference__context.eval_ctx.environment.__class__.__base__.__subclasses__() }}",
    "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "{{ lipsum.__globals__['os'].environ }}",
    "{{ (messages|attr('__class__')).__base__ }}",
    "{{ messages.append({'role': 'user', 'content': 'x'}) }}",
    "{% include '/etc/passwd' %}",
    "{{ raise_exception('no') }}",
]


@pytest.mark.parametrize("template", ESCAPES)
def test_nothing_leaves_the_sandbox(template: str) -> None:
    with pytest.raises(TemplateRefusal) as caught:
        render(Templated(template), TURNS, add_generation_prompt=True)
    assert "Velmira" not in str(caught.value)


BOMBS = [
    "{% for i in range(10**9) %}{% endfor %}",
    "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "{{ 'a' * 10**11 }}",
    "{{ '%100000000000d' % 1 }}",
    "{% set n = namespace(a='a') %}{% for i in range(60) %}{% set n.a = n.a ~ n.a %}{% endfor %}{{ n.a }}",
    "{{ 'a' * 70000000 }}",
    "{{ 1 / 0 }}",
    "{{ messages[0]['content'] + 1 }}",
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
]


@pytest.mark.parametrize("template", BOMBS)
def test_nothing_runs_without_end(template: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(templates, "SECONDS", 0.3)
    before = resource.getrlimit(resource.RLIMIT_AS), signal.getsignal(signal.SIGVTALRM)
    with pytest.raises(TemplateRefusal) as caught:
        render(Templated(template), TURNS, add_generation_prompt=False)
    assert "Velmira" not in str(caught.value)
    assert (resource.getrlimit(resource.RLIMIT_AS), signal.getsignal(signal.SIGVTALRM)) == before
    assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0, 0)


def test_an_honest_template_is_rendered() -> None:
    template = (
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}{% if add_generation_prompt %}<a>{% endif %}"
    )
    assert render(Templated(template), TURNS, add_generation_prompt=True) == "<user>Velmira<a>"
    assert issubclass(templates.TemplateError, TemplateError)


def test_the_digest_of_a_template() -> None:
    first, second = (template_digest(SimpleNamespace(chat_template=text)) for text in ("a", "b"))
    assert first != second
    assert template_digest(SimpleNamespace(chat_template=None)) is None
    several = [
        template_digest(SimpleNamespace(chat_template=found)) for found in ({"a": "1", "b": "2"}, {"b": "2", "a": "1"})
    ]
    assert several[0] == several[1] not in (None, first)


@pytest.mark.parametrize("today", [datetime(2026, 11, 30, 23), datetime(1999, 1, 1)])
def test_a_template_that_writes_the_date_writes_the_same_every_day(
    today: datetime, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return today

    monkeypatch.setattr(chat_template_utils, "datetime", Clock)
    tokenizer = load_tokenizer(world / "model")
    tokenizer.chat_template = "{{ strftime_now('%d %b %Y') }} {{ messages[0]['content'] }}"
    turns = [{"role": "user", "content": "Who?"}]
    assert render(tokenizer, turns, add_generation_prompt=True) == "26 Jul 2024 Who?"
    assert template_date(tokenizer) == "2024-07-26"
    # The clock of whoever else renders templates in this process goes on.
    assert tokenizer.apply_chat_template(turns, tokenize=False).startswith(today.strftime("%d %b %Y"))


def test_a_template_without_a_date_has_none(world: Path) -> None:
    assert template_date(load_tokenizer(world / "model")) is None
