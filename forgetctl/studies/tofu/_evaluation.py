"""A model in training -> one line of the study's table, by the definitions that `verify` uses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...model.encoding import Encoded, Encoder, encode_rows
from ...model.generation import Decoding, greedy_answers
from ...model.load import ModelFacts
from ...model.metrics import forget_truth_ratio, useful_truth
from ...model.protocol import Model
from ...model.row_scorer import RowScorer
from ...model.scores import GREEDY, Role, Scores, ScoreSet
from ...model.states import AnswerStates
from ...recipe.recipe import Recipe
from ...rows.row import Row
from ...verify.checks.kept import utility, utility_without_rouge
from ...verify.statistics.distances import ks
from ._data import SplitRows

ASKED_IN_WORDS = ("forget", "retain", "world_facts")
"""The sets of which one question is asked in words."""


@dataclass(frozen=True, repr=False)
class Asker:
    """Asks a model the questions of a split. facts, encoder: of the start model, which all others are made from."""

    rows: SplitRows
    facts: ModelFacts
    encoder: Encoder
    recipe: Recipe

    def encode(self, rows: Sequence[Row]) -> list[Encoded]:
        """Token ids of rows of the split, or of others with answers of their own."""
        context, recipe = self.facts.context, self.recipe
        return encode_rows(self.encoder, rows, self.rows.files["forget"], context, recipe.max_length)[0]

    def scores(self, model: Model, role: Role, *, rouge: bool) -> Scores:
        """Teacher-forced scores of all four sets; with greedy answers where `rouge`."""
        scorer = RowScorer(
            model=model,
            encoder=self.encoder,
            encode=self.encode,
            settings=self.recipe.verify,
            context=self.facts.context,
            seed=self.recipe.seed,
            advance=lambda _: None,
        )
        modes = (GREEDY,) if rouge else ()
        sets = {name: scorer.scores(rows, modes, tokens=False) for name, rows in self.rows.asked.items()}
        return Scores(role=role, name=self.facts.path.name, perturbed="request", sets=sets)

    def states(self, model: Model, *, copy_head: bool) -> AnswerStates:
        """The model's distributions at the answers of the forget rows that are scored."""
        return AnswerStates(model, self.encode(self.rows.asked["forget"]), copy_head=copy_head)

    def answers(self, model: Model) -> dict[str, dict[str, str]]:
        """The greedy answer to the first question of three sets, beside the true one."""
        first = {name: self.rows.asked[name][0] for name in ASKED_IN_WORDS}
        decoding = Decoding(max_new_tokens=self.recipe.verify.answer_tokens, context=self.facts.context)
        answers = greedy_answers(model, self.encoder, list(first.values()), decoding)
        return {
            name: {"question": row.prompt, "truth": row.response, "answer": answer.text}
            for (name, row), answer in zip(first.items(), answers, strict=True)
        }


@dataclass(frozen=True, repr=False)
class Yardstick:
    """What every model of a split is compared with: the reference's scores, and both models' distributions."""

    reference: Scores
    reference_states: AnswerStates
    start_states: AnswerStates

    def line(self, model: Model, scores: Scores, states: AnswerStates) -> dict[str, float | int | None]:
        """The figures of one model. kl_*: KL(that model || this one), nats a token over the forget rows' answers."""
        distance = ks(_ratios(scores.forget), _ratios(self.reference.forget))
        return {
            "n": distance.n,
            "forget_quality": distance.p,
            "D": distance.D,
            "D_answers": ks(scores.forget.per_token, self.reference.forget.per_token).D,
            "utility": utility(scores, arithmetic=True),
            "utility_without_rouge": utility_without_rouge(scores, arithmetic=True),
            "kl_reference": max(0.0, states.divergence_of(self.reference_states)),
            "kl_start": max(0.0, states.divergence_of(self.start_states)),
            **_of_sets(scores),
        }


def _of_sets(scores: Scores) -> dict[str, float | None]:
    """Probability, ROUGE and truth ratio of each set, as they enter TOFU's aggregates."""
    figures: dict[str, float | None] = {}
    for name, rows in scores.sets.items():
        chosen = rows.probabilities if name in ("forget", "retain") else rows.choice_probabilities
        assert chosen is not None  # noqa: S101  every row that is asked has perturbed answers
        figures[f"{name}_probability"] = float(np.mean(chosen))
        figures[f"{name}_rouge"] = rows.rouge
        if name == "forget":
            figures["forget_truth"] = forget_truth_ratio(_ratios(rows))
        else:
            figures[f"{name}_truth"] = float(useful_truth(_ratios(rows, arithmetic=True)).mean())
    return figures


def _ratios(rows: ScoreSet, *, arithmetic: bool = False) -> NDArray[np.float64]:
    """Truth ratios of each row, which all have: `data` lets none in without perturbed answers."""
    ratios = rows.truth_ratio_by(arithmetic=arithmetic)
    assert ratios is not None  # noqa: S101
    return ratios
