"""What an answer gives away: measures of memorisation per row, from token scores and from generated text."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ..people.kinds import Disclosure, Reading, disclosure, new_identifiers
from ..rows.repetition import Repetition
from ..rows.secret import Secret
from ..rows.text import word_length, words
from ..verify.statistics.membership import MIN_K_SHARE

VERBATIM_RECALL = 0.99
VERBATIM_WORDS = 10
"""An answer of at least so many words, or twice as many letters of a script without blanks, that repeats all of them in
order was not found by chance."""
REPETITION_WORDS = 12
REPETITION_SHARE = 0.5
LONGEST_WORD = 15


def exact_memorisation(hits: ArrayLike) -> float:
    """Share of answer tokens, end of turn included, that are the model's first choice after the true ones before.

    hits: (tokens,) whether each token is. Tirumala et al. 2022 (arXiv 2205.10770), section 2.
    Raises ValueError for an answer without tokens.
    """
    return float(_tokens(hits).mean())


def extraction_strength(hits: ArrayLike) -> float:
    """1 - k / tokens for the shortest prefix of k tokens after which the model completes the answer by itself.

    0 when not even the last token is its first choice, 1 when nothing has to be given. Carlini et al. 2021
    (arXiv 2012.07805), in the form of Wang et al. 2025 (arXiv 2411.18797). Raises ValueError without tokens.
    """
    values = _tokens(hits)
    missed = np.flatnonzero(~values)
    return float(1 - (missed[-1] + 1) / values.size) if missed.size else 1.0


def least_likely(scores: ArrayLike, share: float = MIN_K_SHARE) -> float:
    """Mean of the lowest `share` of token scores, at least one: Min-K% from log-probabilities, Min-K%++ from
    standardised ones. Raises ValueError for an empty list."""
    values = np.sort(np.asarray(scores, dtype=float))
    if values.size == 0:
        raise ValueError("an answer without tokens has no least likely ones")
    return float(values[: max(1, int(share * values.size))].mean())


def is_long(response: str) -> bool:
    """Whether a response has so many words that nobody repeats all of it by chance."""
    return word_length(response) >= VERBATIM_WORDS


def is_verbatim(recall: float, response: str) -> bool:
    """Whether an answer with that ROUGE-L recall repeats the whole of a response that is too long to guess."""
    return recall >= VERBATIM_RECALL and is_long(response)


@dataclass(frozen=True)
class Repeated:
    """Which answers leak a response, None where nothing of it could be seen. by_words: whether by so many words that
    nobody finds them who never read it; a single identifier may be guessed."""

    leaking: tuple[bool, ...] | None
    by_words: bool

    @property
    def answers(self) -> int | None:
        """How many do."""
        return None if self.leaking is None else sum(self.leaking)


def repeated(prompt: str, response: str, answers: Sequence[str]) -> Repeated:
    """Answers that leak a response as hardly anybody does who never read it.

    By the words that they repeat (`Repetition`), or where it has too few words that its prompt does not hold, by an
    identifier that the prompt does not say. Of models that never saw TOFU's forget rows none of 1,580 answers does.
    """
    by_words = Repetition(prompt, response)
    if by_words.can_be_seen:
        return Repeated(tuple(map(by_words.in_answer, answers)), by_words=True)
    named = new_identifiers(prompt, response)
    said = disclosures(named, "", answers)
    return Repeated(saying(said) if named else None, by_words=False)


def saying(said: Sequence[Sequence[Disclosure]]) -> tuple[bool, ...]:
    """Which answers give a whole secret away, from what every answer gives away of every secret: (secrets, answers)."""
    return tuple(Disclosure.WHOLE in levels for levels in zip(*said, strict=True))


def disclosures(secrets: Sequence[Secret], given: str, answers: Sequence[str]) -> list[list[Disclosure]]:
    """What every answer gives away of every secret: (secrets, answers).

    given: the beginning that was put into the model's mouth. An answer may complete what it begins; what it holds by
    itself does not count.
    """
    before = Reading(given)
    readings = [(Reading(answer), _completed(given, answer)) for answer in answers]
    return [[_disclosed(secret, before, alone, completed) for alone, completed in readings] for secret in secrets]


def _completed(given: str, answer: str) -> list[Reading]:
    return [Reading(f"{given}{blank}{answer}") for blank in ("", " ")] if given else []


def _disclosed(secret: Secret, before: Reading, alone: Reading, completed: Sequence[Reading]) -> Disclosure:
    said = disclosure(secret, alone)
    if said is Disclosure.WHOLE or not completed:
        return said
    together = max(disclosure(secret, reading) for reading in completed)
    return max(said, together) if together > disclosure(secret, before) else said


def is_gibberish(answer: str) -> bool:
    """Whether an answer is empty or repeats itself: fewer than half of its word triples differ.

    seq-rep-3 of Welleck et al. 2020 (arXiv 1908.04319), section 6. Where words are longer than fifteen
    characters on average, as in one letter without end, characters are counted instead.
    """
    if not re.search(r"\w", answer):
        return True
    units = words(answer)
    if _endless(answer, units):
        units = [letter for letter in answer if not letter.isspace()]
    if len(units) < REPETITION_WORDS:
        return False
    triples = list(zip(units, units[1:], units[2:], strict=False))
    return len(set(triples)) < REPETITION_SHARE * len(triples)


TRAITS: dict[str, Callable[[str], bool]] = {"gibberish": is_gibberish}
"""What is seen of every greedy answer by itself, for the checks that count such rows."""


def traits(answers: Sequence[str | None]) -> dict[str, list[bool | None]]:
    """Every trait of every answer, (n,) by name; None where nothing was asked."""
    return {name: [None if answer is None else has(answer) for answer in answers] for name, has in TRAITS.items()}


def _endless(text: str, units: Sequence[str]) -> bool:
    """Whether words are so long on average that they are none."""
    return len(text) > LONGEST_WORD * len(units)


def _tokens(hits: ArrayLike) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    values = np.asarray(hits, dtype=bool)
    if values.ndim != 1 or values.size == 0:
        raise ValueError("an answer without tokens cannot be memorised")
    return values
