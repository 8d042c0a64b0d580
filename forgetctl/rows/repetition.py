"""Whether an answer repeats a response by more words than anybody would find who never read it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate

import numpy as np
from rapidfuzz.distance import LCSseq

from .text import weight, words

RUN_WORDS = 8
"""New words of a response that an answer repeats in one piece, and the fewest by which a response can be told."""
SHARE = 0.8
"""Of a response's words, and of its new ones, that an answer repeats in order."""


class Repetition:
    """The words of a response, and which of them are new: those that its prompt does not hold.

    An answer repeats the response if it has RUN_WORDS new words of it in one piece, with whatever stands between them,
    or SHARE of all its words and of its new words in order (longest common subsequence). Words of the prompt are left
    out because answers begin with them: of models that never saw TOFU's forget rows, 10 to 14 % of the answers have
    eight words in a row of the response, and none of 1,580 has eight new ones or so large a share
    (tests/rows/test_repetition.py).
    """

    def __init__(self, prompt: str, response: str) -> None:
        known = frozenset(words(prompt))
        self._words = words(response)
        self._places = [place for place, word in enumerate(self._words) if word not in known]
        self._new = [self._words[place] for place in self._places]
        self._runs = [f" {' '.join(run)} " for run in self._shortest_runs()]

    @property
    def can_be_seen(self) -> bool:
        """Whether the response has words enough; else nothing can be said of any answer."""
        return sum(map(weight, self._new)) >= RUN_WORDS

    def in_answer(self, answer: str) -> bool:
        """Whether an answer repeats the response."""
        if not self.can_be_seen:
            return False
        spoken = words(answer)
        joined = f" {' '.join(spoken)} "
        return any(run in joined for run in self._runs) or self._mostly(spoken)

    def _shortest_runs(self) -> Iterator[list[str]]:
        """Every piece of the response that begins and ends with a new word and holds just RUN_WORDS of them."""
        lengths = np.array(list(accumulate(map(weight, self._new), initial=0.0)))
        lasts = np.searchsorted(lengths, lengths[:-1] + RUN_WORDS) - 1
        for first, last in zip(self._places, lasts[lasts < len(self._new)], strict=False):
            yield self._words[first : self._places[last] + 1]

    def _mostly(self, spoken: list[str]) -> bool:
        return all(LCSseq.similarity(part, spoken) >= SHARE * len(part) for part in (self._words, self._new))
