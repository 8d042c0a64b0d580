"""The losses of the NPO paper, one function each, as used by the trainer and by the paper's synthetic study.

A loss returns a scalar to be minimised. It averages with `Rows.mean` or `Rows.token_mean`, which divide by the
size of the whole optimizer batch: summed over micro-batches of any size they give the same loss and gradient.
Hyperparameters are keyword-only and default to the paper's. Words and shapes: `batch`.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import logsigmoid

from .batch import Rows, needed, objective

NPO_PAPER = "Zhang et al. 2024 (arXiv 2404.05868)"


@objective(formula="mean logp", source=f"{NPO_PAPER}, section 2; Jang et al. 2023 (arXiv 2210.01504)")
def ga(rows: Rows) -> Tensor:
    """Gradient ascent on the forget rows' likelihood: minimises mean logp, which has no lower bound."""
    return rows.mean(rows.logp)


@objective(
    formula="-(2/beta) mean log sigmoid(-beta (logp - logp_start))", source=f"{NPO_PAPER}, eq. 3", needs=("start",)
)
def npo(rows: Rows, *, beta: float = 0.1) -> Tensor:
    """Negative preference optimization: gradient ascent whose pull on a row fades as the row is forgotten.

    At the start model it equals (2/beta) ln 2 and its gradient is GA's; each row's gradient is weighted by
    2 p^beta / (p^beta + p_start^beta) (eq. 5), so rows already forgotten stop pulling. As beta -> 0 it tends to
    GA up to a constant (proposition 1).
    """
    return rows.mean(-(2 / beta) * logsigmoid(-beta * rows.log_ratio))


@objective(
    formula="-(1/beta) mean log sigmoid(beta (logp_idk - logp_idk_start) - beta (logp - logp_start))",
    source=f"{NPO_PAPER}, eq. 2; Rafailov et al. 2023 (arXiv 2305.18290)",
    needs=("start", "alternative", "alternative_start"),
)
def dpo(rows: Rows, *, beta: float = 0.1) -> Tensor:
    """Direct preference optimization: an uninformed answer is preferred to the one to forget.

    (1/beta) ln 2 at the start model.
    """
    preferred = needed(rows.alternative, "alternative answers")
    return rows.mean(-(1 / beta) * logsigmoid(beta * (preferred.log_ratio - rows.log_ratio)))


@objective(
    formula="mean (1 - sigmoid(beta (z0 - (logp - logp_start)))), z0 = max(0, mean mismatched log ratio)",
    source="Ethayarajh et al. 2024 (arXiv 2402.01306), eq. 8, forget rows as undesirable",
    needs=("start", "mismatched"),
)
def kto(rows: Rows, *, beta: float = 0.1) -> Tensor:
    """Kahneman-Tversky optimization with nothing but undesirable rows.

    z0 estimates KL(model || start) from prompts paired with answers of other rows; it carries no gradient.
    """
    z0 = needed(rows.mismatched_ratio, "mismatched pairs").mean().clamp(min=0).detach()
    return rows.mean(1 - (beta * (z0 - rows.log_ratio)).sigmoid())


@objective(formula="-sum logp_idk / sum tokens_idk", source=f"{NPO_PAPER}, section 2 (FG, IDK)", needs=("alternative",))
def fg(rows: Rows) -> Tensor:
    """Cross-entropy on an uninformed answer to the forget prompts, mean over answer tokens."""
    uninformed = needed(rows.alternative, "alternative answers")
    return uninformed.token_mean(-uninformed.logp)


@objective(formula="-sum logp / sum tokens", source=f"{NPO_PAPER}, section 2 (RT)", role="retain")
def rt(rows: Rows) -> Tensor:
    """Cross-entropy on the retain rows, mean over answer tokens: keep answering them as before."""
    return rows.token_mean(-rows.logp)


@objective(
    formula="sum KL(start || model) / sum tokens, retain rows",
    source=f"{NPO_PAPER}, section 2 (K_RT)",
    role="retain",
    needs=("kl",),
)
def k_rt(rows: Rows) -> Tensor:
    """KL(start || model) on the retain rows' answer tokens, mean over tokens, full vocabulary."""
    return rows.token_mean(needed(rows.kl, "start distributions"))


@objective(
    formula="sum KL(start || model) / sum tokens, forget rows",
    source=f"{NPO_PAPER}, section 2 (K_FG); Chen & Yang 2023 (arXiv 2310.20150)",
    needs=("kl",),
)
def k_fg(rows: Rows) -> Tensor:
    """KL(start || model) on the forget rows' answer tokens; a negative weight pushes away from the start model."""
    return rows.token_mean(needed(rows.kl, "start distributions"))
