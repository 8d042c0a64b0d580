"""Per-row metrics of what a model knows, from log-probabilities and answers.

All log-probabilities are natural logarithms, summed over the tokens of an answer with its end-of-sequence
token; lengths are token counts that include it too. Definitions follow TOFU (Maini et al. 2024, arXiv
2401.06121, section 2.2) and the code that its published numbers come from.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..rows.text import words

Floats = NDArray[np.float64]

TRUTH_RATIO_VARIANT = "geometric"
"""Mean over the perturbed answers that `truth_ratio` uses. Under the KS test the geometric and the arithmetic
mean give different results, so every output names the one it used."""


def per_token(logp: ArrayLike, tokens: ArrayLike) -> Floats:
    """Mean log-probability of a token: (n,) nats.

    Raises ValueError when the shapes differ, a length is not positive or a value is NaN.
    """
    sums, lengths = np.asarray(logp, dtype=float), np.asarray(tokens, dtype=float)
    if sums.shape != lengths.shape:
        raise ValueError(f"{sums.shape} log-probabilities but {lengths.shape} lengths")
    if (lengths <= 0).any():
        raise ValueError("an answer without tokens has no probability per token")
    if np.isnan(sums).any():
        raise ValueError("a log-probability is NaN")
    means: Floats = sums / lengths
    return means


def probability(logp: ArrayLike, tokens: ArrayLike) -> Floats:
    """Length-normalised probability exp(logp / tokens), (n,) in [0, 1] (TOFU, "Probability")."""
    return np.exp(per_token(logp, tokens))


def truth_ratio(
    paraphrase_logp: ArrayLike,
    paraphrase_tokens: ArrayLike,
    perturbed_logp: Sequence[ArrayLike],
    perturbed_tokens: Sequence[ArrayLike],
    *,
    arithmetic: bool = False,
) -> Floats:
    """TOFU's truth ratio of each row: wrong answers' probability over the right (paraphrased) one's, (n,).

    R = exp(mean_j log p_perturbed_j) / p_paraphrased with p = exp(logp / tokens): the geometric mean over the
    wrong answers, as in the code behind TOFU's and NPO's published forget quality. Rows may have different
    numbers of wrong answers. R near or above 1 means that the truth is no likelier than the alternatives.
    arithmetic: the mean of the wrong answers' p instead, as in TOFU's published model utility.

    Raises ValueError for a row without a perturbed answer, and as `per_token` does.
    """
    return np.exp(
        log_truth_ratio(paraphrase_logp, paraphrase_tokens, perturbed_logp, perturbed_tokens, arithmetic=arithmetic)
    )


def log_truth_ratio(
    paraphrase_logp: ArrayLike,
    paraphrase_tokens: ArrayLike,
    perturbed_logp: Sequence[ArrayLike],
    perturbed_tokens: Sequence[ArrayLike],
    *,
    arithmetic: bool = False,
) -> Floats:
    """The logarithm of `truth_ratio`, (n,) nats a token, which is finite where the ratio itself is not."""
    right = per_token(paraphrase_logp, paraphrase_tokens)
    if not len(perturbed_logp) == len(perturbed_tokens) == len(right):
        raise ValueError(f"{len(right)} paraphrases but {len(perturbed_logp)} sets of perturbed answers")
    wrong = np.empty_like(right)
    for row, (logp, tokens) in enumerate(zip(perturbed_logp, perturbed_tokens, strict=True)):
        values = per_token(logp, tokens)
        if values.size == 0:
            raise ValueError("a row without perturbed answers has no truth ratio")
        wrong[row] = np.logaddexp.reduce(values) - np.log(values.size) if arithmetic else values.mean()
    return wrong - right


def choice_probability(
    answer_logp: ArrayLike,
    answer_tokens: ArrayLike,
    perturbed_logp: Sequence[ArrayLike],
    perturbed_tokens: Sequence[ArrayLike],
) -> Floats:
    """Probability of the true answer among the given ones: p_true / (p_true + sum p_wrong), (n,) in [0, 1].

    p = exp(logp / tokens). TOFU's probability of real authors and world facts. Raises ValueError as `truth_ratio`.
    """
    right = per_token(answer_logp, answer_tokens)
    if not len(perturbed_logp) == len(perturbed_tokens) == len(right):
        raise ValueError(f"{len(right)} answers but {len(perturbed_logp)} sets of perturbed answers")
    # In logarithms: where every probability underflows to 0, their shares are still known.
    rows = zip(right, perturbed_logp, perturbed_tokens, strict=True)
    wrong = [np.exp(np.minimum(per_token(logp, tokens) - own, 700)).sum() for own, logp, tokens in rows]
    if not all(np.size(np.asarray(logp)) for logp in perturbed_logp):
        raise ValueError("a row without perturbed answers has no choice")
    shares: Floats = 1 / (1 + np.array(wrong))
    return shares


def forget_truth_ratio(ratios: ArrayLike) -> float:
    """TOFU's aggregate on forget rows: mean of min(R, 1/R), in [0, 1]; high when truth and falsehood are alike."""
    values = np.asarray(ratios, dtype=float)
    if values.size == 0 or np.isnan(values).any():
        raise ValueError("no truth ratios, or one that is NaN")
    return float(np.minimum(values, 1 / np.maximum(values, np.finfo(float).tiny)).mean())


def useful_truth(ratios: ArrayLike) -> Floats:
    """TOFU's truth ratio on rows to keep: max(0, 1 - R), (n,) in [0, 1]; high when the truth is preferred."""
    useful: Floats = np.maximum(0.0, 1 - np.asarray(ratios, dtype=float))
    return useful


def model_utility(parts: Sequence[float]) -> float:
    """TOFU's model utility: harmonic mean of probability, ROUGE and truth ratio on retain rows, real authors and
    world facts, in [0, 1]; 0 as soon as one of the nine is 0. Raises ValueError unless there are nine."""
    if len(parts) != 9:
        raise ValueError(f"model utility is the mean of nine measures, got {len(parts)}")
    return harmonic_mean(parts)


def harmonic_mean(parts: Sequence[float]) -> float:
    """Harmonic mean of shares, in [0, 1]; 0 as soon as one is 0. Raises ValueError for none, or one that is NaN."""
    if not len(parts) or np.isnan(np.asarray(parts, dtype=float)).any():
        raise ValueError("no measures, or one that is NaN")
    return 0.0 if min(parts) <= 0 else float(len(parts) / sum(1 / part for part in parts))


LOST = 0.15
"""Share of letters and digits that the standard tokenizer may lose of a response. TOFU's English rows lose up to .143,
by names (and one of 4,000 loses .25, by Ukrainian titles), and keep their published ROUGE."""


def _lost(text: str) -> float:
    there = [letter for letter in text if letter.isalnum()]
    return sum(not letter.isascii() for letter in there) / len(there) if there else 1.0


class _AnyScript:
    """Tokenizer for text of which the standard one, which keeps a-z and 0-9 alone, would lose much."""

    def tokenize(self, text: str) -> list[str]:
        return words(text)


class _English:
    """The standard tokenizer with its Porter stemmer, which stems each word once: stemming is most of ROUGE's time."""

    def __init__(self) -> None:
        from nltk.stem.porter import PorterStemmer

        self.stem = lru_cache(maxsize=2**16)(PorterStemmer().stem)

    def tokenize(self, text: str) -> list[str]:
        from rouge_score.tokenize import tokenize

        return [str(word) for word in tokenize(text, self)]


@cache
def _rouge(*, english: bool) -> Any:
    from rouge_score import rouge_scorer  # slow to import, and only needed when answers were generated

    return rouge_scorer.RougeScorer(["rougeL"], tokenizer=_English() if english else _AnyScript())


def rouge_l_recall(responses: Sequence[str], answers: Sequence[str]) -> Floats:
    """ROUGE-L recall of generated `answers` against true `responses`, Porter stemmer on, (n,) in [0, 1].

    The standard tokenizer keeps a-z and 0-9 alone. A response of which that would lose more than LOST is compared by
    the words of its own script instead, without a stemmer: else digits or a foreign name would stand for all of it.
    Raises ValueError when there are not as many answers as responses.
    """
    pairs = zip(responses, answers, strict=True)
    return np.array(
        [_rouge(english=_lost(response) <= LOST).score(response, answer)["rougeL"].recall for response, answer in pairs]
    )
