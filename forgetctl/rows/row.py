"""One row of a request, a retain file or a holdout: the only shape in which text travels through forgetctl."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from .text import fold

Turn = tuple[Literal["system", "user", "assistant"], str]


@dataclass(frozen=True, repr=False)
class Row:
    """A conversation and the response at its end.

    line: 1-based line in its file, by which messages refer to it.
    context: the turns before the response; empty for a bare passage.
    perturbed_responses: wrong answers of the same form; secrets: strings that must not come out.
    complete: False for a generated response that was cut off, so that its end is not taken for an end.

    The representation holds no text, so that tracebacks and logs cannot spread it.
    """

    line: int
    context: tuple[Turn, ...]
    response: str
    request_id: str | None = None
    subject_id: str | None = None
    paraphrased_response: str | None = None
    perturbed_responses: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    complete: bool = True

    def __repr__(self) -> str:
        return f"Row(line={self.line})"

    @property
    def prompt(self) -> str:
        """The turns before the response as one string."""
        return "\n".join(content for _, content in self.context)

    def answering(self, response: str) -> Row:
        """The same prompt with another response."""
        return replace(self, response=response)


def normalise(text: str) -> str:
    """Text for comparisons: folded (`maths.text.fold`), runs of white space as one blank."""
    return " ".join(fold(text).split())
