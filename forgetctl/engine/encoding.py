"""Rows -> token ids with a known boundary between prompt and answer.

The answer begins where the model would start to speak and ends with its end-of-turn token. Where the boundary
lies decides every score, so it is found by construction (the template's own generation prompt is the prefix) and
checked token by token, never guessed from padding or special tokens.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from jinja2 import TemplateError

from ..errors import InputError, ModelError, TemplateRefusal
from ..rows import Row


@dataclass(frozen=True, repr=False)
class Encoded:
    """Token ids of prompt and answer; ids[start:] are the answer, end-of-turn token included."""

    ids: tuple[int, ...]
    start: int

    @property
    def tokens(self) -> int:
        """Number of scored tokens."""
        return len(self.ids) - self.start

    def __repr__(self) -> str:
        return f"Encoded({len(self.ids)} tokens, {self.tokens} scored)"


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
        prompt_text, answer_text = self._texts(row)
        prompt = self._lead(row) + self._ids(prompt_text)
        joint = self._lead(row) + self._ids(prompt_text + answer_text)
        # Where the tokenizer merges across the boundary, the joint ids would follow a prompt that the model is
        # never given at generation; then the two are tokenised apart and joined.
        answer = joint[len(prompt) :] if joint[: len(prompt)] == prompt else self._ids(answer_text)
        if row.complete and (not answer or answer[-1] not in self._special_ids):
            answer = [*answer, self.tokenizer.eos_token_id]
        # A passage without a beginning-of-sequence token has nothing to predict its first token from.
        return Encoded((*prompt, *answer), max(len(prompt), 1))

    def encode_prompt(self, row: Row) -> tuple[int, ...]:
        """Ids that the model is given to answer the row."""
        encoded = self.encode(row)
        return encoded.ids[: encoded.start]

    @cached_property
    def _special_ids(self) -> set[int]:
        return set(self.tokenizer.all_special_ids) | set(self.tokenizer.added_tokens_decoder)

    def _ids(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _lead(self, row: Row) -> list[int]:
        """The beginning-of-sequence id where the tokenizer would add one and no template does."""
        if self.uses_template and row.context:
            return []
        bos = self.tokenizer.bos_token_id
        return [bos] if bos is not None and self.tokenizer("a")["input_ids"][:1] == [bos] else []

    def _texts(self, row: Row) -> tuple[str, str]:
        if not row.context:
            return "", row.response
        return self._templated(row) if self.uses_template else self._plain(row)

    def _plain(self, row: Row) -> tuple[str, str]:
        parts = []
        for role, content in row.context:
            parts.append(f" {content}\n" if role == "assistant" else self.prompt_format.replace("{prompt}", content))
        return "".join(parts), f" {row.response}"

    def _templated(self, row: Row) -> tuple[str, str]:
        turns = [{"role": role, "content": content} for role, content in row.context]
        prompt = self._render(turns, True)
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

    def _render(self, turns: list[dict[str, str]], add_generation_prompt: bool) -> str:
        try:
            return str(
                self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=add_generation_prompt)
            )
        except TemplateError:
            raise TemplateRefusal("the model's chat template refuses this conversation") from None


def encode_rows(
    encoder: Encoder, rows: Sequence[Row], path: Path, context: int | None, max_length: int | None
) -> tuple[list[Encoded], int]:
    """Encode all rows; with `max_length` longer ones are cut there, and the second value counts them.

    context: the model's longest input in tokens, None if it has none.
    Raises InputError naming the rows that do not fit, or that the chat template refuses; nothing is cut silently.
    """
    encoded = [_encode(encoder, row, path) for row in rows]
    limit = min((bound for bound in (context, max_length) if bound is not None), default=None)
    if limit is None:
        return encoded, 0
    long = [index for index, item in enumerate(encoded) if len(item.ids) > limit]
    if long and (max_length is None or max_length > limit):
        raise InputError(
            path,
            f"{_lines(rows, long, 'is', 'are')} longer than the model's context of {limit} tokens; "
            f"--max-length {limit} would cut them there",
        )
    if hidden := [index for index in long if encoded[index].start >= limit]:
        raise InputError(path, f"{_lines(rows, hidden, 'has', 'have')} no token of the response within {limit} tokens")
    cut = set(long)
    return [Encoded(item.ids[:limit], item.start) if i in cut else item for i, item in enumerate(encoded)], len(long)


def _encode(encoder: Encoder, row: Row, path: Path) -> Encoded:
    try:
        return encoder.encode(row)
    except TemplateRefusal as error:
        raise InputError(path, str(error), row.line) from None


def _lines(rows: Sequence[Row], indices: Sequence[int], one: str, several: str) -> str:
    lines = sorted(rows[index].line for index in indices)
    shown = ", ".join(map(str, lines[:5])) + (f" and {len(lines) - 5} more" if len(lines) > 5 else "")
    return f"row {shown} {one}" if len(lines) == 1 else f"rows {shown} {several}"


def marked(encoder: Encoder, encoded: Encoded) -> tuple[str, str]:
    """The row as the model sees it, decoded: what is given, and what is scored."""
    decode = encoder.tokenizer.decode
    return decode(encoded.ids[: encoded.start]), decode(encoded.ids[encoded.start :])
