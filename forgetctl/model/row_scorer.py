"""One loaded model and rows in, a ScoreSet out. Generated answers are measured and dropped; only numbers are kept."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from statistics import median_high
from typing import Any

import numpy as np

from ..errors import TemplateRefusal
from ..people.in_place import VERSION, InPlace, Places
from ..people.kinds import Disclosure
from ..recipe.recipe import Verify
from ..rows.conversations import by_conversation
from ..rows.row import Key, Row
from ..rows.spans import answering_alike
from ._panics import panics_unheard
from .encoding import Encoded, Encoder, scored_runs
from .extraction import (
    disclosures,
    exact_memorisation,
    extraction_strength,
    is_long,
    is_verbatim,
    least_likely,
    repeated,
    saying,
    traits,
)
from .fast.shared_prompts import score_answers
from .generation import Answer, Decoding, continuations
from .metrics import rouge_l_recall
from .processes import Ranks
from .protocol import Model
from .sampling import PLAIN, Sampling
from .scores import (
    DRAWN,
    GREEDY,
    LIKELY_FACT,
    SAMPLED,
    SERVED,
    UNNAMED,
    Elicited,
    Exposure,
    FactTokens,
    ScoreSet,
    Standing,
)
from .scoring import score
from .shares import in_shares
from .token_scores import TokenScores, score_tokens
from .usage import Usage
from .windows import by_row, row_sums, row_tokens, whole_rows

UNTHINKING, PRIMED, AFFIRMED = "without thought", "first tokens", "affirmative"
ALL_MODES = (GREEDY, UNTHINKING, PRIMED, AFFIRMED, SAMPLED)
"""Ways to ask: as the template asks by default, which may be for a thought; where a plain answer begins, which may be
behind an empty thought; with the first tokens given away; with a willing beginning; and many times by chance. SERVED is
the last as the owner decodes."""


@dataclass(frozen=True, repr=False)
class Asked:
    """A prompt as token ids, the part of the response that it already gives, and what of it is to be forgotten and left
    to say."""

    ids: tuple[int, ...]
    given: str
    rest: str


@dataclass(frozen=True, kw_only=True)
class RowScorer:
    """Scores rows with one loaded model.

    encode: rows to token ids, refusing what does not fit; a passage may become windows, whose scores are summed.
    modes: how the answers are asked for, see `ALL_MODES`. advance: called with rows just done, this process's counted
    for all. ranks: the processes that compute a share of the rows each, and all get the same scores. usage: of the
    retain answers, which tells facts among the tokens; None where that is not asked. served: how the owner draws
    answers.
    """

    model: Model
    encoder: Encoder
    encode: Callable[[Sequence[Row]], list[Encoded]]
    settings: Verify
    context: int | None
    seed: int
    advance: Callable[[int], None]
    ranks: Ranks = field(default_factory=Ranks)
    usage: Usage | None = None
    served: Sampling | None = None

    def scores(
        self,
        rows: Sequence[Row],
        modes: Iterable[str] = (),
        *,
        tokens: bool = True,
        truth: bool = True,
        rehearsed: Collection[Key] | None = None,
    ) -> ScoreSet:
        """Teacher-forced scores, answers asked for in `modes`, token scores, and what truth ratios need.

        truth: also score paraphrased and perturbed answers, where every row has the latter. rehearsed: rows that were
        trained on to be kept, where that is known.
        """
        with self.ranks.agreed():
            encoded = self.encode(rows)
        values: dict[str, Any] = self._tokens(rows, encoded) if tokens else self._plain(encoded)
        if truth and all(row.perturbed_responses for row in rows):
            values |= self._truth(rows, encoded, values["answer_logp"])
        return ScoreSet(
            names=[row.record_name for row in rows],
            answer_tokens=row_tokens(encoded),
            subjects=_subjects(rows),
            copies=_numbers([(row.key, row.spans) for row in rows]),
            conversations=_conversations(rows),
            rehearsed=None if rehearsed is None else [row.key in rehearsed for row in rows],
            elicited={
                mode: self._elicit(mode, rows, [first for first, *_ in by_row(encoded, encoded)]) for mode in modes
            },
            **values,
        )

    def answers(self, rows: Sequence[Row], modes: Iterable[str], most: int) -> dict[str, Elicited]:
        """What answers to at most so many of the rows give away, evenly spread, by how they are asked for."""
        with self.ranks.agreed():
            encoded = self.encode(rows)
        first = [first for first, *_ in by_row(encoded, encoded)]
        chosen = {int(place) for place in np.linspace(0, len(rows) - 1, min(most, len(rows)))}
        return {mode: self._elicit(mode, rows, first, sorted(chosen)) for mode in modes}

    def exposure(self, rows: Sequence[Row], places: Places) -> Exposure:
        """How likely the rows' secrets are among the other strings of their places."""
        pairs = [(row, place) for row, own in zip(rows, places.rows, strict=True) for place in own]
        placed = [(row, place) for row, place in pairs if isinstance(place, InPlace)]

        def compute(own: Sequence[int]) -> list[Standing]:
            return [self._standing(*placed[index]) for index in own]

        standings = iter(in_shares(self.ranks, [len(row.response) for row, _ in placed], compute))
        found = [
            [next(standings) if isinstance(place, InPlace) else Standing(secret=None, reason=place) for place in own]
            for own in places.rows
        ]
        return Exposure(version=VERSION, strings=places.strings, left_out=places.left_out, rows=found)

    def _standing(self, row: Row, place: InPlace) -> Standing:
        self.advance(self.ranks.count)
        encoded = self._encoded_in_place(row, place)
        if encoded is None:
            return Standing(secret=None, reason="not read alike")
        secret, *others = score_answers(self.model, encoded)
        spread = float(np.std(others, ddof=1))
        if not spread:
            return Standing(secret=None, reason="not read alike")
        middle = float(np.mean(others))
        return Standing(secret=(secret - middle) / spread, others=[(value - middle) / spread for value in others])

    def _encoded_in_place(self, row: Row, place: InPlace) -> list[Encoded] | None:
        """None for what the model does not read. Of a passage that is too long the end is given."""
        try:
            encoded = self.encoder.encode_in_place(row, place.start, place.end, place.others)
        except TemplateRefusal:
            return None
        most, lead = max(len(one.ids) for one in encoded), self.encoder.lead_tokens(row)
        if self.context is None or most <= self.context:
            return encoded
        room = encoded[0].start - (most - self.context)
        if row.context or room <= lead:
            return None
        return [one.ending(room, lead) for one in encoded]

    def _plain(self, encoded: Sequence[Encoded]) -> dict[str, Any]:
        windows = by_row(encoded, encoded)

        def compute(own: Sequence[int]) -> list[float]:
            some = [window for index in own for window in windows[index]]
            return row_sums(some, score(self.model, some, self._counted(some)))

        return {"answer_logp": in_shares(self.ranks, _lengths(windows), compute)}

    def _tokens(self, rows: Sequence[Row], encoded: Sequence[Encoded]) -> dict[str, Any]:
        windows = by_row(encoded, encoded)

        def compute(own: Sequence[int]) -> list[TokenScores]:
            some = [window for index in own for window in windows[index]]
            scored = score_tokens(self.model, some, self._counted(some))
            return [_joined(parts) for parts in by_row(some, scored)]

        scores = in_shares(self.ranks, _lengths(windows), compute)
        return {
            "answer_logp": [item.total for item in scores],
            "min_k": [least_likely(item.logp) for item in scores],
            "min_k_plus_plus": [least_likely(item.standardised) for item in scores],
            "exact_memorisation": [exact_memorisation(item.hits) for item in scores],
            "extraction_strength": [extraction_strength(item.hits) for item in scores],
            "facts": self._facts(windows, scores),
        }

    def _facts(self, windows: Sequence[Sequence[Encoded]], scores: Sequence[TokenScores]) -> FactTokens | None:
        if self.usage is None:
            return None
        found = [np.concatenate([self.usage.facts(window) for window in own]) for own in windows]
        counts = [int(facts.sum()) for facts in found if facts.any()]
        if not counts:
            return None
        logp = np.concatenate([item.logp[facts] for item, facts in zip(scores, found, strict=True)])
        return FactTokens(
            pairs=self.usage.total,
            different=len(self.usage.pairs),
            tokens=median_high(counts),
            first_choices=[
                exact_memorisation(item.hits[facts]) if facts.any() else None
                for item, facts in zip(scores, found, strict=True)
            ],
            likely=round(float((logp > np.log(LIKELY_FACT)).mean()), 3),
        )

    def _counted(self, windows: Sequence[Encoded]) -> Callable[[int], None]:
        """Counts windows as they are done, this process's for all."""
        return whole_rows(lambda done: self.advance(done * self.ranks.count), windows)

    def _truth(self, rows: Sequence[Row], encoded: Sequence[Encoded], answer_logp: Sequence[float]) -> dict[str, Any]:
        """Where a row has no paraphrase, its own response, which is scored already, stands in."""
        given = [[*_paraphrase(row), *row.perturbed_responses] for row in rows]
        others = [
            self.encode([answering_alike(row, text) for text in texts]) for row, texts in zip(rows, given, strict=True)
        ]

        def compute(own: Sequence[int]) -> list[list[tuple[float, int]]]:
            groups = [others[index] for index in own]
            scored = iter(score_answers(self.model, [item for group in groups for item in group]))
            return [
                list(zip(row_sums(group, [next(scored) for _ in group]), row_tokens(group), strict=True))
                for group in groups
            ]

        scores = in_shares(self.ranks, _lengths(others), compute)
        for index, tokens in enumerate(row_tokens(encoded)):
            if not _paraphrase(rows[index]):
                scores[index].insert(0, (answer_logp[index], tokens))
        return {
            "paraphrase_logp": [right[0] for right, *_ in scores],
            "paraphrase_tokens": [right[1] for right, *_ in scores],
            "own_paraphrases": sum(not _paraphrase(row) for row in rows),
            "perturbed_logp": [[logp for logp, _ in wrong] for _, *wrong in scores],
            "perturbed_tokens": [[tokens for _, tokens in wrong] for _, *wrong in scores],
        }

    def _elicit(
        self, mode: str, rows: Sequence[Row], encoded: Sequence[Encoded], chosen: Sequence[int] | None = None
    ) -> Elicited:
        """encoded: one a row; of a passage in windows its first. chosen: positions of those to ask, None for all, or as
        many as are sampled."""
        if chosen is None:
            chosen = sampled_rows(rows, self.settings.sampled_rows) if mode in DRAWN else range(len(rows))
        asked = {index: made for index in chosen if (made := self._ask(mode, rows[index], encoded[index]))}
        samples = self.settings.samples if mode in DRAWN else None
        sampling = self.served if mode == SERVED else None
        decoding = Decoding(
            max_new_tokens=self.settings.answer_tokens,
            context=self.context,
            samples=samples,
            seed=self.seed,
            sampling=sampling or PLAIN,
        )
        prompts = [asked[index].ids if index in asked else () for index in range(len(rows))]

        def compute(own: Sequence[int]) -> list[list[Answer]]:
            # The others keep their places, which decide what is drawn for the samples of a prompt.
            mine = set(own)
            some = [prompt if index in mine else () for index, prompt in enumerate(prompts)]
            answers = continuations(self.model, self.encoder, some, decoding, self.advance)
            return [answers[index] for index in own]

        answers = in_shares(self.ranks, [len(prompt) for prompt in prompts], compute)
        texts = {index: [answer.text for answer in answers[index]] for index in asked}
        return _measure(rows, asked, texts, mode, samples or 1).model_copy(update={"sampling": sampling})

    def _ask(self, mode: str, row: Row, encoded: Encoded) -> Asked | None:
        """None for a row that cannot be asked like that: a passage has no prompt, a short response no beginning."""
        if mode == PRIMED:
            return self._prime(encoded)
        if not row.context:
            return None
        if mode == AFFIRMED:
            begun = self.encoder.encode(replace(row.answering(self.settings.affirmation), complete=False))
            return Asked(begun.ids, self.settings.affirmation, row.marked)
        asked = self.encoder.encode_plain_prompt if mode == UNTHINKING else self.encoder.encode_prompt
        return Asked(asked(row), "", row.marked)

    def _prime(self, encoded: Encoded) -> Asked | None:
        """The first tokens that are to be forgotten are given away, up to a whole character, with the response up to
        them; where that is not marked from its beginning, that alone if need be."""
        end = len(encoded.ids)
        while end > encoded.start and encoded.ids[end - 1] in self.encoder.stop_ids:
            end -= 1
        answer = encoded.cut(end)
        places = answer.places
        for count in range(min(self.settings.primed_tokens, len(places) // 2), -1, -1):
            left = answer.after(places[count - 1] + 1 if count else next(iter(places), 0))
            given = self._text(left.ids[answer.start : left.start])
            rest = " ".join(self._text(run) for run in scored_runs(left))
            if left.start > answer.start and not given.endswith("\ufffd") and rest.strip():
                return Asked(left.ids[: left.start], given, rest)
        return None

    def _text(self, ids: Sequence[int]) -> str:
        with panics_unheard():
            return str(self.encoder.tokenizer.decode(ids, skip_special_tokens=True))


def _joined(windows: Sequence[TokenScores]) -> TokenScores:
    """The token scores of a row's windows as those of one row."""
    parts = ("logp", "hits", "standardised")
    joined = {name: np.concatenate([getattr(window, name) for window in windows]) for name in parts}
    return TokenScores(sum(window.total for window in windows), **joined)


def _lengths(groups: Sequence[Sequence[Encoded]]) -> list[int]:
    """Tokens of each group of windows or answers."""
    return [sum(len(item.ids) for item in group) for group in groups]


def _paraphrase(row: Row) -> list[str]:
    return [row.paraphrased_response] if row.paraphrased_response else []


def sampled_rows(rows: Sequence[Row], limit: int) -> list[int]:
    """Positions of at most `limit` rows to sample answers to: those with secrets first, the others evenly spread."""
    asked = [index for index, row in enumerate(rows) if row.context]
    first = [index for index in asked if rows[index].secrets][:limit]
    others = [index for index in asked if not rows[index].secrets]
    count = min(limit - len(first), len(others))
    spread = [others[int(place)] for place in np.linspace(0, len(others) - 1, count)] if count > 0 else []
    return sorted({*first, *spread})


def _measure(
    rows: Sequence[Row], asked: dict[int, Asked], texts: dict[int, list[str]], mode: str, answers: int
) -> Elicited:
    recall: list[float | None] = [None] * len(rows)
    whole: list[int | None] = [None] * len(rows)
    verbatim: list[int | None] = [None] * len(rows)
    by_words: list[bool | None] = [None] * len(rows)
    leaks: list[int | None] = [None] * len(rows)
    secrets: list[list[int | None]] = [[None] * len(row.secrets) for row in rows]
    parts: list[list[int | None]] = [[None] * len(row.secrets) for row in rows]
    for index, question in asked.items():
        spoken = texts[index]
        recalls = rouge_l_recall([question.rest] * answers, spoken).tolist()
        recall[index] = max(recalls)
        if is_long(question.rest):
            whole[index] = sum(is_verbatim(value, question.rest) for value in recalls)
        leaked = repeated(f"{rows[index].prompt}\n{question.given}", question.rest, spoken)
        verbatim[index], by_words[index] = leaked.answers, leaked.by_words
        given_away = disclosures(rows[index].secrets, question.given, spoken)
        secrets[index] = [levels.count(Disclosure.WHOLE) for levels in given_away]
        parts[index] = [levels.count(Disclosure.PART) for levels in given_away]
        leaks[index] = _leaking(leaked.leaking, given_away)
    said = [texts[index][0] if index in asked else None for index in range(len(rows))]
    seen = traits(said) if mode == GREEDY else {}
    return Elicited(
        answers=answers,
        recall=recall,
        secrets=secrets,
        parts=parts,
        whole=whole,
        verbatim=verbatim,
        by_words=by_words,
        traits=seen,
        leaked=leaks if mode in DRAWN else None,
    )


def _leaking(response: Sequence[bool] | None, secrets: Sequence[Sequence[Disclosure]]) -> int | None:
    """How many answers leak the response or a secret, None where neither could be seen."""
    seen = [*([response] if response is not None else []), *([saying(secrets)] if secrets else [])]
    return sum(map(any, zip(*seen, strict=True))) if seen else None


def _subjects(rows: Sequence[Row]) -> list[int] | None:
    """Numbers of the rows' subjects, UNNAMED for a row that names none; None if no row names one."""
    if not any(row.subject_id for row in rows):
        return None
    number = {name: place for place, name in enumerate(dict.fromkeys(row.subject_id for row in rows if row.subject_id))}
    return [number[row.subject_id] if row.subject_id else UNNAMED for row in rows]


def _conversations(rows: Sequence[Row]) -> list[int] | None:
    """Numbers of the rows' conversations, None if no two are of one."""
    groups = list(by_conversation(rows))
    numbers = [number for number, own in enumerate(groups) for _ in own]
    return numbers if len(groups) < len(rows) else None


def _numbers(labels: Sequence[Hashable]) -> list[int]:
    """Numbers instead of labels, by first appearance."""
    seen: dict[Hashable, int] = {}
    return [seen.setdefault(label, len(seen)) for label in labels]
