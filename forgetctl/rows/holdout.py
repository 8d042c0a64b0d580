"""Rows that no model saw: checked, and cut into a half that calibrates and a half that judges."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..train.unseen import FEWEST
from .row import Row, normalise


def check_unseen(path: Path, rows: Sequence[Row], known: Iterable[Row]) -> None:
    """Raise InputError for a holdout row that is to be forgotten or retained: a model did see it."""
    texts = [_text(row) for row in rows]
    # The known rows may be a large file, so they pass by.
    seen = set(texts).intersection(map(_text, known))
    for row, text in zip(rows, texts, strict=True):
        if text in seen:
            raise InputError(path, "is one of the rows to forget or to retain, so it is no holdout", row.line)


def for_calibration(path: Path, rows: Sequence[Row], share: float, seed: int) -> list[Row]:
    """The holdout rows that say where forgetting ends, a random share of them; the others are left for the verdict.

    Identical rows stay together. Raises InputError if they are too few to tell a distribution.
    """
    texts = sorted({_text(row) for row in rows})
    order = np.random.default_rng([seed, len(texts)]).permutation(len(texts))
    chosen = {texts[place] for place in order[: round(share * len(texts))]}
    found = [row for row in rows if _text(row) in chosen]
    if len(chosen) < FEWEST:
        least = int(np.ceil(FEWEST / share))
        raise InputError(path, f"holds {len(texts)} different rows; calibration needs {least} or more")
    return found


def for_verdict(rows: Sequence[Row], calibrated: Iterable[Row]) -> list[Row]:
    """The holdout rows that calibration did not use."""
    used = set(map(_text, calibrated))
    return [row for row in rows if _text(row) not in used]


def _text(row: Row) -> tuple[str, str]:
    return normalise(row.prompt), normalise(row.response)
