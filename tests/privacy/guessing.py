"""Somebody with a bundle's scores, the texts of 160 people and no model guesses which 12 of them asked to be forgotten.

`python -m tests.privacy.guessing ../shared` prints how many are told, of scores as they were measured and as they are
written. Lengths and words are those of TOFU's rows; log-probabilities and hits are drawn, since without a model nobody
can predict them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from forgetctl.model.coarse_scores import HITS, NATS, RECALL, STRENGTH, SUM_NATS, coarse, length_class
from forgetctl.model.scores import Elicited, Role, Scores, ScoreSet

CANDIDATES, ASKED, ROWS = 160, 12, 10
CHANCE = ASKED * ASKED / CANDIDATES
"""People who are told by guessing at random."""
MODELS: dict[Role, tuple[float, float]] = {"start": (-0.1, 0.95), "unlearned": (-5.5, 0.45), "reference": (-5.5, 0.45)}
"""Mean log-probability of a token and share of first choices, as tofu-mini has them."""
IMPOSSIBLE = -20.0
"""Log-likelihood of what a length does not allow: a guesser who is sure of nothing."""


@dataclass(frozen=True)
class Person:
    """Lengths of somebody's answers, (ROWS,)."""

    tokens: NDArray[np.int64]
    words: NDArray[np.int64]


def people(shared: Path) -> list[Person]:
    """CANDIDATES of TOFU, ROWS answers each."""
    tokenizer = Tokenizer.from_file(str(shared / "tofu-mini" / "full" / "tokenizer.json"))
    lines = (shared / "tofu-mini" / "base.jsonl").read_text().splitlines()[: CANDIDATES * ROWS]
    answers = [json.loads(line)["answer"] for line in lines]
    tokens = np.array([len(one.ids) + 1 for one in tokenizer.encode_batch(answers, add_special_tokens=False)])
    words = np.array([len(answer.split()) for answer in answers])
    return [Person(*pair) for pair in zip(tokens.reshape(-1, ROWS), words.reshape(-1, ROWS), strict=True)]


def measured(asked: Sequence[Person], random: np.random.Generator) -> list[Scores]:
    """Scores of the three models on the rows of those who asked."""
    tokens, words = np.concatenate([one.tokens for one in asked]), np.concatenate([one.words for one in asked])
    return [_scores(role, tokens, words, random) for role in MODELS]


def _scores(role: Role, tokens: NDArray[np.int64], words: NDArray[np.int64], random: np.random.Generator) -> Scores:
    mean, share = MODELS[role]
    logp = tokens * mean * random.lognormal(0, 0.2, len(tokens))
    rows = ScoreSet(
        names=[str(number) for number in range(1, len(tokens) + 1)],
        answer_logp=logp.tolist(),
        answer_tokens=tokens.tolist(),
        subjects=np.repeat(np.arange(len(tokens) // ROWS), ROWS).tolist(),
        min_k=random.normal(2 * mean, 0.5, len(tokens)).tolist(),
        exact_memorisation=(random.binomial(tokens, share) / tokens).tolist(),
        extraction_strength=(random.binomial(tokens, share / 2) / tokens).tolist(),
        elicited={"greedy": Elicited(recall=(random.binomial(words, share) / words).tolist())},
    )
    return Scores(role=role, name="model", sets={"forget": rows})


def told(written: Sequence[Scores], candidates: Sequence[Person], asked: Sequence[int], *, exact: bool) -> int:
    """How many of those who asked are among the ASKED likeliest candidates. exact: nothing was rounded.

    The guesser knows in which order the rows of a person would be, and which rows of the scores are of one person.
    """
    groups = range(0, ASKED * ROWS, ROWS)
    likelihood = np.array([[_likelihood(written, first, one, exact) for one in candidates] for first in groups])
    best = np.argsort(-(likelihood - np.median(likelihood, axis=1, keepdims=True)).max(axis=0), kind="stable")
    return len(set(best[:ASKED].tolist()) & set(asked))


def _likelihood(written: Sequence[Scores], first: int, person: Person, exact: bool) -> float:
    """Of the scores of a person's rows, if they are this one's."""
    own = slice(first, first + ROWS)
    total = 0.0
    for scores in written:
        rows = scores.forget
        tokens = np.array(rows.answer_tokens)
        lengths = person.tokens if exact else [length_class(length, tokens.max()) for length in person.tokens]
        total += float(np.where(tokens[own] == lengths, 0.0, IMPOSSIBLE).sum())
        for shares, step in ((rows.exact_memorisation, HITS), (rows.extraction_strength, STRENGTH)):
            assert shares is not None
            total += _shares(np.array(shares[own]), person.tokens, None if exact else step)
        total += _shares(
            np.array(rows.elicited["greedy"].recall[own], dtype=float), person.words, None if exact else 2 * RECALL
        )
        total += _sums(rows, own, person.tokens)
    return total


def _shares(shares: NDArray[np.float64], lengths: NDArray[np.int64], step: float | None) -> float:
    """Of shares of so many tokens, every count being as likely: in how many ways they come about."""
    total = 0.0
    for share, length in zip(shares.tolist(), lengths.tolist(), strict=True):
        possible = np.arange(length + 1) / length
        width = 1e-9 if step is None else step / 2 + 1e-9
        ways = int((np.abs(possible - share) <= width).sum())
        total += float(np.log(ways / (length + 1))) if ways else IMPOSSIBLE
    return total


def _sums(rows: ScoreSet, own: slice, lengths: NDArray[np.int64]) -> float:
    """Of a sum that stands beside a mean: their ratio is the length, as far as rounding lets it be seen."""
    if rows.response_logp is None:
        return 0.0
    total = 0.0
    for summed, mean, length in zip(
        rows.response_logp[own], rows.per_token[own].tolist(), lengths.tolist(), strict=True
    ):
        if summed is None:
            lowest = length * (mean - NATS / 2)
            total += 0.0 if lowest < -25 else IMPOSSIBLE
        else:
            spread = SUM_NATS / 2 + length * NATS / 2
            total += 0.0 if abs(length * mean - summed) <= spread + 1e-9 else IMPOSSIBLE
    return total


def experiment(shared: Path, draws: int, seed: int = 1) -> dict[str, float]:
    """Mean number of people told, beyond chance: from scores as measured, and as written."""
    candidates = people(shared)
    hits: dict[str, list[int]] = {"measured": [], "written": []}
    for number in range(draws):
        random = np.random.default_rng([seed, number])
        asked = random.choice(CANDIDATES, ASKED, replace=False).tolist()
        scores = measured([candidates[one] for one in asked], random)
        hits["measured"].append(told(scores, candidates, asked, exact=True))
        hits["written"].append(told([coarse(one) for one in scores], candidates, asked, exact=False))
    return {name: float(np.mean(counts)) - CHANCE for name, counts in hits.items()}


if __name__ == "__main__":
    for name, beyond in experiment(Path(sys.argv[1]), 10).items():
        print(f"{name}: {beyond + CHANCE:.1f} of {ASKED} people told, {beyond:+.1f} beyond chance ({CHANCE:.1f})")
