"""The losses, one function each, as used by the language-model trainer and by the paper's synthetic study.

Words. The *start* model is the model before unlearning; the NPO paper (Zhang, Lin, Bai, Mei 2024, arXiv
2404.05868) calls it the reference model, pi_ref, a word that here means a model that never saw the forget rows.
`logp` is the SUM of the log-probabilities of an answer's tokens, end of sequence included; `tokens` counts them.

A loss returns a scalar to be minimised. It averages with `Rows.mean` or `Rows.token_mean`, which divide by the
size of the whole optimizer batch: summed over micro-batches of any size they give the same loss and gradient.
Hyperparameters are keyword-only and default to the paper's.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

NPO_PAPER = "Zhang et al. 2024 (arXiv 2404.05868)"
Role = Literal["forget", "retain"]


@dataclass(frozen=True)
class Rows:
    """Scores of the rows of one role in a micro-batch, each tensor (n,).

    start_logp: the start model's `logp`, where the objective needs it.
    batch_rows, batch_tokens: size of the optimizer batch that these rows are a part of.
    """

    logp: Tensor
    tokens: Tensor
    batch_rows: float
    batch_tokens: float
    start_logp: Tensor | None = None

    def mean(self, per_row: Tensor) -> Tensor:
        """This part's share of the mean over the optimizer batch's rows."""
        return per_row.sum() / self.batch_rows

    def token_mean(self, per_row: Tensor) -> Tensor:
        """This part's share of the mean over the optimizer batch's answer tokens."""
        return per_row.sum() / self.batch_tokens

    @property
    def log_ratio(self) -> Tensor:
        """logp - logp_start, (n,). Raises ValueError if the start model was not scored."""
        if self.start_logp is None:
            raise ValueError("this objective needs the start model's log-probabilities")
        return self.logp - self.start_logp


@dataclass(frozen=True)
class Batch:
    """What an objective sees: scored forget rows and, where a term asks for them, scored retain rows."""

    forget: Rows
    retain: Rows | None = None

    def role(self, role: Role) -> Rows:
        """The rows of `role`. Raises ValueError if the batch has none."""
        rows = self.forget if role == "forget" else self.retain
        if rows is None:
            raise ValueError(f"this batch has no {role} rows")
        return rows


@dataclass(frozen=True)
class Objective:
    """A registered loss: its function, what it is called in papers, and what it needs."""

    name: str
    function: Callable[..., Tensor]
    formula: str
    source: str
    role: Role
    needs_start: bool

    @property
    def hyperparameters(self) -> dict[str, float]:
        """Keyword-only parameters with their defaults."""
        parameters = inspect.signature(self.function).parameters.values()
        return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


OBJECTIVES: dict[str, Objective] = {}


def objective(
    *, formula: str, source: str, role: Role = "forget", needs_start: bool = False
) -> Callable[[Callable[..., Tensor]], Callable[..., Tensor]]:
    """Register a loss under its function's name."""

    def register(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        name = function.__name__
        OBJECTIVES[name] = Objective(name, function, formula, source, role, needs_start)
        return function

    return register


@objective(formula="mean logp", source=f"{NPO_PAPER}, section 2; Jang et al. 2023 (arXiv 2210.01504)")
def ga(rows: Rows) -> Tensor:
    """Gradient ascent on the forget rows' likelihood: minimises mean logp, which has no lower bound."""
    return rows.mean(rows.logp)


@objective(
    formula="-(2/beta) mean log sigmoid(-beta (logp - logp_start))",
    source=f"{NPO_PAPER}, eq. 3",
    needs_start=True,
)
def npo(rows: Rows, *, beta: float = 0.1) -> Tensor:
    """Negative preference optimization.

    At the start model it equals (2/beta) ln 2 and its gradient is GA's; each row's gradient is weighted by
    2 p^beta / (p^beta + p_start^beta) (eq. 5), so rows already forgotten stop pulling. As beta -> 0 it tends to
    GA up to a constant (proposition 1).
    """
    return rows.mean(-(2 / beta) * logsigmoid(-beta * rows.log_ratio))


@objective(formula="-sum logp / sum tokens", source=f"{NPO_PAPER}, section 2 (RT)", role="retain")
def rt(rows: Rows) -> Tensor:
    """Cross-entropy on the retain rows, mean over answer tokens: keep answering them as before."""
    return rows.token_mean(-rows.logp)


@dataclass(frozen=True)
class Method:
    """A named weighted sum of objectives."""

    name: str
    terms: Mapping[str, float]
    source: str


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method("ga", {"ga": 1.0}, f"{NPO_PAPER}, section 2"),
        Method("ga-rt", {"ga": 1.0, "rt": 1.0}, f"{NPO_PAPER}, section 2"),
        Method("npo", {"npo": 1.0}, f"{NPO_PAPER}, eq. 3"),
        Method("npo-rt", {"npo": 1.0, "rt": 1.0}, f"{NPO_PAPER}, section 5"),
    )
}


@dataclass(frozen=True)
class WeightedSum:
    """A loss made of several objectives: sum of weight times term.

    hyperparameters: values for keyword-only parameters, given to every term that has one of that name.
    """

    terms: Mapping[str, float]
    hyperparameters: Mapping[str, Any]

    def __call__(self, batch: Batch) -> Tensor:
        """Scalar loss of `batch`. Raises ValueError when the batch lacks what a term needs."""
        total = torch.zeros((), device=batch.forget.logp.device)
        for name, weight in self.terms.items():
            term = OBJECTIVES[name]
            known = {key: value for key, value in self.hyperparameters.items() if key in term.hyperparameters}
            total = total + weight * term.function(batch.role(term.role), **known)
        return total

    @property
    def needs_start(self) -> bool:
        """Whether any term compares with the start model."""
        return any(OBJECTIVES[name].needs_start for name in self.terms)

    @property
    def needs_retain(self) -> bool:
        """Whether any term reads retain rows."""
        return any(OBJECTIVES[name].role == "retain" for name in self.terms)
