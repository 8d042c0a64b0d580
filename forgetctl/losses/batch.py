"""What an objective sees, and how it is registered.

Words. The *start* model is the model before unlearning; the NPO paper (Zhang, Lin, Bai, Mei 2024, arXiv
2404.05868) calls it the reference model, pi_ref, a word that here means a model that never saw the forget rows.
`logp` is the SUM of the log-probabilities of an answer's tokens, end of sequence included; `tokens` counts them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypeVar, get_args

import torch
from torch import Tensor

from .summaries import first_paragraph

Role = Literal["forget", "retain", "unseen"]
"""Kinds of rows. Unseen rows stand for what no model saw: see `train/stand_ins.py`."""
ROLES: tuple[Role, ...] = get_args(Role)
"""All of them, in the order that they are drawn and computed in."""
Need = Literal[
    "start",
    "alternative",
    "alternative_start",
    "kl",
    "mismatched",
    "logits",
    "start_logits",
    "hidden",
    "start_hidden",
    "level",
]


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Scores of the n rows of one role in a micro-batch, with t answer tokens in all; tensors (n,) unless said.

    batch_rows, batch_tokens: size of the optimizer batch that these rows are a part of.

    The rest is there where an objective declares that it needs it:
    start_logp: the start model's `logp`.
    kl: KL(start || model) summed over the answer's tokens, over the full vocabulary, in nats.
    alternative: the same prompts with an uninformed answer ("I don't know").
    mismatched_ratio: logp - logp_start of the same prompts with answers of other rows, without gradient, for the
    whole optimizer batch.
    logits, start_logits: (t, vocabulary), of the model and, up to a constant a position, of the start model; targets:
    (t,) the answers' token ids.
    level: (n,) the log-probability a token at which each row would lie had the model never seen it.
    hidden, start_hidden: (t, width) activations of one inner layer; direction: (width,) a random unit vector.
    """

    logp: Tensor
    tokens: Tensor
    batch_rows: float
    batch_tokens: float
    start_logp: Tensor | None = None
    kl: Tensor | None = None
    alternative: Rows | None = None
    mismatched_ratio: Tensor | None = None
    logits: Tensor | None = None
    start_logits: Tensor | None = None
    targets: Tensor | None = None
    hidden: Tensor | None = None
    start_hidden: Tensor | None = None
    direction: Tensor | None = None
    level: Tensor | None = None

    def mean(self, per_row: Tensor) -> Tensor:
        """This part's share of the mean over the optimizer batch's rows."""
        return per_row.sum() / self.batch_rows

    def token_mean(self, values: Tensor) -> Tensor:
        """This part's share of the mean over the optimizer batch's answer tokens, from token values or row sums."""
        return values.sum() / self.batch_tokens

    def above_level(self) -> Rows:
        """The same rows, but only those that still lie above their level have a gradient through `logp`."""
        level = needed(self.level, "the level of each row")
        return replace(self, logp=torch.where(self.logp > level * self.tokens, self.logp, self.logp.detach()))

    @property
    def log_ratio(self) -> Tensor:
        """logp - logp_start, (n,). Raises ValueError if the start model was not scored."""
        return self.logp - needed(self.start_logp, "the start model's log-probabilities")


Value = TypeVar("Value")


def needed(value: Value | None, what: str) -> Value:
    """The value, which the caller had to supply. Raises ValueError naming `what` if it is missing."""
    if value is None:
        raise ValueError(f"this objective needs {what}")
    return value


@dataclass(frozen=True)
class Batch:
    """What an objective sees: scored rows of the roles that its terms read, of one role at least."""

    rows: Mapping[Role, Rows]

    def role(self, role: Role) -> Rows:
        """The rows of `role`. Raises ValueError if the batch has none."""
        return needed(self.rows.get(role), f"{role} rows")

    @property
    def device(self) -> torch.device:
        """Where the scores are."""
        return next(iter(self.rows.values())).logp.device


@dataclass(frozen=True, kw_only=True)
class Objective:
    """A registered loss: its function, what it is called in papers, and what it needs."""

    name: str
    function: Callable[..., Tensor]
    formula: str
    source: str
    role: Role
    needs: frozenset[Need]

    @property
    def summary(self) -> str:
        """What it does: the first paragraph of its docstring."""
        return first_paragraph(inspect.getdoc(self.function) or "")

    @property
    def hyperparameters(self) -> dict[str, float]:
        """Keyword-only parameters with their defaults."""
        parameters = inspect.signature(self.function).parameters.values()
        return {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}


OBJECTIVES: dict[str, Objective] = {}


def objective(
    *, formula: str, source: str, role: Role = "forget", needs: tuple[Need, ...] = ()
) -> Callable[[Callable[..., Tensor]], Callable[..., Tensor]]:
    """Register a loss under its function's name."""

    def register(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        name = function.__name__
        OBJECTIVES[name] = Objective(
            name=name, function=function, formula=formula, source=source, role=role, needs=frozenset(needs)
        )
        return function

    return register
