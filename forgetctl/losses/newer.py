"""Losses of papers after NPO that a model owner may ask for, one function each.

Interface and words: `batch`. All but RMU act on the answers' tokens through their logits or log-probabilities.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, logsigmoid, one_hot

from .batch import Rows, needed, objective

SIMNPO = "Fan et al. 2024 (arXiv 2410.07163), eq. 4"
RMU = "Li et al. 2024 (arXiv 2403.03218), section 4"
UNDIAL = "Dong et al. 2024 (arXiv 2402.10052), section 3"
WGA = "Wang et al. 2025 (arXiv 2502.19301), WGA"
SATIMP = "Yang et al. 2025 (arXiv 2505.11953), SatImp"
CEU = "Yang 2025 (arXiv 2503.01224), CE-U"


@objective(formula="-(2/beta) mean log sigmoid(-(beta/tokens) logp - gamma)", source=SIMNPO)
def simnpo(rows: Rows, *, beta: float = 2.5, gamma: float = 0.0) -> Tensor:
    """NPO without a start model: the reward is the answer's mean log-probability a token, with a margin gamma."""
    return rows.mean(-(2 / beta) * logsigmoid(-beta * rows.logp / rows.tokens - gamma))


@objective(formula="mean over tokens of |h - steering u|^2 / width", source=RMU, needs=("hidden",))
def rmu(rows: Rows, *, steering: float = 2.0) -> Tensor:
    """Representation misdirection: drive an inner layer on the forget rows to a fixed random direction."""
    hidden, direction = needed(rows.hidden, "activations"), needed(rows.direction, "a direction")
    return rows.token_mean((hidden - steering * direction).square().mean(-1))


@objective(
    formula="mean over tokens of |h - h_start|^2 / width", source=RMU, role="retain", needs=("hidden", "start_hidden")
)
def rmu_rt(rows: Rows) -> Tensor:
    """RMU's other half: keep the same layer's activations on the retain rows where the start model has them."""
    hidden, start = needed(rows.hidden, "activations"), needed(rows.start_hidden, "the start model's activations")
    return rows.token_mean((hidden - start).square().mean(-1))


@objective(
    formula="mean over tokens of H(softmax(logits_start - strength onehot(token)), softmax(logits))",
    source=UNDIAL,
    needs=("logits", "start_logits"),
)
def undial(rows: Rows, *, strength: float = 10.0) -> Tensor:
    """Self-distillation to the start model's own distribution with the true token's logit lowered by `strength`."""
    logits, start = _logits(rows), needed(rows.start_logits, "the start model's logits")
    marks = one_hot(needed(rows.targets, "target tokens"), logits.shape[-1])
    taught = (start - strength * marks).softmax(-1).detach()
    return rows.token_mean(cross_entropy(logits, taught, reduction="none"))


@objective(formula="mean over tokens of w log p, w = p^alpha without gradient", source=WGA, needs=("logits",))
def wga(rows: Rows, *, alpha: float = 1.0) -> Tensor:
    """Weighted gradient ascent: tokens that are forgotten already (small p) lose their weight."""
    logp = _token_logp(rows)
    return rows.token_mean((alpha * logp).exp().detach() * logp)


@objective(
    formula="mean over tokens of w log p, w = p^beta1 (1 - p)^beta2 without gradient", source=SATIMP, needs=("logits",)
)
def satimp(rows: Rows, *, beta1: float = 5.0, beta2: float = 1.0) -> Tensor:
    """Gradient ascent weighted by saturation (p^beta1) and importance ((1 - p)^beta2)."""
    logp = _token_logp(rows)
    p = logp.exp()
    return rows.token_mean((p**beta1 * (1 - p) ** beta2).detach() * logp)


@objective(
    formula="mean over tokens of H(softmax(logits without the true token), softmax(logits))",
    source=CEU,
    needs=("logits",),
)
def ceu(rows: Rows) -> Tensor:
    """Cross-entropy to the model's own distribution with the true token taken out, without gradient through it."""
    logits = _logits(rows)
    marks = one_hot(needed(rows.targets, "target tokens"), logits.shape[-1]).bool()
    taught = logits.masked_fill(marks, -torch.inf).softmax(-1).detach()
    return rows.token_mean(cross_entropy(logits, taught, reduction="none"))


def _logits(rows: Rows) -> Tensor:
    """Logits of the answer tokens, (t, vocabulary), at least in float32."""
    logits = needed(rows.logits, "logits")
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def _token_logp(rows: Rows) -> Tensor:
    """Log-probability of each answer token, (t,)."""
    return -cross_entropy(_logits(rows), needed(rows.targets, "target tokens"), reduction="none")
