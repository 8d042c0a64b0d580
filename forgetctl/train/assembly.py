"""A part of an optimizer step -> one forward -> the Batch that an objective sees."""

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
from .extras import Extras, Mismatched
from .schedule import Part, Size, Step, by_role


@dataclass
class Assembler:
    """Joins rows with what the loss needs of them. start_logp: of the forget rows, None if no term needs it."""

    forget: Sequence[Encoded]
    retain: Sequence[Encoded]
    start_logp: Sequence[float] | None
    extras: Extras
    unseen: Sequence[Encoded] = ()
    _ratio: tuple[object, Tensor] | None = field(default=None, init=False)

    def collate(self, part: Part) -> dict[str, Any]:
        """The part's rows as one padded batch: those of each role, and uninformed answers of the forget rows."""
        other, other_start, other_tokens = self._alternatives(part)
        own = ((self.forget, part.forget), (self.retain, part.retain), (self.unseen, part.unseen))
        rows = [*(rows[i] for rows, places in own for i in places), *other]
        start = None
        if self.start_logp is not None:
            start = torch.tensor([self.start_logp[i] for i in part.forget])
        return {
            **vars(pad_rows(rows)),
            "tokens": torch.tensor([row.tokens for row in rows]),
            "start_logp": start,
            "level": None if self.extras.levels is None else torch.tensor([self.extras.levels[i] for i in part.forget]),
            "alternative_start": other_start,
            "alternative_tokens": other_tokens,
            "part": part,
        }

    def batch(self, model: Any, inputs: dict[str, Any]) -> Batch:
        """Score a collated part with one forward, and a second without gradient where KTO asks for it."""
        padded = PaddedRows(**{name: inputs[name] for name in PaddedRows.__dataclass_fields__})
        part: Part = inputs["part"]
        step, n = part.step, len(part.forget)
        forward = _Forward(model, padded, inputs["tokens"], self.extras, part)
        forget = forward.rows("forget", part.forget, 0, step.forget_size)
        forget = replace(forget, start_logp=inputs["start_logp"], level=inputs["level"])
        forget = replace(forget, mismatched_ratio=self._mismatched(model, step))
        if self.extras.alternatives is not None:
            size = Size(step.forget_size.rows, inputs["alternative_tokens"])
            alternative = forward.scores(len(part), n, size)
            forget = replace(forget, alternative=replace(alternative, start_logp=inputs["alternative_start"]))
        retain = forward.rows("retain", part.retain, n, step.retain_size) if step.retain else None
        others = n + len(part.retain)
        unseen = forward.rows("unseen", part.unseen, others, step.unseen_size) if step.unseen else None
        return Batch(forget, retain, unseen)

    def _alternatives(self, part: Part) -> tuple[list[Encoded], Tensor | None, int]:
        """Uninformed answers of the forget rows, their start scores, and the tokens in the whole optimizer step."""
        alternatives = self.extras.alternatives
        if alternatives is None:
            return [], None, 0
        drawn = alternatives.drawn(part.step.epoch)
        pairs = [(row, drawn[row]) for row in part.forget]
        start = None
        if alternatives.start_logp:
            start = torch.tensor([alternatives.start_logp[pair] for pair in pairs])
        tokens = sum(alternatives.encoded(row, drawn[row]).tokens for row in part.step.forget)
        return [alternatives.encoded(*pair) for pair in pairs], start, tokens

    def _mismatched(self, model: Any, step: Step) -> Tensor | None:
        """Log ratios of the optimizer step's mismatched pairs, made once a step."""
        pairs: Mismatched | None = self.extras.mismatched
        if pairs is None:
            return None
        key = (step.epoch, step.forget)
        if self._ratio is None or self._ratio[0] != key:
            try:
                now = score(model, [pairs.rows[row] for row in step.forget])
            except ModelError as error:
                raise DivergedError(f"{error}; lower the learning rate") from None
            start = [pairs.start_logp[row] for row in step.forget]
            self._ratio = (key, torch.tensor(now, device=model.device) - torch.tensor(start, device=model.device))
        return self._ratio[1]


class _Forward:
    """One forward of a padded batch, cut into the rows of each role. Logits are kept only where a term reads them."""

    def __init__(self, model: Any, padded: PaddedRows, tokens: Tensor, extras: Extras, part: Part) -> None:
        self.padded, self.tokens, self.extras = padded, tokens, extras
        self.logits: Tensor | None = None
        self.hidden: Tensor | None = None
        self.kl: Tensor | None = None
        if extras.layer is not None:
            self.logits, self.hidden = answer_activations(model, padded, extras.layer.index)
        elif extras.logits:
            self.logits = answer_logits(model, padded)
        elif (compared := self._compared(part)) is not None:
            found = answer_logp_and_kl(model, padded, compared)
            if found is not None:
                self.logp, self.kl = found
                return
            self.logits = answer_logits(model, padded)
        self.logp = answer_logp(model, padded) if self.logits is None else logp_of(self.logits, padded)

    def _compared(self, part: Part) -> Compared | None:
        """The positions of roles whose start distributions a term reads, with those distributions."""
        there, found, offset = torch.zeros_like(self.padded.row, dtype=torch.bool), [], 0
        for role, positions in by_role(part).items():
            if role in self.extras.states and positions:
                there |= self._positions(offset, len(positions))
                found.append((self.extras.states[role], positions))
            offset += len(positions)
        if not found:
            return None
        hidden = torch.cat([states.states_of(positions) for states, positions in found])
        distributions = found[0][0].distributions  # all are of the start model
        return Compared(there, lambda where: distributions(hidden[where]))

    def _positions(self, offset: int, count: int) -> Tensor:
        """Which scored positions are of `count` rows from `offset`."""
        return (self.padded.row >= offset) & (self.padded.row < offset + count)

    def scores(self, offset: int, count: int, size: Size) -> Rows:
        """Scores of `count` rows from `offset`."""
        chosen = slice(offset, offset + count)
        return Rows(self.logp[chosen], self.tokens[chosen], size.rows, size.tokens)

    def rows(self, role: Role, positions: Sequence[int], offset: int, size: Size) -> Rows:
        """Scores of the rows of a role with what the loss's terms need beside them."""
        rows = self.scores(offset, len(positions), size)
        there = self._positions(offset, len(positions))
        if role in self.extras.states and positions:
            if self.kl is not None:
                rows = replace(rows, kl=self.kl[offset : offset + len(positions)])
            elif self.logits is not None:
                start = self.extras.states[role].log_probabilities(positions)
                now = log_softmax(self.logits[there].float(), dim=-1)
                per_token = kl_div(now, start, reduction="none", log_target=True).sum(-1)
                sums = per_token.new_zeros(len(positions)).index_add(0, self.padded.row[there] - offset, per_token)
                rows = replace(rows, kl=sums, start_logits=start)
        if self.extras.logits and self.logits is not None and role == "forget":
            rows = replace(rows, logits=self.logits[there], targets=self.padded.targets[there])
        if self.hidden is not None and self.extras.layer is not None:
            rows = replace(rows, hidden=self.hidden[there], direction=self.extras.layer.direction)
            if role == "retain" and positions:
                rows = replace(rows, start_hidden=torch.cat([self.extras.layer.start[i] for i in positions]))
        return rows
