"""Texts as short vectors, so that comparing every text with every other begins with one matrix product.

What two texts have in common is bounded, or estimated, by what their profiles have in common. The products are whole
numbers that float32 holds exactly, so every machine gets the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

PIECE = 3
BUCKETS = 1024
LETTERS = 32
STEP = 1.1
LONGEST = 2**26
"""Characters; no line that is read is longer."""

Profiles = NDArray[np.float32]


def pieces(texts: Sequence[str]) -> Profiles:
    """Which three-character pieces each text holds, hashed: (texts, BUCKETS), 0 or 1."""
    found = np.zeros((len(texts), BUCKETS), dtype=np.float32)
    points, owners = _points(texts)
    if len(points) < PIECE:
        return found
    # Knuth's multiplicative hash, whose upper bits are the good ones.
    hashed = np.zeros(len(points) - PIECE + 1, dtype=np.uint32)
    for offset in range(PIECE):
        hashed *= np.uint32(1_000_003)
        hashed ^= points[offset : offset + len(hashed)]
    hashed *= np.uint32(2_654_435_761)
    hashed >>= np.uint32(32 - (BUCKETS.bit_length() - 1))
    within = owners[: len(hashed)] == owners[PIECE - 1 :]
    cells = owners[: len(hashed)] * BUCKETS + hashed
    found.reshape(-1)[cells[within]] = 1
    return found


class CommonLetters:
    """Bounds the longest common subsequence of texts with known ones by the letters that they have in common."""

    def __init__(self, known: Sequence[str]) -> None:
        counts, levels = _letters(known), _levels()
        # A count is written in unary, in steps that grow: a column for every level that a known text's count exceeds.
        self.letter, level = np.nonzero(counts.max(axis=0, initial=0)[:, None] > levels[:-1])
        self.above = levels[level]
        self.steps = (levels[level + 1] - self.above).astype(np.float32)
        self.known = self._profiles(counts) * self.steps

    def bound(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """At least the length of the longest common subsequence, in characters: (known, texts)."""
        return np.asarray(self.known @ self._profiles(_letters(texts)).T)

    def _profiles(self, counts: NDArray[np.int64]) -> Profiles:
        return (counts[:, self.letter] > self.above).astype(np.float32)


def _levels() -> NDArray[np.int64]:
    """Counts from 0 to LONGEST: every one while they are small, then STEP times the last."""
    levels = [0]
    while levels[-1] < LONGEST:
        levels.append(max(levels[-1] + 1, int(levels[-1] * STEP)))
    return np.array(levels)


def _letters(texts: Sequence[str]) -> NDArray[np.int64]:
    """How often each letter occurs, with letters of like code counted as one: (texts, LETTERS)."""
    points, owners = _points(texts)
    cells = owners * LETTERS + (points % LETTERS).astype(np.int64)
    return np.bincount(cells, minlength=len(texts) * LETTERS).reshape(len(texts), LETTERS)


def _points(texts: Sequence[str]) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """The code points of all texts in one array, and the text that each belongs to."""
    points = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    return points, np.repeat(np.arange(len(texts)), [len(text) for text in texts])
