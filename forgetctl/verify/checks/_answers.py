"""What generated answers say of the rows: what the checks of leaks share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ...model.scores import DRAWN, ScoreSet
from ..findings import Heading

HEADING = Heading(
    title="What comes out",
    words=lambda findings, bounds: (
        "Every model was asked in several ways, also in ways that make it easy to give the response away. What a model "
        "that never saw the rows says too is a guess and no leak."
    ),
)
AGAINST_CAPTION = "Secrets and sampled answers against the reference."


def against_columns(ours: str) -> tuple[str, ...]:
    """Headings of what came out here and there. ours: how the verified model is called."""
    return ("What came out", ours, "Reference", "Only here", "Of", "p")


def secrets_said(sets: Sequence[ScoreSet]) -> list[list[bool | None]]:
    """Whether each row's secrets came out of any deterministic answer; None for those that were never asked for."""
    modes = [m for scores in sets for n, m in scores.elicited.items() if n not in DRAWN and m.secrets is not None]
    rows = zip(*(mode.secrets or [] for mode in modes), strict=True)
    return [[_any(counts) for counts in zip(*row, strict=True)] for row in rows]


@dataclass(frozen=True)
class Said:
    """What deterministic answers repeat of a row's response. answers: those in which something of it could be seen;
    guessable: those of them in which that is an identifier; by_words: whether one repeats so much that nobody guesses
    it."""

    answers: int = 0
    guessable: int = 0
    repeated: bool = False
    by_words: bool = False

    def and_also(self, more: Said) -> Said:
        """Of the answers of both."""
        return Said(
            self.answers + more.answers,
            self.guessable + more.guessable,
            self.repeated or more.repeated,
            self.by_words or more.by_words,
        )


def said(rows: ScoreSet, modes: Iterable[str]) -> list[Said]:
    """Of each row by any answer in these modes, (n,)."""
    found = [Said()] * len(rows.names)
    for mode in modes:
        answers = rows.elicited.get(mode)
        if answers is None or answers.verbatim is None:
            continue
        by_words_alone = answers.by_words or [None] * len(found)
        for row, (count, by_words) in enumerate(zip(answers.verbatim, by_words_alone, strict=True)):
            if count is not None:
                found[row] = found[row].and_also(Said(1, int(not by_words), count > 0, count > 0 and bool(by_words)))
    return found


def whole_said(scores: ScoreSet) -> list[bool | None]:
    """Whether any deterministic answer repeats each row's whole response; None for rows that were never asked."""
    modes = [mode.whole for name, mode in scores.elicited.items() if name not in DRAWN and mode.whole is not None]
    return [_any(counts) for counts in zip(*modes, strict=True)]


def _any(counts: Sequence[int | None]) -> bool | None:
    asked = [count for count in counts if count is not None]
    return any(asked) if asked else None
