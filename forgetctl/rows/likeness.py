"""Which texts of a large batch are near copies of known ones, hold given strings, or resemble given ones.

The answers are rapidfuzz's and `in`'s own; profiles only spare most of the comparisons. A profile is a text as a short
vector, so that comparing every text with every other begins with one matrix product: what two texts have in common is
bounded, or estimated, by what their profiles have in common. The products are whole numbers that float32 holds exactly,
so every machine gets the same. Texts are compared as they are given: fold case and white space before.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from rapidfuzz import fuzz, process

BLOCK = 512
"""Known texts that are compared with a batch at once, which bounds the memory for many of them."""
HEAD = 6
"""Letters that a wanted string is looked up by, if it has so many."""
SPARE_BITS = 8
PIECE = 3
BUCKETS = 1024
LETTERS = 32
STEP = 1.1
LONGEST = 2**26
"""Characters; no line that is read is longer."""

Profiles = NDArray[np.float32]


def _blocks(count: int, size: int) -> Iterator[slice]:
    return (slice(start, start + size) for start in range(0, count, size))


def _lengths(texts: Sequence[str]) -> NDArray[np.int64]:
    return np.fromiter((len(text) for text in texts), dtype=np.int64, count=len(texts))


class NearDuplicates:
    """Finds the texts whose Indel similarity to any known text is at least `threshold` (0 to 100)."""

    def __init__(self, known: Collection[str], threshold: float) -> None:
        ordered = sorted(set(known), key=lambda text: (len(text), text))
        self.threshold = threshold
        self.blocks = [(ordered[block], CommonLetters(ordered[block])) for block in _blocks(len(ordered), BLOCK)]

    def among(self, texts: Sequence[str]) -> NDArray[np.bool_]:
        """Which of the texts are near duplicates."""
        where = {text: position for position, text in enumerate(dict.fromkeys(texts))}
        near = self._distinct(list(where))
        return near[[where[text] for text in texts]]

    def _distinct(self, texts: Sequence[str]) -> NDArray[np.bool_]:
        near = np.zeros(len(texts), dtype=np.bool_)
        lengths = _lengths(texts)
        for known, letters in self.blocks:
            # The similarity is twice the longest common subsequence over both lengths; half a letter is for rounding.
            needed = self.threshold / 200 * (_lengths(known)[:, None] + lengths) - 0.5
            first, second = np.nonzero((letters.bound(texts) >= needed) & ~near)
            scores = process.cpdist(
                [known[int(i)] for i in first],
                [texts[int(i)] for i in second],
                scorer=fuzz.ratio,
                score_cutoff=self.threshold,
                dtype=np.uint8,
                workers=-1,
            )
            near[second[scores > 0]] = True
        return near


class Substrings:
    """Finds which wanted strings texts hold: all of them in one pass, however many they are.

    Every place of every text is looked up by a hash of the letters there, as many as a wanted string begins with (Rabin
    and Karp 1987); what has the right hash is compared.
    """

    def __init__(self, wanted: Sequence[str]) -> None:
        self.wanted = wanted
        self._heads: dict[int, dict[str, list[int]]] = {}
        for number, text in enumerate(wanted):
            size = min(len(text), HEAD)
            self._heads.setdefault(size, {}).setdefault(text[:size], []).append(number)
        self._tables = {size: _table(heads, size) for size, heads in self._heads.items() if size}

    def pairs(self, texts: Sequence[str]) -> Iterator[tuple[int, int]]:
        """Positions of a text and of a wanted string that it holds, each pair once; the empty string is in all."""
        held = {(text, number) for number in self._heads.get(0, {}).get("", ()) for text in range(len(texts))}
        points, owners = _points(texts)
        joined, ends = "".join(texts), np.cumsum(_lengths(texts))
        for size, table in self._tables.items():
            hashed = _hashed(points, size, len(table).bit_length() - 1)
            for place in np.flatnonzero(table[hashed]).tolist():
                text = int(owners[place])
                for number in self._heads[size].get(joined[place : place + size], ()):
                    if joined.startswith(self.wanted[number], place, int(ends[text])):
                        held.add((text, number))
        yield from sorted(held)


def _table(heads: Collection[str], size: int) -> NDArray[np.bool_]:
    """Which hashes strings of a size have, in a table so large that few others fall on theirs."""
    bits = min(max(len(heads).bit_length() + SPARE_BITS, 16), 24)
    table = np.zeros(2**bits, dtype=np.bool_)
    table[_hashed(_points(list(heads))[0], size, bits)[::size]] = True
    return table


def _hashed(points: NDArray[np.uint32], size: int, bits: int) -> NDArray[np.uint32]:
    """A hash of so many bits for every `size` code points in a row; none where there are fewer."""
    hashed = np.zeros(max(len(points) - size + 1, 0), dtype=np.uint32)
    for offset in range(size):
        hashed *= np.uint32(1_000_003)
        hashed ^= points[offset : offset + len(hashed)]
    # Knuth's multiplicative hash, whose upper bits are the good ones.
    hashed *= np.uint32(2_654_435_761)
    hashed >>= np.uint32(32 - bits)
    return hashed


class Shortlist:
    """Keeps, for every query, the `size` texts that share the most with it, of any number seen batch by batch.

    Texts are ranked by their shared pieces over both lengths, an estimate of the similarity itself.
    """

    def __init__(self, queries: Sequence[str], size: int) -> None:
        self.size = size
        self.lengths = _lengths(queries)
        self.profiles = pieces(queries)
        self.best = np.zeros((len(queries), size), dtype=np.uint64)

    def add(self, texts: Sequence[str], profiles: Profiles, ids: NDArray[np.int64]) -> None:
        """Consider texts with their ids, below 2**32 and all different; of equals the lowest are kept."""
        lengths = _lengths(texts)
        last = np.uint64(2**32 - 1) - ids.astype(np.uint64)
        for block in _blocks(len(self.best), BLOCK):
            likeness = (self.profiles[block] @ profiles.T) / (self.lengths[block, None] + lengths).astype(np.float32)
            # One number a pair, likeness before id: bits of non-negative floats rank like the floats.
            keys = likeness.view(np.uint32).astype(np.uint64) << np.uint64(32) | last
            merged = np.concatenate([self.best[block], keys], axis=1)
            self.best[block] = np.partition(merged, -self.size, axis=1)[:, -self.size :]

    def ids(self) -> list[NDArray[np.int64]]:
        """The ids that were kept for each query, in no order."""
        return [(2**32 - 1 - (row[row > 0] & np.uint64(2**32 - 1))).astype(np.int64) for row in self.best]


def similarity(queries: Sequence[str], texts: Sequence[str]) -> NDArray[np.uint8]:
    """The token sort ratio of every query and text, 0 to 100: (queries, texts)."""
    # fuzz.token_sort_ratio would sort the words of both again for each pair.
    first, second = ([" ".join(sorted(text.split())) for text in part] for part in (queries, texts))
    # A text that is so much longer scores less than one half, which is rounded to 0; it may be far too long to compare.
    longest = max(map(len, first), default=0)
    far = np.array([len(text) > 400 * longest for text in second], dtype=np.bool_)
    near = ["" if skipped else text for text, skipped in zip(second, far, strict=True)]
    scores = np.asarray(process.cdist(first, near, scorer=fuzz.ratio, dtype=np.uint8, workers=-1))
    scores[:, far] = 0
    return scores


def descending(scores: NDArray[np.uint8]) -> NDArray[np.intp]:
    """Indices by falling score, equals in order."""
    return np.argsort(-scores.astype(np.int16), kind="stable")


def pieces(texts: Sequence[str]) -> Profiles:
    """Which three-character pieces each text holds, hashed: (texts, BUCKETS), 0 or 1."""
    profiles = np.zeros((len(texts), BUCKETS), dtype=np.float32)
    points, owners = _points(texts)
    if len(points) < PIECE:
        return profiles
    hashed = _hashed(points, PIECE, BUCKETS.bit_length() - 1)
    within = owners[: len(hashed)] == owners[PIECE - 1 :]
    cells = owners[: len(hashed)] * BUCKETS + hashed
    profiles.reshape(-1)[cells[within]] = 1
    return profiles


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
