"""Score the models one after another, never two in memory, and measure what a verdict needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ..engine.encoding import Encoded, Encoder, encode_rows
from ..engine.generation import greedy_answers
from ..engine.models import inspect_model, load_model, load_tokenizer
from ..engine.scoring import score
from ..engine.states import AnswerStates
from ..errors import InputError, UsageError
from ..maths.metrics import rouge_l_recall
from ..progress import Progress
from ..recipe import Recipe
from ..rows import Row, normalise
from ..run import model_digest
from ..scores import Role, Scores, ScoreSet

SETS = ("forget", "retain", "holdout")


@dataclass(frozen=True, repr=False)
class RowSets:
    """The rows to score, with the file each set came from. `forget` rows carry perturbed answers where there are any.

    perturbed: "request" if the request brought them, "nearest answers" if they were made, None if there are none.
    """

    forget: Sequence[Row]
    retain: Sequence[Row]
    holdout: Sequence[Row]
    files: dict[str, Path]
    perturbed: str | None


@dataclass
class Measured:
    """Scores by role, KL divergences in nats per answer token, and what was skipped with its reason."""

    scores: dict[Role, Scores] = field(default_factory=dict)
    kl: dict[str, float | None] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)


def check_fit(sets: RowSets, recipe: Recipe, path: Path) -> None:
    """Raise InputError if a row, or a paraphrased or perturbed answer, does not fit the model at `path`."""
    facts = inspect_model(path)
    encoder = Encoder(load_tokenizer(path), recipe.prompt_format)
    others = [
        row.answering(text)
        for row in sets.forget
        for text in (*row.perturbed_responses, row.paraphrased_response)
        if text
    ]
    for name, rows in (("forget", [*sets.forget, *others]), ("retain", sets.retain), ("holdout", sets.holdout)):
        try:
            encode_rows(encoder, rows, sets.files[name], facts.context, recipe.max_length)
        except InputError as error:
            raise UsageError(f"{error} (model {path})") from None


class Scorer:
    """Scores models on the same rows. Keeps the verified model's final states for the KL divergences."""

    def __init__(self, sets: RowSets, recipe: Recipe, device: torch.device, progress: Progress) -> None:
        self.sets, self.recipe, self.device, self.progress = sets, recipe, device, progress
        self.measured = Measured()
        self.states: dict[str, AnswerStates] = {}

    def unlearned(self, path: Path) -> Scores:
        """Score the model under test and keep its states."""

        def keep(model: Any, encoded: dict[str, list[Encoded]]) -> None:
            self.states = {name: AnswerStates(model, encoded[name]) for name in ("forget", "retain") if encoded[name]}

        return self._score("unlearned", path, keep)

    def reference(self, path: Path) -> Scores:
        """Score the reference, with KL(reference || unlearned) on forget and retain rows."""

        def compare(model: Any, encoded: dict[str, list[Encoded]]) -> None:
            self._divergence("forget_distance", "forget", model, encoded)
            self._divergence("retain_distance", "retain", model, encoded)

        return self._score("reference", path, compare)

    def start(self, path: Path) -> Scores:
        """Score the start model, with KL(start || unlearned) on forget rows."""

        def compare(model: Any, encoded: dict[str, list[Encoded]]) -> None:
            self._divergence("forget_from_start", "forget", model, encoded)

        return self._score("start", path, compare)

    def _divergence(self, name: str, rows: str, model: Any, encoded: dict[str, list[Encoded]]) -> None:
        states = self.states.get(rows)
        if states is None:
            self.measured.skipped[f"kl.{name}"] = f"there are no {rows} rows to compare on"
        elif states.rows != encoded[rows]:
            self.measured.skipped[f"kl.{name}"] = "the two models tokenise the rows differently"
        elif states.vocabulary != model.get_output_embeddings().weight.shape[0]:
            self.measured.skipped[f"kl.{name}"] = "the two models have vocabularies of different size"
        else:
            self.measured.kl[name] = max(states.divergence_from(model), 0.0)  # rounding can fall below

    def _score(self, role: Role, path: Path, use: Callable[[Any, dict[str, list[Encoded]]], None]) -> Scores:
        facts = inspect_model(path)
        encoder = Encoder(load_tokenizer(path), self.recipe.prompt_format)
        encoded = {name: self._encode(encoder, name, facts.context) for name in SETS}
        model = load_model(path, self.device, facts.dtype if self.device.type == "cuda" else torch.float32)
        total = 2 * (len(self.sets.forget) + len(self.sets.retain)) + len(self.sets.holdout)
        with self.progress.bar(f"Scoring the {role} model", total) as bar:
            scored = RowScorer(
                model,
                encoder,
                lambda rows: self._encode(encoder, "forget", facts.context, rows),
                self.recipe.verify.answer_tokens,
                facts.context,
                bar.advance,
            )
            sets = {"forget": scored.forget(self.sets.forget, encoded["forget"])}
            if self.sets.retain:
                sets["retain"] = scored.answers(self.sets.retain, encoded["retain"])
            if self.sets.holdout:
                sets["holdout"] = scored.plain(self.sets.holdout, encoded["holdout"])
            use(model, encoded)
        scores = Scores(
            role=role,
            name=path.name,
            sha256=model_digest(path),
            perturbed=self.sets.perturbed,
            sets=sets,
        )
        self.measured.scores[role] = scores
        return scores

    def _encode(
        self, encoder: Encoder, name: str, context: int | None, rows: Sequence[Row] | None = None
    ) -> list[Encoded]:
        """Encode a set, or other rows of that set's file."""
        chosen: Sequence[Row] = getattr(self.sets, name) if rows is None else rows
        if not chosen:
            return []
        return encode_rows(encoder, chosen, self.sets.files[name], context, self.recipe.max_length)[0]


@dataclass(frozen=True)
class RowScorer:
    """Turns rows into a ScoreSet with one loaded model."""

    model: Any
    encoder: Encoder
    encode: Callable[[Sequence[Row]], list[Encoded]]
    answer_tokens: int
    context: int | None
    advance: Callable[[int], None]

    def plain(self, rows: Sequence[Row], encoded: Sequence[Encoded]) -> ScoreSet:
        """Teacher-forced answer scores only."""
        logp = score(self.model, encoded, self.advance)
        return ScoreSet(lines=[row.line for row in rows], answer_logp=logp, answer_tokens=[e.tokens for e in encoded])

    def answers(self, rows: Sequence[Row], encoded: Sequence[Encoded]) -> ScoreSet:
        """Answer scores and the generated answers' ROUGE-L recall and secrets; the answers are not kept."""
        answers = greedy_answers(self.model, self.encoder, rows, self.answer_tokens, self.context, self.advance)
        asked = [index for index, row in enumerate(rows) if row.context]
        recall = rouge_l_recall([rows[i].response for i in asked], [answers[i].text for i in asked]).tolist()
        measured = dict(zip(asked, recall, strict=True))
        update = {
            "rouge_recall": [measured.get(index) for index in range(len(rows))],
            "secrets_out": [
                [normalise(secret) in normalise(answer.text) if row.context else None for secret in row.secrets]
                for row, answer in zip(rows, answers, strict=True)
            ],
        }
        return self.plain(rows, encoded).model_copy(update=update)

    def forget(self, rows: Sequence[Row], encoded: Sequence[Encoded]) -> ScoreSet:
        """All of `answers`, and what truth ratios need where every row has perturbed answers."""
        base = self.answers(rows, encoded)
        if not all(row.perturbed_responses for row in rows):
            return base
        right = self.encode([row.answering(row.paraphrased_response or row.response) for row in rows])
        wrong = [self.encode([row.answering(text) for text in row.perturbed_responses]) for row in rows]
        right_logp = score(self.model, right)
        wrong_logp = iter(score(self.model, [item for group in wrong for item in group]))
        update = {
            "paraphrase_logp": right_logp,
            "paraphrase_tokens": [item.tokens for item in right],
            "perturbed_logp": [[next(wrong_logp) for _ in group] for group in wrong],
            "perturbed_tokens": [[item.tokens for item in group] for group in wrong],
        }
        return base.model_copy(update=update)
