"""Rows -> token ids with a known boundary between prompt and answer.

The answer begins where the model would start to speak and ends with its end-of-turn token. Where the boundary
lies decides every score, so it is found by construction (the template's own generation prompt is the prefix) and
checked token by token, never guessed from padding or special tokens.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import groupby, takewhile
from pathlib import Path

from ..errors import InputError, ModelError, TemplateRefusal
from ..recipe.recipe import Passages
from ..rows.row import Row, Turn, listed
from ._panics import panics_unheard
from .conversations import keeps_words, messages_of, tools_of, uses_tools
from .protocol import Tokenizer
from .spans import Span, are_covered, rendered_spans, touching
from .templates import render


@dataclass(frozen=True, repr=False)
class Encoded:
    """Token ids of prompt and answer; ids[start:] are the answer, end-of-turn token included.

    continues: whether this is a further window of the row before (`model.windows`), whose context then takes the
    place of the prompt. scored: (answer tokens,) which of them are scored, None where all are.
    """

    ids: tuple[int, ...]
    start: int
    continues: bool = False
    scored: tuple[bool, ...] | None = None

    @property
    def tokens(self) -> int:
        """Number of scored tokens."""
        return len(self.ids) - self.start if self.scored is None else sum(self.scored)

    @property
    def places(self) -> list[int]:
        """Where in the answer the scored tokens are."""
        scored = (True,) * self.tokens if self.scored is None else self.scored
        return [place for place, one in enumerate(scored) if one]

    def cut(self, length: int) -> Encoded:
        """The first `length` tokens, the whole prompt among them."""
        scored = None if self.scored is None else self.scored[: length - self.start]
        return replace(self, ids=self.ids[:length], scored=scored)

    def after(self, count: int) -> Encoded:
        """The same with the first `count` tokens of the answer as a part of the prompt."""
        scored = None if self.scored is None else self.scored[count:]
        return replace(self, start=self.start + count, scored=scored)

    def ending(self, start: int, lead: int) -> Encoded:
        """The same with so many tokens before the answer, of which the first `lead` are those that it began with."""
        return replace(self, ids=(*self.ids[:lead], *self.ids[self.start - start + lead :]), start=start)

    def windows(self, length: int, overlap: int, lead: int = 0) -> list[Encoded]:
        """Windows of at most `length` tokens in which each scored token of these is scored exactly once.

        overlap: tokens that a window repeats from the one before, at least one, since something must predict the first
        token that is scored. lead: tokens at the beginning, such as the beginning of sequence, that every window
        begins with. What fits is returned as it is. A window in which no token is scored is left out. Raises ValueError
        if a window could have none.
        """
        if not 1 <= overlap < length - lead or self.start >= length:
            raise ValueError(f"no token to score in windows of {length} that overlap by {overlap}, {lead} in front")
        windows, end = [self.cut(length)], length
        while end < len(self.ids):
            begin, end = end - overlap, end - overlap + length - lead
            scored = None if self.scored is None else self.scored[begin + overlap - self.start : end - self.start]
            windows.append(Encoded((*self.ids[:lead], *self.ids[begin:end]), lead + overlap, True, scored))
        if self.scored is None:
            return windows
        used = [window for window in windows if window.tokens]
        return [replace(window, continues=self.continues or number > 0) for number, window in enumerate(used)]

    def __repr__(self) -> str:
        return f"Encoded({len(self.ids)} tokens, {self.tokens} scored)"


KEPT_PROMPTS = 64
"""Prompts whose rendering is remembered."""
_RowText = tuple[tuple[Turn, ...], str, tuple[tuple[int, int], ...], bool]
"""Of a row, what its token ids depend on."""


@dataclass(frozen=True, repr=False)
class Rendered:
    """A row as text: what the model is given, what is scored, and how its template ends a turn, or ""."""

    prompt: str
    answer: str
    closing: str = ""


class Encoder:
    """Turns rows into token ids for one model, or several that do it alike (`model.encoders`), and keeps what it made:
    a row that is checked, scored and asked is tokenised once.

    tokenizer: the model's own. prompt_format: used where it has no chat template; contains {prompt}. stops: ids at
    which the model's own generation settings end an answer. vocabulary: number of its embeddings, None if unknown.
    Raises ModelError if the tokenizer cannot mark the end of an answer.
    """

    def __init__(
        self, tokenizer: Tokenizer, prompt_format: str, stops: Iterable[int] = (), vocabulary: int | None = None
    ) -> None:
        if tokenizer.eos_token_id is None:
            raise ModelError("the tokenizer has no end-of-sequence token, so the end of an answer cannot be scored")
        self.tokenizer = tokenizer
        self.prompt_format = prompt_format
        self.vocabulary = vocabulary
        self._stops = {tokenizer.eos_token_id, *stops}
        # The answers to one prompt come one after another.
        self._prompt = lru_cache(maxsize=KEPT_PROMPTS)(self._render_prompt)
        self._plain_start = lru_cache(maxsize=KEPT_PROMPTS)(self._find_plain_start)
        self._rows: dict[_RowText, Encoded] = {}
        self._prompt_ids: dict[str, list[int]] = {}
        self._asked: dict[tuple[Turn, ...], tuple[int, ...]] = {}

    @property
    def uses_template(self) -> bool:
        """Whether conversations are rendered by the tokenizer's chat template."""
        return bool(self.tokenizer.chat_template)

    @cached_property
    def stop_ids(self) -> list[int]:
        """Ids that end an answer: the tokenizer's end of sequence, those of the model's generation settings (GLM-4 and
        Phi-3 have several), and the template's end of turn."""
        probe = self.encode(Row(line=0, context=(("user", "a"),), response="b"))
        return sorted({*self._stops, probe.ids[-1]})

    def encode(self, row: Row) -> Encoded:
        """Ids of the row's prompt and response, uncut. Raises as `texts`."""
        return self.encode_all([row])[0]

    def encode_all(self, rows: Sequence[Row]) -> list[Encoded]:
        """The same of many rows, of which those are tokenised that were not before."""
        keys = [(row.context, row.response, row.spans, row.complete) for row in rows]
        new = {key: row for key, row in zip(keys, rows, strict=True) if key not in self._rows}
        encoded = self.encode_texts(list(new.values()), [self.texts(row) for row in new.values()])
        self._rows.update(zip(new, encoded, strict=True))
        return [self._rows[key] for key in keys]

    def encode_texts(self, rows: Sequence[Row], texts: Sequence[Rendered]) -> list[Encoded]:
        """Ids of rows whose `texts` are known, uncut, which are not kept. A tokenizer takes many texts in a fraction of
        the time."""
        prompts = self._kept_ids([text.prompt for text in texts])
        joints = self._ids([text.prompt + text.answer + text.closing for text in texts])
        return [
            self._encoded(row, text, prompt, joint)
            for row, text, prompt, joint in zip(rows, texts, prompts, joints, strict=True)
        ]

    def _encoded(self, row: Row, text: Rendered, prompt_ids: list[int], joint_ids: list[int]) -> Encoded:
        prompt, joint = self._lead(row) + prompt_ids, self._lead(row) + joint_ids
        # Where the tokenizer merges across the boundary, the joint ids would follow a prompt that the model is
        # never given at generation; then the two are tokenised apart and joined.
        apart = joint[: len(prompt)] != prompt
        answer = self._ids([text.answer + text.closing])[0] if apart else joint[len(prompt) :]
        if row.complete and not self._is_ended(answer, text.closing):
            answer = [*answer, self.tokenizer.eos_token_id]
        # A passage without a beginning-of-sequence token has nothing to predict its first token from.
        start = max(len(prompt), 1)
        if not row.spans:
            return Encoded((*prompt, *answer), start)
        given, before = ("", 0) if apart else (text.prompt, len(prompt_ids))
        offsets = self._offsets(given, text)[before:][: len(answer)]
        spans = rendered_spans(row.response, row.spans, text.answer)
        if len(offsets) < len(answer) or not are_covered(spans, offsets, text.answer):
            raise ModelError(f"the tokenizer does not say which tokens the spans of row {row.name} are")
        return Encoded((*prompt, *answer), start, scored=touching(spans, offsets[start - len(prompt) :]))

    def _offsets(self, given: str, text: Rendered) -> list[Span]:
        """Where in the answer each token of all that is given in one piece is, in code points, and behind them that of
        an end of sequence that may follow. Raises ModelError for a tokenizer that does not know."""
        if not self.tokenizer.is_fast:
            raise ModelError("the tokenizer does not say where in a text its tokens are, which spans need")
        whole = given + text.answer + text.closing
        with panics_unheard():
            offsets = self.tokenizer(whole, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
        return [(begin - len(given), end - len(given)) for begin, end in (*offsets, (len(whole), len(whole) + 1))]

    def _is_ended(self, answer: Sequence[int], closing: str) -> bool:
        """Whether the ids end as a turn does, and not just in a token that somebody added to the vocabulary."""
        return bool(answer) and (answer[-1] in self._stops or (bool(closing) and answer[-1] in self._special_ids))

    def lead_tokens(self, row: Row) -> int:
        """Number of tokens before the row's own, which the tokenizer puts before any text."""
        return len(self._lead(row))

    def encode_prompt(self, row: Row) -> tuple[int, ...]:
        """Ids that the model is given to answer the row, as its template asks by default: it may begin with a thought.

        `Encoded.start` is elsewhere where the template puts something before a finished answer, such as an empty
        thought, or leaves out what it asks with.
        """
        if not (self.uses_template and row.context):
            encoded = self.encode(row)
            return encoded.ids[: encoded.start]
        if row.context not in self._asked:
            (ids,) = self._kept_ids([self._prompt(row.context)])
            self._asked[row.context] = tuple(self._lead(row) + ids)
        return self._asked[row.context]

    def encode_plain_prompt(self, row: Row) -> tuple[int, ...]:
        """Ids that the model is given to answer the row without a thought: where any plain answer is scored from."""
        encoded = self.encode(row.answering(""))
        return encoded.ids[: encoded.start]

    def encode_in_place(self, row: Row, start: int, end: int, others: Sequence[str]) -> list[Encoded]:
        """Ids of the row's response up to a part of it, and of the same with each of the others in place of that part.

        start, end: of the part, in code points. Scored is what stands there, from the first token on in which any of
        them differs from what stands before: all share the tokens before that. Raises TemplateRefusal where the
        template changes the part, or the tokens do not tell it from what is before.
        """
        part = row.response[start:end]
        text = self.texts(replace(row.answering(row.response[:end]), complete=False))
        if not text.answer.endswith(part):
            raise TemplateRefusal("the model's chat template changes a part of this response")
        before = text.answer.removesuffix(part)
        lead, (prompt,) = self._lead(row), self._kept_ids([text.prompt])
        given, *whole = self._kept_ids([text.prompt + before + value for value in ("", part, *others)])
        if any(ids[: len(prompt)] != prompt for ids in (given, *whole)):
            given, *whole = [prompt + ids for ids in self._kept_ids([before + value for value in ("", part, *others)])]
        shared = min(len(_beginning(given, ids)) for ids in whole)
        if (not lead and not shared) or any(len(ids) <= shared for ids in whole):
            raise TemplateRefusal("the model's tokens do not tell a part of this response from what is before it")
        return [Encoded((*lead, *ids), len(lead) + shared) for ids in whole]

    @cached_property
    def thinks(self) -> bool:
        """Whether the template asks by default for something before a plain answer: there are two ways to ask."""
        probe = Row(line=0, context=(("user", "a"),), response="")
        return self.encode_prompt(probe) != self.encode_plain_prompt(probe)

    @cached_property
    def _special_ids(self) -> set[int]:
        return set(self.tokenizer.all_special_ids) | set(self.tokenizer.added_tokens_decoder)

    def _kept_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Of texts that are given again: a prompt is that of several answers, and what a model is asked with."""
        new = list(dict.fromkeys(text for text in texts if text not in self._prompt_ids))
        self._prompt_ids.update(zip(new, self._ids(new), strict=True))
        return [self._prompt_ids[text] for text in texts]

    def _ids(self, texts: list[str]) -> list[list[int]]:
        if not texts:
            return []
        with panics_unheard():
            return [list(ids) for ids in self.tokenizer(texts, add_special_tokens=False)["input_ids"]]

    def _lead(self, row: Row) -> list[int]:
        """What the tokenizer puts before a text, where no template does."""
        return [] if self.uses_template and row.context else self._begun

    @cached_property
    def _begun(self) -> list[int]:
        """The ids before a text: the beginning of sequence, or several, as GLM-4's [gMASK] <sop>."""
        with panics_unheard():
            whole = list(self.tokenizer("a")["input_ids"])
        (alone,) = self._ids(["a"])
        places = range(len(whole) - len(alone) + 1)
        return whole[: next((place for place in places if whole[place : place + len(alone)] == alone), 0)]

    def texts(self, row: Row) -> Rendered:
        """What is given to the model and what is scored.

        Raises TemplateRefusal with the row's name where the template fails, or does not keep the words of prompt and
        response, and ModelError for a template that does not show where an answer begins.
        """
        if not row.context:
            return Rendered("", row.response)
        try:
            return self._templated(row) if self.uses_template else self._plain(row)
        except TemplateRefusal as refusal:
            raise TemplateRefusal(str(refusal), row.name) from None

    def keeps(self, row: Row) -> bool:
        """Whether the row's words are all in what the model would be given."""
        try:
            self.texts(row)
        except TemplateRefusal:
            return False
        return True

    def _plain(self, row: Row) -> Rendered:
        if uses_tools(row):
            raise TemplateRefusal("calls of tools need a chat template, which the model has not")
        parts = []
        for role, content in row.context:
            parts.append(f" {content}\n" if role == "assistant" else self.prompt_format.replace("{prompt}", content))
        return Rendered("".join(parts), f" {row.response}")

    def _templated(self, row: Row) -> Rendered:
        whole = self._render((*row.context, ("assistant", row.response)), False)
        start, end = self._find_response(row, whole)
        if not keeps_words(row.context, whole[:start]):
            raise TemplateRefusal("the model's chat template leaves out or changes a part of this prompt")
        return Rendered(whole[:start], whole[start:end], self._closing(whole[end:]) if row.complete else "")

    def _find_response(self, row: Row, whole: str) -> tuple[int, int]:
        """Where the response begins and ends in the rendered conversation, white space before it included.

        That is after the template's own generation prompt or, where the template puts something between the two or
        leaves some of it out (an empty thought, an opened one), where any answer would begin.
        """
        # Templates trim and indent, so white space may differ.
        wanted = re.compile(r"\s*" + r"\s*".join(map(re.escape, row.response.split())))
        asked = self._prompt(row.context)
        if row.response and whole.startswith(asked) and (match := wanted.match(whole, len(asked))):
            return match.span()
        start = self._plain_start(row.context)
        if match := wanted.match(whole, start):
            return match.span()
        raise TemplateRefusal("the model's chat template leaves out or changes a part of this response")

    def _find_plain_start(self, context: tuple[Turn, ...]) -> int:
        """Where the template lets an answer begin that is plain text: where two different ones part."""
        probes = [self._render((*context, ("assistant", letter)), False) for letter in "ab"]
        common = os.path.commonprefix(probes)  # noqa: RUF071 (any strings, not only paths)
        asked = self._prompt(context)
        if not (common.startswith(asked.rstrip()) or asked.startswith(common)):
            raise ModelError(
                "the chat template does not begin an answer with its own generation prompt, so the scored tokens "
                "cannot be told from the prompt"
            )
        # White space right after the generation prompt belongs to the answer, as where a template has none between.
        return len(asked) if common.startswith(asked) and not common[len(asked) :].strip() else len(common)

    def _closing(self, rest: str) -> str:
        """How the template ends the turn: up to the first token at which generation stops, since what it writes
        behind that is never reached."""
        rest = rest.rstrip()
        ends = [rest.find(text) + len(text) for text in self._stop_texts if text in rest]
        return rest[: min(ends)] if ends else rest

    @cached_property
    def _stop_texts(self) -> list[str]:
        with panics_unheard():
            return [text for id in self._stops if (text := self.tokenizer.decode([id], skip_special_tokens=False))]

    def _render_prompt(self, context: tuple[Turn, ...]) -> str:
        return self._render(context, True)

    def _render(self, turns: tuple[Turn, ...], add_generation_prompt: bool) -> str:
        messages, tools = messages_of(turns), tools_of(turns)
        return render(self.tokenizer, messages, add_generation_prompt=add_generation_prompt, tools=tools)


def encode_rows(
    encoder: Encoder,
    rows: Sequence[Row],
    path: Path,
    context: int | None,
    max_length: int | None,
    passages: Passages | None = None,
    part: Callable[[Sequence[Encoded]], list[Encoded]] = list,
) -> tuple[list[Encoded], int]:
    """Encode all rows; with `max_length` longer ones are cut there, and the second value counts them.

    context: the model's longest input in tokens, None if it has none. passages: how passages that do not fit become
    windows, which stand one after another in the row's place; the default is the recipe's. part: what of the rows is
    scored, from their tokens, of which those that are marked are scored; what has no scored token then is left out. A
    row with a prompt that does not fit is refused: its answer would no longer be an answer to it.
    Raises InputError naming the rows that do not fit, that the chat template refuses, or that have a token which the
    model has not; nothing is cut silently. ModelError for a tokenizer that cannot tell where spans are.
    """
    try:
        encoded = encoder.encode_all(rows)
    except TemplateRefusal as refusal:
        raise InputError(path, str(refusal), refusal.row) from None
    _check_vocabulary(encoder, rows, encoded, path)
    cut = _cut(rows, encoded, path, context, max_length)
    windows = (
        _windows(encoder, row, item, context, passages or Passages())
        for row, item in zip(rows, part(encoded), strict=True)
        if item.tokens or item.scored is None
    )
    return [window for some in windows for window in some], cut


def _cut(rows: Sequence[Row], encoded: list[Encoded], path: Path, context: int | None, max_length: int | None) -> int:
    """Cut what is longer than `max_length` in its place, and count it. Raises InputError naming the rows of which that
    would leave nothing of the response, or of a part of it that is marked, and those that are too long all the same."""
    lengths = [min(len(item.ids), max_length or len(item.ids)) for item in encoded]
    if context is not None and (long := [i for i, row in enumerate(rows) if row.context and lengths[i] > context]):
        raise InputError(
            path,
            f"{_named(rows, long, 'is', 'are')} longer than the model's context of {context} tokens; "
            f"--max-length {context} would cut them there",
        )
    cut = [index for index, item in enumerate(encoded) if len(item.ids) > lengths[index]]
    if hidden := [index for index in cut if encoded[index].start >= lengths[index]]:
        raise InputError(
            path, f"{_named(rows, hidden, 'has', 'have')} no token of the response within {max_length} tokens"
        )
    if lost := [index for index in cut if _loses_a_part(encoded[index], lengths[index])]:
        raise InputError(
            path, f"{_named(rows, lost, 'has', 'have')} no token of a marked part within {max_length} tokens"
        )
    if empty := [index for index, item in enumerate(encoded) if item.scored is not None and not item.tokens]:
        why = "nothing but the first token of a passage, which no token predicts"
        raise InputError(path, f"{_named(rows, empty, 'marks', 'mark')} {why}")
    for index in cut:
        encoded[index] = encoded[index].cut(lengths[index])
    return len(cut)


def _loses_a_part(item: Encoded, length: int) -> bool:
    """Whether marked tokens that stand together are all behind the first `length` tokens of the row."""
    scored = item.scored or ()
    behind = range(length - item.start, len(scored))
    return any(scored[place] and not scored[place - 1] for place in behind)


def _check_vocabulary(encoder: Encoder, rows: Sequence[Row], encoded: Sequence[Encoded], path: Path) -> None:
    """Refuse tokens that were added to the tokenizer and not to the model."""
    size = encoder.vocabulary
    if size is not None and (strange := [i for i, item in enumerate(encoded) if max(item.ids) >= size]):
        more = f", and {len(strange) - 1} more rows have" if len(strange) > 1 else ""
        why = f"has{more} a token that the model, with its {size:,} embeddings, lacks"
        raise InputError(path, why, rows[strange[0]].name)


def _windows(encoder: Encoder, row: Row, item: Encoded, context: int | None, passages: Passages) -> list[Encoded]:
    """What is computed of a row: itself, or windows of a passage that is longer than one."""
    length = min((bound for bound in (context, passages.window) if bound is not None), default=None)
    if row.context or length is None or len(item.ids) <= length:
        return [item]
    lead = encoder.lead_tokens(row)
    overlap = max(1, min(int(passages.overlap * length), length - lead - 1))
    return item.windows(length, overlap, lead)


def _named(rows: Sequence[Row], indices: Sequence[int], one: str, several: str) -> str:
    shown = listed([row.name for row in sorted((rows[index] for index in indices), key=lambda row: row.place)], 5)
    return f"row {shown} {one}" if len(indices) == 1 else f"rows {shown} {several}"


def _beginning(first: Sequence[int], second: Sequence[int]) -> list[int]:
    """What two lists of ids have in common before they part."""
    return [one for one, _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False))]


def marked(encoder: Encoder, encoded: Encoded) -> tuple[str, str]:
    """The row as the model sees it, decoded: what is given, and what is scored, where parts of it are with " ... "
    between them."""
    decode = encoder.tokenizer.decode
    with panics_unheard():
        return decode(encoded.ids[: encoded.start]), " ... ".join(decode(run) for run in scored_runs(encoded))


def scored_runs(encoded: Encoded) -> list[tuple[int, ...]]:
    """The scored tokens that stand together, run by run."""
    answer = encoded.ids[encoded.start :]
    if encoded.scored is None:
        return [answer]
    pairs = zip(answer, encoded.scored, strict=True)
    return [tuple(id for id, _ in run) for scored, run in groupby(pairs, key=lambda pair: pair[1]) if scored]
