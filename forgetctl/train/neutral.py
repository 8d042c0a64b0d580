"""A retain sample for owners who have no retain file: the start model's own answers to neutral prompts.

RT then holds the model to its own behaviour. The answers live in memory only, since a model can quote what it was
trained on; they are made again, greedily and thus alike, whenever a run needs them.
"""

from __future__ import annotations

import importlib.resources
from collections.abc import Callable, Sequence

from ..errors import UsageError
from ..files.writing import text_digest
from ..model.conversations import THOUGHT
from ..model.encoding import Encoder
from ..model.generation import Decoding, continuations
from ..model.protocol import Model
from ..rows.row import Row

ORIGIN = "the start model's own answers to neutral prompts"


def neutral_prompts() -> list[Row]:
    """The shipped prompts, as rows without a response."""
    text = importlib.resources.files(__package__).joinpath("neutral_prompts.txt").read_text(encoding="utf-8")
    return [Row(line, (("user", prompt),), "") for line, prompt in enumerate(text.splitlines(), start=1)]


def own_answers(
    model: Model, encoder: Encoder, answer_tokens: int, context: int | None, advance: Callable[[int], None]
) -> list[Row]:
    """The shipped prompts with the model's greedy answers, as they will be trained: without a thought before them.

    Prompts that it answers with nothing are left out, and so are prompts and answers that its template changes.
    Raises UsageError if no answer is left.
    """
    prompts = [prompt for prompt in neutral_prompts() if encoder.keeps(prompt)]
    asked = [encoder.encode_plain_prompt(prompt) for prompt in prompts]
    answers = continuations(model, encoder, asked, Decoding(max_new_tokens=answer_tokens, context=context), advance)
    rows = [
        Row(prompt.line, prompt.context, text, complete=answer.complete)
        for prompt, (answer,) in zip(prompts, answers, strict=True)
        if (text := THOUGHT.sub("", answer.text).strip())
    ]
    if not (kept := [row for row in rows if encoder.keeps(row)]):
        raise UsageError("the start model's answers to neutral prompts cannot be trained on; give --retain FILE")
    return kept


def rows_digest(rows: Sequence[Row]) -> str:
    """SHA-256 of prompts and responses, hexadecimal, to tell whether they were made again alike."""
    return text_digest(f"{row.prompt}\0{row.response}\0" for row in rows)
