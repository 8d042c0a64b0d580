"""What generated answers say of the rows: what the checks of leaks share."""

from __future__ import annotations

from collections.abc import Sequence

from ...model.scores import SAMPLED, ScoreSet
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
    modes = [m for scores in sets for n, m in scores.elicited.items() if n != SAMPLED and m.secrets is not None]
    rows = zip(*(mode.secrets or [] for mode in modes), strict=True)
    return [[_any(counts) for counts in zip(*row, strict=True)] for row in rows]


def whole_said(scores: ScoreSet) -> list[bool | None]:
    """Whether any deterministic answer repeats each row's whole response; None for rows that were never asked."""
    modes = [mode.whole for name, mode in scores.elicited.items() if name != SAMPLED and mode.whole is not None]
    return [_any(counts) for counts in zip(*modes, strict=True)]


def _any(counts: Sequence[int | None]) -> bool | None:
    asked = [count for count in counts if count is not None]
    return any(asked) if asked else None
