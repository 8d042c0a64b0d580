"""Scores as they are written and judged: as fine as the statistics need, and no finer.

How long somebody's answers are, in tokens, tells them from others to whoever has texts to try, without any model. So
every row of a request gets the median length of its set (a short one a sixth of it), with its own log-probability for
each token; sums remain only where a response could come out of samples. Rows of other sets belong to nobody who asked,
and stay as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from statistics import median_high
from typing import Any

from .scores import LEAST_LIKELY, Elicited, Exposure, Scores, ScoreSet, Standing

KEPT_SETS = frozenset({"retain", "holdout", "real_authors", "world_facts"})
"""Sets that hold no row of a request."""
SHORT = 6
"""Part of the median length up to which an answer is a short one. With halves tests/privacy/guessing.py tells 2.9 of 12
people beyond chance, with sixths 0.7."""
NATS = 0.001
"""Step of log-probabilities for each token, a hundredth of what two models that never saw a row differ by."""
SUM_NATS = 0.5
"""Step of summed log-probabilities. A chance among samples is wrong by at most a quarter of its logarithm's unit, where
the limit and the reference's are powers of ten apart."""
RECALL = 0.2
"""Step of ROUGE-L recall, which tells how many words a response has: what leaked is counted before. The mean stays."""
HITS = 0.05
"""Step of the share of a row's tokens that are first choices. With steps of .1 models that never saw a person's five
rows pass in .85 of cases instead of .98 (tofu-mini's pair in tests/calibration/real_noise.py)."""
STRENGTH = 0.1
"""Step of extraction strength, in which less is decided: with .05 tests/privacy/guessing.py tells 1.1 of 12 people
beyond chance, with .1 half of that."""
FACTS = 0.125
"""Step of the share of fact tokens, of which a row has fewer. With .1 the same guesser, told which they are, tells 1.6
of 12 people beyond chance, with .125 0.4; with .2 equal models pass at five rows in .78 of cases instead of .95."""

DEVIATIONS = 0.01
"""Step in which a secret's place among other strings is written, of their standard deviation."""
FARTHEST = 20.0
"""Deviations beyond which a secret stands no farther out: how far the start model's do tells of their lengths, and what
does so is remembered at any level."""


def coarse(scores: Scores, beside: Scores | None = None) -> Scores:
    """The scores of a model without the lengths of the request's rows. Doing so twice changes nothing more.

    beside: of the model that it is compared with, as they were measured. A set that it has in other tokens gets
    another length than there, so that it is still seen that the two cannot be compared token by token.
    """
    others = beside.sets if beside else {}
    sets = {
        name: rows if name in KEPT_SETS else _coarse(rows, others.get(name, rows), sums=scores.role != "start")
        for name, rows in scores.sets.items()
    }
    return scores.model_copy(update={"sets": sets})


def _coarse(rows: ScoreSet, other: ScoreSet, *, sums: bool) -> ScoreSet:
    """sums: keep those that could come out of samples. Of the start model nobody asks that, and since it knows the rows
    its sums would tell all lengths."""
    changes: dict[str, Any] = {
        **_answers(rows, other),
        **_paraphrases(rows),
        **_perturbed(rows, other),
        "response_logp": (rows.response_logp or [_sum(value) for value in rows.answer_logp]) if sums else None,
        "min_k": _each(rows.min_k, NATS),
        "min_k_plus_plus": _each(rows.min_k_plus_plus, NATS),
        "exact_memorisation": _each(rows.exact_memorisation, HITS),
        "extraction_strength": _each(rows.extraction_strength, STRENGTH),
        "facts": rows.facts and rows.facts.each(lambda value: _rounded(value, FACTS)),
        "exposure": _exposure(rows.exposure) if rows.exposure else None,
        "elicited": {mode: _elicited(part) for mode, part in rows.elicited.items()},
    }
    return rows.model_copy(update=changes)


def _answers(rows: ScoreSet, other: ScoreSet) -> dict[str, Any]:
    lengths = _lengths(rows.answer_tokens)
    if rows.answer_tokens not in (other.answer_tokens, lengths) and lengths == _lengths(other.answer_tokens):
        lengths = [length + 1 for length in lengths]
    return {"answer_logp": _means(rows.answer_logp, rows.answer_tokens, lengths), "answer_tokens": lengths}


def _paraphrases(rows: ScoreSet) -> dict[str, Any]:
    if rows.paraphrase_logp is None or rows.paraphrase_tokens is None:
        return {}
    lengths = [median_high(rows.paraphrase_tokens)] * len(rows.names)
    logp = _means(rows.paraphrase_logp, rows.paraphrase_tokens, lengths)
    return {"paraphrase_logp": logp, "paraphrase_tokens": lengths}


def _perturbed(rows: ScoreSet, other: ScoreSet) -> dict[str, Any]:
    if rows.perturbed_logp is None or rows.perturbed_tokens is None:
        return {}
    there = other.perturbed_tokens or rows.perturbed_tokens
    length = median_high(chain.from_iterable(rows.perturbed_tokens))
    exact = len(set(chain.from_iterable(rows.perturbed_tokens))) > 1
    if exact and rows.perturbed_tokens != there and length == median_high(chain.from_iterable(there)):
        length += 1
    lengths = [[length] * len(tokens) for tokens in rows.perturbed_tokens]
    pairs = zip(rows.perturbed_logp, rows.perturbed_tokens, lengths, strict=True)
    return {"perturbed_logp": [_means(*pair) for pair in pairs], "perturbed_tokens": lengths}


def _lengths(tokens: Sequence[int]) -> list[int]:
    """The median, for short answers a sixth of it, a sixth of that ...: the scores of short ones have more noise."""
    middle = median_high(tokens)
    return [length_class(length, middle) for length in tokens]


def length_class(length: int, middle: int) -> int:
    """`middle`, or the least of its sixths, sixths of these ... that is not below `length`."""
    written = middle
    while written // SHORT >= length:
        written //= SHORT
    return written


def _means(logp: Sequence[float], tokens: Sequence[int], lengths: Sequence[int]) -> list[float]:
    """Log-probabilities for each token, as sums over so many of them."""
    rows = zip(logp, tokens, lengths, strict=True)
    return [round(_rounded(value / count, NATS) * length, 3) + 0.0 for value, count, length in rows]


def _sum(logp: float) -> float | None:
    return _rounded(logp, SUM_NATS) if logp >= LEAST_LIKELY else None


def _each(values: Sequence[float] | None, step: float) -> list[float] | None:
    return None if values is None else [_rounded(value, step) for value in values]


def _carried(values: Sequence[float | None], step: float) -> list[float | None]:
    """To steps, what rounding took from one value going to the next, so that the mean stays what it was."""
    written: list[float | None] = []
    owed = 0.0
    for value in values:
        if value is None:
            written.append(None)
            continue
        nearest = _rounded(min(max(value + owed, 0.0), 1.0), step)
        owed += value - nearest
        written.append(nearest)
    return written


def _elicited(part: Elicited) -> Elicited:
    return part.model_copy(update={"recall": _carried(part.recall, RECALL)})


def _exposure(exposure: Exposure) -> Exposure:
    return exposure.model_copy(update={"rows": [[_standing(one) for one in row] for row in exposure.rows]})


def _standing(one: Standing) -> Standing:
    if one.secret is None:
        return one
    secret = _rounded(min(max(one.secret, -FARTHEST), FARTHEST), DEVIATIONS)
    return Standing(secret=secret, others=[_rounded(value, DEVIATIONS) for value in one.others])


def _rounded(value: float, step: float) -> float:
    """To a whole number of steps, in the shortest decimal."""
    return round(round(value / step) * step, 3) + 0.0  # no negative zero
