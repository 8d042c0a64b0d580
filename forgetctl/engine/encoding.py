"""Rows -> token ids with a known boundary between prompt and answer.

The answer begins where the model would start to speak and ends with its end-of-turn token. Where the boundary
lies decides every score, so it is found by construction (the template's own generation prompt is the prefix) and
checked token by token, never guessed from padding or special tokens.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from ..errors import InputError, ModelError, TemplateRefusal
from ..recipe import Passages
from ..rows import Row
from .panics import panics_unheard
from .templates import render


@dataclass(frozen=True, repr=False)
class Encoded:
    """Token ids of prompt and answer; ids[start:] are the answer, end-of-turn token included.

    continues: whether this is a further window of the row before (`engine.windows`), whose context then takes the
    place of the prompt.
    """

    ids: tuple[int, ...]
    start: int
    continues: bool = False

    @property
    def tokens(self) -> int:
        """Number of scored tokens."""
        return len(self.ids) - self.start

    def windows(self, length: int, overlap: int, lead: int = 0) -> list[Encoded]:
        """Windows of at most `length` tokens in which each scored token of these is scored exactly once.

        overlap: tokens that a window repeats from the one before, at least one, since something must predict the first
        token that is scored. lead: tokens at the beginning, such as the beginning of sequence, that every window
        begins with. What fits is returned as it is. Raises ValueError if a window had no token to score.
        """
        if not 1 <= overlap < length - lead or self.start >= length:
            raise ValueError(f"no token to score in windows of {length} that overlap by {overlap}, {lead} in front")
        found, end = [Encoded(self.ids[:length], self.start, self.continues)], length
        while end < len(self.ids):
            begin, end = end - overlap, end - overlap + length - lead
            found.append(Encoded((*self.ids[:lead], *self.ids[begin:end]), lead + overlap, continues=True))
        return found

    def __repr__(self) -> str:
        return f"Encoded({len(self.ids)} tokens, {self.tokens} scored)"


KEPT_PROMPTS = 64
"""Prompts whose rendering is remembered."""


class Encoder:
    """Turns rows into token ids for one model.

    tokenizer: the model's own. prompt_format: used where it has no chat template; contains {prompt}.
    Raises ModelError if the tokenizer cannot mark the end of an answer.
    """

    def __init__(self, tokenizer: Any, prompt_format: str) -> None:
        if tokenizer.eos_token_id is None:
            raise ModelError("the tokenizer has no end-of-sequence token, so the end of an answer cannot be scored")
        self.tokenizer = tokenizer
        self.prompt_format = prompt_format
        # The answers to one prompt come one after another.
        self._prompt = lru_cache(maxsize=KEPT_PROMPTS)(self._render_prompt)

    @property
    def uses_template(self) -> bool:
        """Whether conversations are rendered by the tokenizer's chat template."""
        return bool(self.tokenizer.chat_template)

    @cached_property
    def stop_ids(self) -> list[int]:
        """Ids that end an answer: the tokenizer's end of sequence and the template's end of turn."""
        probe = self.encode(Row(line=0, context=(("user", "a"),), response="b"))
        return sorted({self.tokenizer.eos_token_id, probe.ids[-1]})

    def encode(self, row: Row) -> Encoded:
        """Ids of the row's prompt and response, uncut."""
        return self.encode_texts([row], [self.texts(row)])[0]

    def encode_texts(self, rows: Sequence[Row], texts: Sequence[tuple[str, str]]) -> list[Encoded]:
        """Ids of rows whose `texts` are known, uncut. A tokenizer takes many texts in a fraction of the time."""
        prompts = self._ids([prompt for prompt, _ in texts])
        joints = self._ids([prompt + answer for prompt, answer in texts])
        return [
            self._encoded(row, answer, prompt, joint)
            for row, (_, answer), prompt, joint in zip(rows, texts, prompts, joints, strict=True)
        ]

    def _encoded(self, row: Row, answer_text: str, prompt_ids: list[int], joint_ids: list[int]) -> Encoded:
        prompt, joint = self._lead(row) + prompt_ids, self._lead(row) + joint_ids
        # Where the tokenizer merges across the boundary, the joint ids would follow a prompt that the model is
        # never given at generation; then the two are tokenised apart and joined.
        answer = joint[len(prompt) :] if joint[: len(prompt)] == prompt else self._ids([answer_text])[0]
        if row.complete and (not answer or answer[-1] not in self._special_ids):
            answer = [*answer, self.tokenizer.eos_token_id]
        # A passage without a beginning-of-sequence token has nothing to predict its first token from.
        return Encoded((*prompt, *answer), max(len(prompt), 1))

    def lead_tokens(self, row: Row) -> int:
        """Number of tokens before the row's own, which the tokenizer puts before any text."""
        return len(self._lead(row))

    def encode_prompt(self, row: Row) -> tuple[int, ...]:
        """Ids that the model is given to answer the row."""
        encoded = self.encode(row)
        return encoded.ids[: encoded.start]

    @cached_property
    def _special_ids(self) -> set[int]:
        return set(self.tokenizer.all_special_ids) | set(self.tokenizer.added_tokens_decoder)

    def _ids(self, texts: list[str]) -> list[list[int]]:
        if not texts:
            return []
        with panics_unheard():
            return [list(ids) for ids in self.tokenizer(texts, add_special_tokens=False)["input_ids"]]

    def _lead(self, row: Row) -> list[int]:
        """The beginning-of-sequence id where the tokenizer would add one and no template does."""
        return [] if self.uses_template and row.context else self._begun

    @cached_property
    def _begun(self) -> list[int]:
        bos = self.tokenizer.bos_token_id
        with panics_unheard():
            return [bos] if bos is not None and self.tokenizer("a")["input_ids"][:1] == [bos] else []

    def texts(self, row: Row) -> tuple[str, str]:
        """What is given to the model and what is scored. Raises TemplateRefusal, and ModelError for a template that
        does not show where an answer begins."""
        if not row.context:
            return "", row.response
        return self._templated(row) if self.uses_template else self._plain(row)

    def _plain(self, row: Row) -> tuple[str, str]:
        parts = []
        for role, content in row.context:
            parts.append(f" {content}\n" if role == "assistant" else self.prompt_format.replace("{prompt}", content))
        return "".join(parts), f" {row.response}"

    def _templated(self, row: Row) -> tuple[str, str]:
        turns, prompt = _turns(row.context), self._prompt(row.context)
        whole = self._render([*turns, {"role": "assistant", "content": row.response}], False)
        if not whole.startswith(prompt):
            raise ModelError(
                "the chat template does not begin an answer with its own generation prompt, so the scored tokens "
                "cannot be told from the prompt"
            )
        tail = whole[len(prompt) :].rstrip()
        response = row.response.strip()
        head = "" if response and tail.lstrip().startswith(response) else self._head(turns, prompt)
        end = len(tail) if row.complete else tail.index(response, len(head)) + len(response)
        return prompt + head, tail[len(head) : end]

    def _head(self, turns: list[dict[str, str]], prompt: str) -> str:
        """What the template puts before any answer, such as an empty thought; it belongs to the prompt.

        It is what two different answers begin with, wherever a row's own response may also occur in it.
        """
        probes = [self._render([*turns, {"role": "assistant", "content": letter}], False) for letter in "ab"]
        head = os.path.commonprefix(probes)[len(prompt) :]  # noqa: RUF071 (any strings, not only paths)
        return head if head.strip() else ""

    def _render_prompt(self, context: tuple[tuple[str, str], ...]) -> str:
        return self._render(_turns(context), True)

    def _render(self, turns: list[dict[str, str]], add_generation_prompt: bool) -> str:
        return render(self.tokenizer, turns, add_generation_prompt=add_generation_prompt)


def _turns(context: Iterable[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"role": role, "content": content} for role, content in context]


def encode_rows(
    encoder: Encoder,
    rows: Sequence[Row],
    path: Path,
    context: int | None,
    max_length: int | None,
    passages: Passages | None = None,
) -> tuple[list[Encoded], int]:
    """Encode all rows; with `max_length` longer ones are cut there, and the second value counts them.

    context: the model's longest input in tokens, None if it has none. passages: how passages that do not fit become
    windows, which stand one after another in the row's place; the default is the recipe's. A row with a prompt that
    does not fit is refused: its answer would no longer be an answer to it.
    Raises InputError naming the rows that do not fit, or that the chat template refuses; nothing is cut silently.
    """
    encoded = encoder.encode_texts(rows, [_texts(encoder, row, path) for row in rows])
    lengths = [min(len(item.ids), max_length or len(item.ids)) for item in encoded]
    if context is not None and (long := [i for i, row in enumerate(rows) if row.context and lengths[i] > context]):
        raise InputError(
            path,
            f"{_lines(rows, long, 'is', 'are')} longer than the model's context of {context} tokens; "
            f"--max-length {context} would cut them there",
        )
    cut = [index for index, item in enumerate(encoded) if len(item.ids) > lengths[index]]
    if hidden := [index for index in cut if encoded[index].start >= lengths[index]]:
        raise InputError(
            path, f"{_lines(rows, hidden, 'has', 'have')} no token of the response within {max_length} tokens"
        )
    for index in cut:
        encoded[index] = Encoded(encoded[index].ids[: lengths[index]], encoded[index].start)
    windows = (
        _windows(encoder, row, item, context, passages or Passages()) for row, item in zip(rows, encoded, strict=True)
    )
    return [window for some in windows for window in some], len(cut)


def _windows(encoder: Encoder, row: Row, item: Encoded, context: int | None, passages: Passages) -> list[Encoded]:
    """What is computed of a row: itself, or windows of a passage that is longer than one."""
    length = min((bound for bound in (context, passages.window) if bound is not None), default=None)
    if row.context or length is None or len(item.ids) <= length:
        return [item]
    lead = encoder.lead_tokens(row)
    overlap = max(1, min(int(passages.overlap * length), length - lead - 1))
    return item.windows(length, overlap, lead)


def _texts(encoder: Encoder, row: Row, path: Path) -> tuple[str, str]:
    try:
        return encoder.texts(row)
    except TemplateRefusal as error:
        raise InputError(path, str(error), row.line) from None


def _lines(rows: Sequence[Row], indices: Sequence[int], one: str, several: str) -> str:
    lines = sorted(rows[index].line for index in indices)
    shown = ", ".join(map(str, lines[:5])) + (f" and {len(lines) - 5} more" if len(lines) > 5 else "")
    return f"row {shown} {one}" if len(lines) == 1 else f"rows {shown} {several}"


def marked(encoder: Encoder, encoded: Encoded) -> tuple[str, str]:
    """The row as the model sees it, decoded: what is given, and what is scored."""
    decode = encoder.tokenizer.decode
    with panics_unheard():
        return decode(encoded.ids[: encoded.start]), decode(encoded.ids[encoded.start :])
