"""All objectives by name, the methods that are weighted sums of them, and the loss made of such a sum.

The functions themselves: `losses` (the NPO paper's), `newer` (later papers').
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from . import levels as _levels  # noqa: F401  registers its objective
from . import newer
from .batch import OBJECTIVES, ROLES, Batch, Need, Objective, Role, Rows
from .npo_paper import NPO_PAPER

__all__ = ["METHODS", "OBJECTIVES", "ROLES", "Batch", "Method", "Need", "Objective", "Role", "Rows", "WeightedSum"]


@dataclass(frozen=True)
class Method:
    """A named weighted sum of objectives."""

    name: str
    terms: Mapping[str, float]
    source: str

    @property
    def minimises(self) -> str:
        """The sum, as `1 npo + 1 rt`."""
        return " + ".join(f"{weight:g} {term}" for term, weight in self.terms.items())


SECTION_2 = f"{NPO_PAPER}, section 2"
METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method("ga", {"ga": 1.0}, SECTION_2),
        Method("ga-rt", {"ga": 1.0, "rt": 1.0}, SECTION_2),
        Method("ga-kl", {"ga": 1.0, "k_rt": 1.0}, SECTION_2),
        Method("idk-rt", {"fg": 1.0, "rt": 1.0}, SECTION_2),
        Method("dpo", {"dpo": 1.0}, f"{NPO_PAPER}, eq. 2"),
        Method("dpo-rt", {"dpo": 1.0, "rt": 1.0}, f"{NPO_PAPER}, section 5"),
        Method("dpo-kl", {"dpo": 1.0, "k_rt": 1.0}, f"{NPO_PAPER}, section 5"),
        Method("kto", {"kto": 1.0}, f"{NPO_PAPER}, section 5"),
        Method("kto-rt", {"kto": 1.0, "rt": 1.0}, f"{NPO_PAPER}, section 5"),
        Method("npo", {"npo": 1.0}, f"{NPO_PAPER}, eq. 3"),
        Method("npo-rt", {"npo": 1.0, "rt": 1.0}, f"{NPO_PAPER}, section 5"),
        Method("npo-kl", {"npo": 1.0, "k_rt": 1.0}, f"{NPO_PAPER}, section 5"),
        Method("simnpo-rt", {"simnpo": 1.0, "rt": 1.0}, newer.SIMNPO),
        Method("rmu", {"rmu": 1.0, "rmu_rt": 1.0}, newer.RMU),
        Method("undial-rt", {"undial": 1.0, "rt": 1.0}, newer.UNDIAL),
        Method("wga-rt", {"wga": 1.0, "rt": 1.0}, newer.WGA),
        Method("satimp-rt", {"satimp": 1.0, "rt": 1.0}, newer.SATIMP),
        Method("ceu-rt", {"ceu": 1.0, "rt": 1.0}, newer.CEU),
    )
}


@dataclass(frozen=True)
class WeightedSum:
    """A loss made of several objectives: sum of weight times term. A part of a batch without rows of a term's role adds
    nothing to that term. Where `level` is one of the terms, the others drive no forget row beyond its level.

    hyperparameters: values for keyword-only parameters, given to every term that has one of that name.
    """

    terms: Mapping[str, float]
    hyperparameters: Mapping[str, Any]

    def __call__(self, batch: Batch) -> Tensor:
        """Scalar loss of `batch`. Raises ValueError when the batch lacks what a term needs."""
        total = torch.zeros((), device=batch.device)
        for name, weight in self.terms.items():
            term = OBJECTIVES[name]
            rows = batch.role(term.role)
            if len(rows.logp):
                if term.role == "forget" and "level" in self.terms and name != "level":
                    rows = rows.above_level()
                known = {key: value for key, value in self.hyperparameters.items() if key in term.hyperparameters}
                total = total + weight * term.function(rows, **known)
        return total

    def needs(self, role: Role) -> frozenset[Need]:
        """What the terms on the rows of `role` need beside their scores."""
        return frozenset(
            need for name in self.terms if OBJECTIVES[name].role == role for need in OBJECTIVES[name].needs
        )

    def needs_of_any(self) -> frozenset[Need]:
        """What the terms need beside scores, on the rows of any role."""
        return frozenset().union(*(self.needs(role) for role in ROLES))

    def reads(self, role: Role) -> bool:
        """Whether any term reads rows of `role`."""
        return any(OBJECTIVES[name].role == role for name in self.terms)
