"""What some objectives need beside the scores of the rows themselves: other answers, and the start model's say on them.

Everything is drawn as a pure function of (seed, epoch, row), so that runs resume exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..losses.methods import Role
from ..model.encoding import Encoded
from ..model.memory import in_halves
from ..model.scoring import answer_activations, length_batches, pad_rows, short_input
from ..model.states import AnswerStates


@dataclass
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


def default_layer(model: Any) -> int:
    """The layer at the depth of RMU's choice, 7 of 32."""
    layers: int = model.config.get_text_config().num_hidden_layers
    return max(1, round(layers * 7 / 32))


@torch.no_grad()
def watch_layer(model: Any, retain: Sequence[Encoded], index: int, seed: int) -> Layer:
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


@dataclass(frozen=True)
class Extras:
    """What the terms of a loss declared that they need; None, empty or False where none does.

    levels: the log-probability a token that each forget row is to end at.
    """

    alternatives: Alternatives | None = None
    mismatched: Mismatched | None = None
    states: dict[Role, AnswerStates] = field(default_factory=dict)
    layer: Layer | None = None
    logits: bool = False
    levels: Sequence[float] | None = None
