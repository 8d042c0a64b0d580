"""What some objectives need beside the scores of the rows themselves: other answers, and the start model's say on them.

Everything is drawn as a pure function of (seed, epoch, row), so that runs resume exactly. `collect_inputs` takes it
from the start model, while it still is one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..losses.methods import ROLES, Role, WeightedSum
from ..model.encoding import Encoded
from ..model.memory import in_halves
from ..model.processes import Ranks
from ..model.protocol import Model
from ..model.scoring import answer_activations, length_batches, pad_rows, short_input
from ..model.shares import shared_scores
from ..model.states import AnswerStates
from ..progress import Progress
from ..recipe.recipe import Recipe
from ..rows.row import Row


@dataclass(frozen=True)
class RoleRows:
    """The rows of a role. sources: rows whose distributions under the start model terms compare theirs with; None for
    the rows themselves. source_of: for each of `rows` the position of its source, which has the same answer."""

    rows: Sequence[Encoded]
    sources: Sequence[Encoded] | None = None
    source_of: Sequence[int] = ()


@dataclass(frozen=True, repr=False)
class OtherAnswers:
    """What makes other answers to the forget prompts: the forget rows, uninformed answers to draw from, and what gives
    the ids of rows, within the model's context."""

    rows: Sequence[Row]
    refusals: Sequence[str]
    encode: Callable[[Sequence[Row]], list[Encoded]]


@dataclass(kw_only=True)
class Alternatives:
    """Uninformed answers to the forget prompts.

    encode: ids of forget row i with refusal j. start_logp: the start model's score of each drawn pair (i, j).
    """

    encode: Callable[[int, int], Encoded]
    rows: int
    refusals: int
    seed: int
    start_logp: dict[tuple[int, int], float] = field(default_factory=dict)
    _encoded: dict[tuple[int, int], Encoded] = field(default_factory=dict)

    def drawn(self, epoch: int) -> list[int]:
        """Which refusal each forget row gets in an epoch."""
        random = np.random.default_rng([self.seed, epoch, self.rows])
        return [int(choice) for choice in random.integers(self.refusals, size=self.rows)]

    def encoded(self, row: int, refusal: int) -> Encoded:
        """Ids of a forget row's prompt with a refusal."""
        if (row, refusal) not in self._encoded:
            self._encoded[row, refusal] = self.encode(row, refusal)
        return self._encoded[row, refusal]

    def score_start(self, epochs: int, score: Callable[[Sequence[Encoded]], list[float]]) -> None:
        """Keep what `score` gives under the start model for every pair that `epochs` epochs will draw."""
        pairs = sorted({pair for epoch in range(epochs) for pair in enumerate(self.drawn(epoch))})
        scores = score([self.encoded(*pair) for pair in pairs])
        self.start_logp = dict(zip(pairs, scores, strict=True))


@dataclass(frozen=True)
class Mismatched:
    """Forget prompts with the answers of other forget rows, and the start model's scores of them."""

    rows: Sequence[Encoded]
    start_logp: Sequence[float]


def derangement(count: int, seed: int) -> list[int]:
    """For each of `count` rows another one, every one once; a single row gets itself.

    A shuffled cycle, so that nobody meets itself.
    """
    order = np.random.default_rng([seed, count]).permutation(count)
    partner = [0] * count
    for place, row in enumerate(order):
        partner[int(row)] = int(order[(place + 1) % count])
    return partner


@dataclass(frozen=True)
class Layer:
    """An inner layer whose activations a loss steers.

    index: from 1, the first layer, as in transformers' hidden_states. direction: (width,) a random unit vector.
    start: the start model's activations of each retain row, (scored tokens, width).
    """

    index: int
    direction: Tensor
    start: Sequence[Tensor]


def default_layer(model: Model) -> int:
    """The layer at the depth of RMU's choice, 7 of 32."""
    layers: int = model.config.get_text_config().num_hidden_layers
    return max(1, round(layers * 7 / 32))


@torch.no_grad()
def watch_layer(model: Model, retain: Sequence[Encoded], index: int, seed: int) -> Layer:
    """Record the start model's activations; draw the direction uniformly from the unit cube, as RMU does."""
    start: list[Tensor] = [torch.empty(0)] * len(retain)

    def compute(indices: Sequence[int]) -> None:
        batch = pad_rows([retain[i] for i in indices]).to(model.device)
        hidden = answer_activations(model, batch, index)[1]
        for position, i in enumerate(indices):
            start[i] = hidden[batch.row == position]

    for indices in length_batches(retain, apart=short_input(model)):
        in_halves(indices, compute)
    generator = torch.Generator().manual_seed(seed)
    direction = torch.rand(model.config.get_text_config().hidden_size, generator=generator).to(model.device)
    return Layer(index, direction / direction.norm(), start)


@dataclass(frozen=True, kw_only=True)
class TermInputs:
    """What the terms of a loss declared that they need beside scores; None, empty or False where none does.

    start_logp: the start model's summed answer log-probability of each forget row. states: the start model's, of the
    rows of a role. levels: the log-probability a token that each forget row is to end at.
    """

    start_logp: Sequence[float] | None = None
    alternatives: Alternatives | None = None
    mismatched: Mismatched | None = None
    states: Mapping[Role, AnswerStates] = field(default_factory=dict)
    layer: Layer | None = None
    logits: bool = False
    levels: Sequence[float] | None = None


@dataclass(frozen=True, kw_only=True)
class StartModel:
    """The model that is trained, as it is before, with the precision that the losses compare in. ranks: the processes
    that ask it together."""

    model: Model
    recipe: Recipe
    precision: Callable[[], AbstractContextManager[Any]]
    ranks: Ranks = field(default_factory=Ranks)

    def scores(self, rows: Sequence[Encoded], advance: Callable[[int], None] = lambda _: None) -> list[float]:
        """Summed answer log-probability of each row."""
        with self.precision():
            return shared_scores(self.ranks, self.model, rows, advance)

    def states(self, rows: RoleRows) -> AnswerStates:
        """Its states of rows, or of their sources, with a head that stays whole and as it is."""
        copy_head = self.recipe.lora is None or self.ranks.sharded
        with self.precision():
            if rows.sources is None:
                return AnswerStates(self.model, rows.rows, copy_head=copy_head)
            return AnswerStates(self.model, rows.sources, copy_head=copy_head).subset(rows.source_of)


def collect_inputs(
    loss: WeightedSum,
    rows: Mapping[Role, RoleRows],
    answers: OtherAnswers,
    start: StartModel,
    progress: Progress,
    *,
    start_logp: Sequence[float] | None,
    levels: Sequence[float] | None,
) -> TermInputs:
    """What the loss's terms declared that they need. start_logp, levels: as of TermInputs, made before."""
    needs, recipe = loss.needs("forget"), start.recipe
    alternatives = mismatched = layer = None
    if "alternative" in needs:
        alternatives = _alternatives(answers, recipe)
    if alternatives and "alternative_start" in needs:
        with progress.bar("Scoring the refusals", 0) as bar:
            alternatives.score_start(recipe.epochs, lambda rows: start.scores(rows, bar.advance))
    if "mismatched" in needs:
        mismatched = _mismatched(answers, start)
    states = {
        role: start.states(rows[role]) for role in ROLES if role in rows and loss.needs(role) & {"kl", "start_logits"}
    }
    if "hidden" in loss.needs_of_any():
        with start.precision():
            index = recipe.layer or default_layer(start.model)
            layer = watch_layer(start.model, rows["retain"].rows, index, recipe.seed)
    return TermInputs(
        start_logp=start_logp,
        alternatives=alternatives,
        mismatched=mismatched,
        states=states,
        layer=layer,
        logits="logits" in needs,
        levels=levels,
    )


def _alternatives(answers: OtherAnswers, recipe: Recipe) -> Alternatives:
    def encode(row: int, refusal: int) -> Encoded:
        return answers.encode([answers.rows[row].answering(answers.refusals[refusal])])[0]

    return Alternatives(encode=encode, rows=len(answers.rows), refusals=len(answers.refusals), seed=recipe.seed)


def _mismatched(answers: OtherAnswers, start: StartModel) -> Mismatched:
    partners = [answers.rows[partner] for partner in derangement(len(answers.rows), start.recipe.seed)]
    pairs = answers.encode(
        [row.answering(other.response, other.spans) for row, other in zip(answers.rows, partners, strict=True)]
    )
    return Mismatched(pairs, start.scores(pairs))
