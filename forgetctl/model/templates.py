"""A chat template is a program that comes with a model: transformers runs it in jinja2's sandbox, and here it gets
bounds on time and memory, which the sandbox has not."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, tzinfo
from functools import cache
from typing import Any, NoReturn

import psutil
from jinja2 import TemplateError
from transformers.utils import chat_template_utils

from ..errors import TemplateRefusal
from .protocol import Tokenizer

TODAY = date(2024, 7, 26)
"""What templates that write the date are told, as Llama 3's assumes by itself where it has no clock: what the model is
given must not change from one day to the next."""
SECONDS = 10.0
"""Of the processor's time for a conversation."""
MEMORY = 512 * 2**20
"""Bytes that rendering a conversation may take."""
CHARACTERS = 64 * 2**20
"""Longest conversation as the model is given it; the longest line of a retain file is a quarter of that."""
FAULTS = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""What the operations in a template raise by themselves."""


class _OutOfTimeError(Exception):
    pass


def render(
    tokenizer: Tokenizer,
    messages: list[dict[str, Any]],
    *,
    add_generation_prompt: bool,
    tools: list[dict[str, Any]] | None = None,
) -> str:
    """A conversation as the tokenizer's chat template writes it. tools: those that the model is offered.

    Raises TemplateRefusal if the template refuses it, fails, or goes beyond the bounds above.
    """
    options: dict[str, Any] = {"tokenize": False, "add_generation_prompt": add_generation_prompt}
    if tools is not None:
        options["tools"] = tools
    try:
        with _bounded(), _stopped_clock():
            text = str(tokenizer.apply_chat_template(messages, **options))
    except TemplateError:
        raise TemplateRefusal("the model's chat template refuses this conversation") from None
    except (_OutOfTimeError, MemoryError):
        raise TemplateRefusal("the model's chat template takes too much time or memory") from None
    except FAULTS as error:
        raise TemplateRefusal(f"the model's chat template fails ({type(error).__name__})") from None
    if len(text) > CHARACTERS:
        raise TemplateRefusal("the model's chat template makes too long a text of this conversation")
    return text


def template_digest(tokenizer: Tokenizer) -> str | None:
    """SHA-256 of the chat template, hexadecimal; of several by name, as JSON with sorted keys. None without one."""
    template = tokenizer.chat_template
    if not template:
        return None
    text = template if isinstance(template, str) else json.dumps(template, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def template_date(tokenizer: Tokenizer) -> str | None:
    """The date that a chat template is told, as ISO 8601; None for one that does not ask."""
    template = tokenizer.chat_template
    text = template if isinstance(template, str) else json.dumps(template)
    return TODAY.isoformat() if "strftime_now" in text else None


class _Today(datetime):
    @classmethod
    def now(cls, tz: tzinfo | None = None) -> _Today:
        return cls(TODAY.year, TODAY.month, TODAY.day, tzinfo=tz)


@contextmanager
def _stopped_clock() -> Iterator[None]:
    """Let transformers' `strftime_now` tell TODAY: no function can be handed to a template instead."""
    module: Any = chat_template_utils
    own, module.datetime = module.datetime, _Today
    try:
        yield
    finally:
        module.datetime = own


@contextmanager
def _bounded() -> Iterator[None]:
    """Bounds for this process while a template runs: on time in the main thread only, where signals arrive."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = _process(os.getpid()).memory_info().vms + MEMORY
    timed = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGVTALRM, _stop) if timed else None
    try:
        bounds = [bound for bound in (soft, hard) if bound != resource.RLIM_INFINITY]
        resource.setrlimit(resource.RLIMIT_AS, (min([most, *bounds]), hard))
        if timed:
            signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
        yield
    finally:
        if timed:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            signal.signal(signal.SIGVTALRM, before)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@cache
def _process(pid: int) -> psutil.Process:
    """Looked up once: that takes as long as rendering a short conversation."""
    return psutil.Process(pid)


def _stop(_number: int, _frame: object) -> NoReturn:
    raise _OutOfTimeError
