"""Scores of several answers to the same prompts, where each prompt is computed once.

The paraphrased and the perturbed answers of truth ratios share their prompt: computed anew for each, the prompts are
a third and more of all tokens. Here a model's keys and values of a prompt are kept and given to all of its answers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from transformers import DynamicCache

from ...errors import ModelError
from ..encoding import Encoded
from ..memory import in_halves
from ..protocol import Model
from ..scoring import PaddedRows, length_batches, logp_of, pad_rows, score, short_input, sum_rows
from .decoding import can_decode, pad_left
from .output_head import has_plain_head, head_gives_logp

MAX_ROWS = 32
"""Answers at once: beyond that their keys and values no longer stay in a processor's cache."""
MAX_TOKENS = 4096


@dataclass(frozen=True)
class _Prompts:
    """Keys and values of prompts but for their last token, by layer: (prompts, heads, tokens, width).

    mask: (prompts, tokens) what is no padding, which is on the left.
    """

    states: list[tuple[Tensor, Tensor]]
    mask: Tensor

    def of(self, which: Tensor) -> DynamicCache:
        """A cache with these prompts, as often as they are named."""
        return DynamicCache([(keys[which], values[which]) for keys, values in self.states])


@torch.no_grad()
def score_answers(model: Model, rows: Sequence[Encoded]) -> list[float]:
    """Summed answer log-probability of every row, in the order given: what `scoring.score` gives, but faster where
    prompts repeat. Raises ModelError and MemoryExceeded as `scoring.score`."""
    answers: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for index, row in enumerate(rows):
        answers[row.ids[: row.start - 1]].append(index)
    most = short_input(model)
    shared = [
        prompt
        for prompt, own in answers.items()
        if prompt and len(own) > 1 and (most is None or max(len(rows[index].ids) for index in own) <= most)
    ]
    if not can_decode(model):
        shared = []
    alone = [index for prompt, own in answers.items() if prompt not in set(shared) for index in own]
    scores = dict(zip(alone, score(model, [rows[index] for index in alone]), strict=True))

    def compute(batch: Sequence[int]) -> None:
        some = [shared[place] for place in batch]
        scores.update(_score_together(model, rows, _read(model, some), [answers[prompt] for prompt in some]))

    for batch in length_batches([Encoded(prompt, len(prompt)) for prompt in shared], max_tokens=MAX_TOKENS):
        in_halves(batch, compute)
    return [scores[index] for index in range(len(rows))]


def _read(model: Model, prompts: Sequence[tuple[int, ...]]) -> _Prompts:
    ids, mask = (part.to(model.device) for part in pad_left(prompts, 0))
    # Without the config every layer keeps all positions; where it has a sliding window, the mask hides the rest.
    cache = DynamicCache()
    positions = (mask.cumsum(1) - 1).clamp_min(0)
    model(
        input_ids=ids, attention_mask=mask, position_ids=positions, past_key_values=cache, use_cache=True,
        logits_to_keep=1,
    )  # fmt: skip
    return _Prompts([(keys, values) for keys, values, _ in cache], mask)


def _score_together(
    model: Model, rows: Sequence[Encoded], prompts: _Prompts, answers: Sequence[Sequence[int]]
) -> dict[int, float]:
    """Scores by row. answers: for each of the prompts the rows that begin with it."""
    own = [(index, prompt) for prompt, group in enumerate(answers) for index in group]
    # The last token of the prompt predicts the first one of the answer.
    rests = [replace(rows[index], ids=rows[index].ids[rows[index].start - 1 :], start=1) for index, _ in own]
    scores: dict[int, float] = {}

    def compute(places: Sequence[int]) -> None:
        batch = pad_rows([rests[place] for place in places]).to(model.device)
        values = _answer_logp(model, batch, prompts, torch.tensor([own[place][1] for place in places]))
        if not torch.isfinite(values).all():
            raise ModelError("the model gives a log-probability that is not finite")
        scores.update(zip((own[place][0] for place in places), values.tolist(), strict=True))

    for places in length_batches(rests, MAX_ROWS, MAX_TOKENS):
        in_halves(places, compute)
    return scores


def _answer_logp(model: Model, batch: PaddedRows, prompts: _Prompts, which: Tensor) -> Tensor:
    """Summed log-probability of each answer, (rows,). which: (rows,) the prompt of each."""
    which = which.to(model.device)
    known = prompts.mask[which]
    inputs = {
        "input_ids": batch.input_ids,
        "attention_mask": torch.cat([known, torch.ones_like(batch.input_ids)], dim=1),
        # What pads stays at its row's last position: one further on would turn LongRoPE's long factors on, for all.
        "position_ids": known.sum(1, keepdim=True) + batch.attention_mask.cumsum(1) - 1,
        "past_key_values": prompts.of(which),
        "use_cache": True,
        "logits_to_keep": batch.predicts,
    }
    if not has_plain_head(model, lambda: model(input_ids=batch.input_ids[:1], use_cache=False)):
        return logp_of(model(**inputs).logits, batch)
    with head_gives_logp(model, batch.targets):
        return sum_rows(model(**inputs).logits, batch)
