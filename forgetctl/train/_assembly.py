"""A micro-batch -> one forward -> the Batch that an objective sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import kl_div, log_softmax

from ..errors import DivergedError, ModelError
from ..losses.methods import Batch, Role, Rows
from ..model.encoding import Encoded
from ..model.fast.output_head import Compared
from ..model.protocol import Model
from ..model.scoring import (
    PaddedRows,
    answer_activations,
    answer_logits,
    answer_logp,
    answer_logp_and_kl,
    logp_of,
    pad_rows,
    score,
)
from .schedule import MicroBatch, RowsByRole, Size, Step
from .term_inputs import Mismatched, TermInputs


@dataclass
class Assembler:
    """Joins rows with what the loss needs of them."""

    rows: RowsByRole
    inputs: TermInputs
    _ratio: tuple[object, Tensor] | None = field(default=None, init=False)

    def collate(self, micro_batch: MicroBatch) -> dict[str, Any]:
        """Its rows as one padded batch: those of each role, and uninformed answers of the forget rows."""
        other, other_start, other_tokens = self._alternatives(micro_batch)
        own = [self.rows[role][i] for role, places in micro_batch.rows.items() for i in places]
        forget = micro_batch.rows.get("forget", ())
        rows = [*own, *other]
        return {
            **vars(pad_rows(rows)),
            "tokens": torch.tensor([row.tokens for row in rows]),
            "start_logp": _picked(self.inputs.start_logp, forget),
            "level": _picked(self.inputs.levels, forget),
            "alternative_start": other_start,
            "alternative_tokens": other_tokens,
            "micro_batch": micro_batch,
        }

    def batch(self, model: Model, inputs: dict[str, Any]) -> Batch:
        """Score a collated micro-batch with one forward, and a second without gradient where KTO asks for it."""
        padded = PaddedRows(**{name: inputs[name] for name in PaddedRows.__dataclass_fields__})
        micro_batch: MicroBatch = inputs["micro_batch"]
        forward = _Forward(model, padded, inputs["tokens"], self.inputs, micro_batch)
        rows: dict[Role, Rows] = {}
        offset = 0
        for role, positions in micro_batch.rows.items():
            rows[role] = forward.rows(role, positions, offset, micro_batch.step.sizes[role])
            offset += len(positions)
        if "forget" in rows:
            rows["forget"] = self._forget(model, rows["forget"], forward, inputs)
        return Batch(rows)

    def _forget(self, model: Model, rows: Rows, forward: _Forward, inputs: dict[str, Any]) -> Rows:
        """The forget rows with what terms read of them alone."""
        micro_batch: MicroBatch = inputs["micro_batch"]
        step = micro_batch.step
        ratio = self._mismatched(model, step)
        rows = replace(rows, start_logp=inputs["start_logp"], level=inputs["level"], mismatched_ratio=ratio)
        if self.inputs.alternatives is None:
            return rows
        size = Size(step.sizes["forget"].rows, inputs["alternative_tokens"])
        alternative = forward.scores(len(micro_batch), len(micro_batch.rows["forget"]), size)
        return replace(rows, alternative=replace(alternative, start_logp=inputs["alternative_start"]))

    def _alternatives(self, micro_batch: MicroBatch) -> tuple[list[Encoded], Tensor | None, int]:
        """Uninformed answers of the forget rows, their start scores, and the tokens in the whole optimizer step."""
        alternatives = self.inputs.alternatives
        if alternatives is None:
            return [], None, 0
        drawn = alternatives.drawn(micro_batch.step.epoch)
        pairs = [(row, drawn[row]) for row in micro_batch.rows["forget"]]
        start = None
        if alternatives.start_logp:
            start = torch.tensor([alternatives.start_logp[pair] for pair in pairs])
        tokens = sum(alternatives.encoded(row, drawn[row]).tokens for row in micro_batch.step.rows["forget"])
        return [alternatives.encoded(*pair) for pair in pairs], start, tokens

    def _mismatched(self, model: Model, step: Step) -> Tensor | None:
        """Log ratios of the optimizer step's mismatched pairs, made once a step."""
        pairs: Mismatched | None = self.inputs.mismatched
        if pairs is None:
            return None
        forget = step.rows["forget"]
        key = (step.epoch, forget)
        if self._ratio is None or self._ratio[0] != key:
            try:
                now = score(model, [pairs.rows[row] for row in forget])
            except ModelError as error:
                raise DivergedError(f"{error}; lower the learning rate") from None
            start = [pairs.start_logp[row] for row in forget]
            self._ratio = (key, torch.tensor(now, device=model.device) - torch.tensor(start, device=model.device))
        return self._ratio[1]


def _picked(values: Sequence[float] | None, positions: Sequence[int]) -> Tensor | None:
    return None if values is None else torch.tensor([values[i] for i in positions])


class _Forward:
    """One forward of a padded batch, cut into the rows of each role. Logits are kept only where a term reads them."""

    def __init__(
        self, model: Model, padded: PaddedRows, tokens: Tensor, inputs: TermInputs, micro_batch: MicroBatch
    ) -> None:
        self.padded, self.tokens, self.inputs = padded, tokens, inputs
        self.logits: Tensor | None = None
        self.hidden: Tensor | None = None
        self.kl: Tensor | None = None
        if inputs.layer is not None:
            self.logits, self.hidden = answer_activations(model, padded, inputs.layer.index)
        elif inputs.logits:
            self.logits = answer_logits(model, padded)
        elif (compared := self._compared(micro_batch)) is not None:
            scored = answer_logp_and_kl(model, padded, compared)
            if scored is not None:
                self.logp, self.kl = scored
                return
            self.logits = answer_logits(model, padded)
        self.logp = answer_logp(model, padded) if self.logits is None else logp_of(self.logits, padded)

    def _compared(self, micro_batch: MicroBatch) -> Compared | None:
        """The positions of roles whose start distributions a term reads, with those distributions."""
        there, states, offset = torch.zeros_like(self.padded.row, dtype=torch.bool), [], 0
        for role, positions in micro_batch.rows.items():
            if role in self.inputs.states and positions:
                there |= self._positions(offset, len(positions))
                states.append((self.inputs.states[role], positions))
            offset += len(positions)
        if not states:
            return None
        hidden = torch.cat([start.states_of(positions) for start, positions in states])
        distributions = states[0][0].distributions  # all are of the start model
        return Compared(there, lambda where: distributions(hidden[where]))

    def _positions(self, offset: int, count: int) -> Tensor:
        """Which scored positions are of `count` rows from `offset`."""
        return (self.padded.row >= offset) & (self.padded.row < offset + count)

    def scores(self, offset: int, count: int, size: Size) -> Rows:
        """Scores of `count` rows from `offset`."""
        chosen = slice(offset, offset + count)
        return Rows(logp=self.logp[chosen], tokens=self.tokens[chosen], batch_rows=size.rows, batch_tokens=size.tokens)

    def rows(self, role: Role, positions: Sequence[int], offset: int, size: Size) -> Rows:
        """Scores of the rows of a role with what the loss's terms need beside them."""
        rows = self.scores(offset, len(positions), size)
        there = self._positions(offset, len(positions))
        if role in self.inputs.states and positions:
            if self.kl is not None:
                rows = replace(rows, kl=self.kl[offset : offset + len(positions)])
            elif self.logits is not None:
                start = self.inputs.states[role].log_probabilities(positions)
                now = log_softmax(self.logits[there].float(), dim=-1)
                per_token = kl_div(now, start, reduction="none", log_target=True).sum(-1)
                sums = per_token.new_zeros(len(positions)).index_add(0, self.padded.row[there] - offset, per_token)
                rows = replace(rows, kl=sums, start_logits=start)
        if self.inputs.logits and self.logits is not None and role == "forget":
            rows = replace(rows, logits=self.logits[there], targets=self.padded.targets[there])
        if self.hidden is not None and self.inputs.layer is not None:
            rows = replace(rows, hidden=self.hidden[there], direction=self.inputs.layer.direction)
            if role == "retain" and positions:
                rows = replace(rows, start_hidden=torch.cat([self.inputs.layer.start[i] for i in positions]))
        return rows
