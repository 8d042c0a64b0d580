"""Per-row scores of one model, as `verify` writes them.

Scores hold numbers only. Statistics can be redone from them without a model.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveInt, model_validator

from ..people.attack_prompts import AS_ASKED
from ..people.in_place import Reason
from ..verify.statistics.resampling import FEWEST_SUBJECTS, Units
from ..verify.statistics.shapes import RowName, Share
from . import metrics
from .sampling import Sampling
from .taught import Taught

Floats = NDArray[np.float64]
Role = Literal["start", "unlearned", "reference"]
GREEDY, SAMPLED, SERVED = "greedy", "sampled", "as served"
DRAWN = frozenset({SAMPLED, SERVED})
"""Ways of asking that leave answers to chance: from the model's own distribution, and as its owner decodes."""
SCHEMA: Literal[4] = 4
LEAST_LIKELY = -25.0
"""Nats below which no response comes out of samples: 1.4e-7 among 10,000."""
REPHRASED = "rephrased-"
"""What the names of sets begin with that ask for the forget rows in other words, row by row."""
LIKELY_FACT = 0.1
"""Probability after the true tokens before it above which a model may well say a fact."""
UNNAMED = -1
"""Subject of rows that name none, where others do."""


ATTACK = "attack-"
"""The same of the sets in which forgetctl asks in its own other words, a round each (`people.attack_prompts`)."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Elicited(_Part):
    """What generated answers gave away, one entry a row; None for rows that were not asked.

    answers: how many were generated for each row. recall: the best ROUGE-L recall among them. secrets: for each of
    the row's secrets, in how many of them it came out, in any spelling; parts: in how many others only a part of it did
    (`people.kinds.Disclosure`). whole: how many repeat the whole response, None where that is too short to tell.
    verbatim: how many leak the response by its words or by an identifier (`extraction.repeated`), None where nothing of
    it could be seen; by_words: whether by words, which nobody guesses. traits: what is seen of a greedy answer by
    itself, by name: see `extraction.TRAITS`. leaked: of answers that were drawn, how many leak the response or say a
    secret, None where neither could be seen. sampling: how they were drawn, None as the model's own distribution has
    it.
    """

    answers: PositiveInt = 1
    recall: list[float | None]
    secrets: list[list[NonNegativeInt | None]] | None = None
    parts: list[list[NonNegativeInt | None]] | None = None
    whole: list[NonNegativeInt | None] | None = None
    verbatim: list[NonNegativeInt | None] | None = None
    by_words: list[bool | None] | None = None
    traits: dict[str, list[bool | None]] = {}
    leaked: list[NonNegativeInt | None] | None = None
    sampling: Sampling | None = None

    @model_validator(mode="after")
    def _no_more_than_asked(self) -> Elicited:
        by_secret = [count for rows in (self.secrets, self.parts) for row in rows or [] for count in row]
        counts = [*by_secret, *(self.whole or []), *(self.verbatim or []), *(self.leaked or [])]
        if any(count > self.answers for count in counts if count is not None):
            raise ValueError(f"more leaks than the {self.answers} answers")
        return self


class Wording(_Part):
    """In which words a set was asked: how many rows by each template of attack prompts, of that version."""

    version: PositiveInt
    templates: dict[str, PositiveInt]

    @property
    def prompts(self) -> int:
        """Rows that were asked in other words than the request's."""
        return sum(count for name, count in self.templates.items() if name != AS_ASKED)


class Standing(_Part):
    """A secret among other strings in its place of the row's response: how likely a model makes each, in standard
    deviations of the others from their mean, so that no length shows.

    Log-probabilities are of whole strings, all tokens together, as in Carlini et al. 2019 (arXiv 1802.08232). secret:
    None where it has no place, for the reason. others: in the same order for every model.
    """

    secret: float | None
    others: list[float] = []
    reason: Reason | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Standing:
        if (self.secret is None) != (self.reason is not None) or (self.secret is None) != (not self.others):
            raise ValueError("a secret stands among others, or there is a reason why not")
        return self


class Exposure(_Part):
    """Where each of the rows' secrets stands. version: of how the others are made; strings, left_out: as
    `people.in_place.Places`."""

    version: PositiveInt
    strings: PositiveInt
    left_out: NonNegativeInt
    rows: list[list[Standing]]

    def same_strings(self, other: Exposure) -> bool:
        """Whether both stand among the same others, as far as numbers tell."""
        return (
            (self.version, self.strings, self.left_out) == (other.version, other.strings, other.left_out)
            and [len(row) for row in self.rows] == [len(row) for row in other.rows]
            and all(
                len(mine.others) == len(theirs.others)
                for row, there in zip(self.rows, other.rows, strict=True)
                for mine, theirs in zip(row, there, strict=True)
                if mine.others and theirs.others
            )
        )


class FactTokens(_Part):
    """What a model says of the tokens that only the rows themselves tell (`usage`), after the true ones before.

    pairs, different: tokens of the retain answers that decided which these are, and different pairs among them; where
    either is another, so may be the facts. tokens: the median number of facts in a row. first_choices: (rows,) share of
    them that are the model's first choice, None for a row without any. likely: share of those of all rows that have a
    probability above LIKELY_FACT.
    """

    pairs: PositiveInt
    different: PositiveInt
    tokens: PositiveInt
    first_choices: list[Share | None]
    likely: Share

    def each(self, rounded: Callable[[float], float]) -> FactTokens:
        """With every row's share rounded."""
        shares = [None if value is None else rounded(value) for value in self.first_choices]
        return self.model_copy(update={"first_choices": shares})


class ScoreSet(_Part):
    """Scores of one set of rows, in file order. Log-probabilities are sums in nats, over `*_tokens` tokens.

    In files, rows of a request have the median length of their set and log-probabilities to match (`coarse_scores`).

    Lists that were not measured are None. names: as `Row.record_name`. subjects, copies, conversations: equal numbers
    for rows of the same subject (UNNAMED where a row names none), for identical rows, and for turns of the same
    conversation. rehearsed: whether a retain row was trained on while the forget rows were unlearned. perturbed_* hold
    one list per row. own_paraphrases: rows whose own response stands in for a missing paraphrase. response_logp: summed
    over a response's own tokens, None where it is below LEAST_LIKELY; where the list is missing `answer_logp` says it.
    elicited: by how the answers were asked for. wording: of attack prompts alone. exposure: of named secrets.
    """

    names: list[RowName]
    answer_logp: list[float]
    answer_tokens: list[PositiveInt]
    response_logp: list[float | None] | None = None
    subjects: list[int] | None = None
    copies: list[int] | None = None
    conversations: list[int] | None = None
    rehearsed: list[bool] | None = None
    paraphrase_logp: list[float] | None = None
    paraphrase_tokens: list[PositiveInt] | None = None
    own_paraphrases: NonNegativeInt | None = None
    perturbed_logp: list[list[float]] | None = None
    perturbed_tokens: list[list[PositiveInt]] | None = None
    min_k: list[float] | None = None
    min_k_plus_plus: list[float] | None = None
    exact_memorisation: list[float] | None = None
    extraction_strength: list[float] | None = None
    facts: FactTokens | None = None
    wording: Wording | None = None
    exposure: Exposure | None = None
    elicited: dict[str, Elicited] = {}

    @model_validator(mode="after")
    def _same_lengths(self) -> ScoreSet:
        if not self.names:
            raise ValueError("there are no rows")
        for part in (self, *self.elicited.values(), *([self.facts] if self.facts else [])):
            lists = {name: getattr(part, name) for name in type(part).model_fields}
            if isinstance(part, Elicited):
                lists |= part.traits
            for name, values in lists.items():
                if isinstance(values, list) and len(values) != len(self.names):
                    raise ValueError(f"{name} has {len(values)} rows, expected {len(self.names)}")
        if self.perturbed_logp is not None and self.perturbed_tokens is not None:
            for logp, tokens in zip(self.perturbed_logp, self.perturbed_tokens, strict=True):
                if not logp or len(logp) != len(tokens):
                    raise ValueError(f"perturbed_logp has a row of {len(logp)} answers, perturbed_tokens {len(tokens)}")
        if self.exposure is not None and len(self.exposure.rows) != len(self.names):
            raise ValueError(f"exposure has {len(self.exposure.rows)} rows, expected {len(self.names)}")
        return self

    @model_validator(mode="after")
    def _same_secrets(self) -> ScoreSet:
        named = [by for mode in self.elicited.values() for by in (mode.secrets, mode.parts) if by is not None]
        counts = {tuple(map(len, by)) for by in named}
        if self.exposure is not None:
            counts.add(tuple(map(len, self.exposure.rows)))
        if len(counts) > 1:
            raise ValueError("secrets differ in number from one way of asking to another")
        return self

    @property
    def units(self) -> Units:
        """What is resampled: subjects, or rows where they are unknown or too few."""
        return self.units_of(FEWEST_SUBJECTS)

    def units_of(self, fewest: int) -> Units:
        """The same with fewer, or more, subjects than are resampled elsewhere."""
        return Units.of(len(self.names), self._each_unnamed, self.copies, self.conversations, fewest)

    @property
    def _each_unnamed(self) -> list[int] | None:
        """The subjects, with one of its own for each row that names none."""
        if self.subjects is None:
            return None
        return [subject if subject != UNNAMED else UNNAMED - row for row, subject in enumerate(self.subjects)]

    @property
    def summed(self) -> Floats:
        """Log-probabilities of whole responses, (n,) nats, those below LEAST_LIKELY as that."""
        known = self.answer_logp if self.response_logp is None else self.response_logp
        return np.array([LEAST_LIKELY if value is None else max(value, LEAST_LIKELY) for value in known])

    @property
    def per_token(self) -> Floats:
        """Mean log-probability of an answer's tokens, (n,) nats."""
        return metrics.per_token(self.answer_logp, self.answer_tokens)

    @property
    def probabilities(self) -> Floats:
        """Length-normalised answer probabilities, (n,) in [0, 1]."""
        return metrics.probability(self.answer_logp, self.answer_tokens)

    @property
    def probability(self) -> float:
        """Mean length-normalised answer probability, in [0, 1]."""
        return float(self.probabilities.mean())

    @property
    def choice_probabilities(self) -> Floats | None:
        """Probability of each true answer among the perturbed ones, (n,), or None without those."""
        if self.perturbed_logp is None or self.perturbed_tokens is None:
            return None
        return metrics.choice_probability(
            self.answer_logp, self.answer_tokens, self.perturbed_logp, self.perturbed_tokens
        )

    @property
    def truth_ratios(self) -> Floats | None:
        """Truth ratio of each row, (n,), or None without perturbed answers."""
        return self.truth_ratio_by(arithmetic=False)

    @property
    def log_odds(self) -> Floats | None:
        """Of the paraphrased answer against the wrong ones, (n,) nats a token: the truth ratio's logarithm, negated."""
        if self.perturbed_logp is None or self.perturbed_tokens is None:
            return None
        if self.paraphrase_logp is None or self.paraphrase_tokens is None:
            return None
        return -metrics.log_truth_ratio(
            self.paraphrase_logp, self.paraphrase_tokens, self.perturbed_logp, self.perturbed_tokens
        )

    def truth_ratio_by(self, *, arithmetic: bool) -> Floats | None:
        """Truth ratios with the geometric or the arithmetic mean of the wrong answers, (n,), or None."""
        if self.perturbed_logp is None or self.perturbed_tokens is None:
            return None
        if self.paraphrase_logp is None or self.paraphrase_tokens is None:
            return None
        return metrics.truth_ratio(
            self.paraphrase_logp,
            self.paraphrase_tokens,
            self.perturbed_logp,
            self.perturbed_tokens,
            arithmetic=arithmetic,
        )

    @property
    def rouge(self) -> float | None:
        """Mean ROUGE-L recall of the greedy answers, in [0, 1]."""
        greedy = self.elicited.get(GREEDY)
        measured = [value for value in greedy.recall if value is not None] if greedy else []
        return float(np.mean(measured)) if measured else None


class Scores(_Part):
    """Scores of one model on sets of rows: forget, retain, holdout, real_authors, world_facts, rephrased-1 ...,
    attack-1 ... taught: how the model was, where it says so."""

    schema_version: Literal[4] = SCHEMA
    role: Role
    name: str
    sha256: str | None = None
    precision: str | None = None
    perturbed: str | None = None
    taught: Taught | None = None
    sets: dict[str, ScoreSet]

    @model_validator(mode="after")
    def _row_by_row(self) -> Scores:
        for name, rows in self.sets.items():
            if (
                name.startswith((REPHRASED, ATTACK))
                and "forget" in self.sets
                and len(rows.names) != len(self.forget.names)
            ):
                raise ValueError(f"{name} has {len(rows.names)} rows, the request {len(self.forget.names)}")
        return self

    @property
    def forget(self) -> ScoreSet:
        """The forget rows, which every score file has."""
        return self.sets["forget"]
