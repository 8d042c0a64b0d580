"""Rows that no model saw: checked, and cut into a half that calibrates and a half that judges."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from ..errors import InputError
from .conversations import Conversations, by_conversation
from .row import Row

FEWEST = 20
"""Rows below which a distribution cannot be estimated."""


def check_unseen(path: Path, rows: Sequence[Row], known: Iterable[Row]) -> None:
    """Raise InputError for a holdout row that is to be forgotten or retained: a model did see it."""
    # The known rows may be a large file, so they pass by.
    seen = {row.key for row in rows}.intersection(row.key for row in known)
    for row in rows:
        if row.key in seen:
            raise InputError(path, "is one of the rows to forget or to retain, so it is no holdout", row.name)


def check_apart(path: Path, rows: Sequence[Row], forget: Sequence[Row]) -> None:
    """Raise InputError for a holdout row of whose conversation another turn or answer is to be forgotten."""
    conversations = Conversations({row.key for row in forget})
    conversations.add(rows, np.arange(len(rows)))
    for position in conversations.positions()[:1].tolist():
        why = "is of a conversation of which rows are to be forgotten, so it is no holdout"
        raise InputError(path, why, rows[position].name)


def check_marked(path: Path, rows: Sequence[Row], forget: Sequence[Row]) -> None:
    """Raise InputError where forget rows mark parts of their responses and no holdout row does, or the other way round:
    what is scored of the two would be unlike."""
    own, other = (any(row.spans for row in some) for some in (rows, forget))
    if own != other:
        why = "no row has spans, and rows to forget have; mark what is like the parts that they mark"
        raise InputError(path, "has spans, and no row to forget has" if own else why)


def for_calibration(path: Path, rows: Sequence[Row], share: float, seed: int) -> list[Row]:
    """The holdout rows that say where forgetting ends, a random share of them; the others are left for the verdict.

    Identical rows stay together, and those of a conversation. Raises InputError if they are too few to tell a
    distribution.
    """
    conversations = list(by_conversation(rows))
    keys = sorted({own[0].key for own in conversations})
    order = np.random.default_rng([seed, len(keys)]).permutation(len(keys))
    chosen = {keys[place] for place in order[: round(share * len(keys))]}
    if len(chosen) < FEWEST:
        least = int(np.ceil(FEWEST / share))
        raise InputError(path, f"holds {len(keys)} different rows or conversations; calibration needs {least} or more")
    return [row for own in conversations if own[0].key in chosen for row in own]


def for_verdict(rows: Sequence[Row], calibrated: Iterable[Row]) -> list[Row]:
    """The holdout rows that calibration did not use."""
    used = {row.key for row in calibrated}
    return [row for row in rows if row.key not in used]
