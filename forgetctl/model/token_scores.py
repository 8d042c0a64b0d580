"""What a teacher-forced pass tells of every answer token: its log-probability, its rank, and how unlikely it was."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import ModelError
from .encoding import Encoded
from .memory import in_halves
from .protocol import Model
from .scoring import answer_logits, length_batches, logp_of, pad_rows, short_input

CHUNK = 512
"""Positions whose whole distributions are held in float32 at once."""


@dataclass(frozen=True, repr=False)
class TokenScores:
    """One answer, end of turn included.

    total: its summed log-probability in nats, as `scoring.score` gives it. logp: (tokens,) nats. hits: (tokens,)
    whether the token is the model's first choice. standardised: (tokens,) logp less the mean log-probability of the
    distribution it was drawn from, over its standard deviation (Min-K%++, Zhang et al. 2024, eq. 3).
    """

    total: float
    logp: NDArray[np.float32]
    hits: NDArray[np.bool_]
    standardised: NDArray[np.float32]


@torch.no_grad()
def score_tokens(
    model: Model, rows: Sequence[Encoded], advance: Callable[[int], None] = lambda _: None
) -> list[TokenScores]:
    """Token scores of every row, in the order given.

    advance: called with the number of rows just done. Raises ModelError and MemoryExceeded as `scoring.score`.
    """
    scores: dict[int, TokenScores] = {}

    def compute(indices: Sequence[int]) -> None:
        batch = pad_rows([rows[index] for index in indices]).to(model.device)
        logits = answer_logits(model, batch)
        totals = logp_of(logits, batch)
        if not torch.isfinite(totals).all():
            raise ModelError("the model gives a log-probability that is not finite")
        logp, hits, standardised = _of_tokens(logits, batch.targets)
        row = batch.row.cpu()
        for position, (index, total) in enumerate(zip(indices, totals.tolist(), strict=True)):
            own = row == position
            scores[index] = TokenScores(total, logp[own].numpy(), hits[own].numpy(), standardised[own].numpy())
        advance(len(indices))

    for indices in length_batches(rows, apart=short_input(model)):
        in_halves(indices, compute)
    return [scores[index] for index in range(len(rows))]


def _of_tokens(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Log-probability, hit and standardised log-probability of each target: (tokens,) on the CPU."""
    parts = []
    for some, wanted in zip(torch.split(logits, CHUNK), torch.split(targets, CHUNK), strict=True):
        distribution = torch.log_softmax(some.float(), dim=-1)
        logp = distribution.gather(1, wanted[:, None])[:, 0]
        share = distribution.exp()
        # A token that the model rules out has log-probability -inf and no weight in the mean.
        known = distribution.masked_fill(share == 0, 0.0)
        mean = (share * known).sum(-1)
        # Centred: the difference of squares would cancel on the flat distributions that unlearning may leave.
        spread = (share * (known - mean[:, None]) ** 2).sum(-1).clamp_min(1e-12).sqrt()
        parts.append((logp.cpu(), (some.argmax(-1) == wanted).cpu(), ((logp - mean) / spread).cpu()))
    logp, hits, standardised = (torch.cat(column) for column in zip(*parts, strict=True))
    return logp, hits, standardised
