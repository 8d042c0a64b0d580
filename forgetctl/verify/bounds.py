"""The limits of a verdict, and the shape of one line of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .statistics.distances import Levels

Status = Literal["pass", "fail", "unknown", "skipped"]

COUNT_CHECKS = 4
"""Checks that count rows share the failing level, so that one of them fails by chance no more often than it says."""


@dataclass(frozen=True)
class Bounds:
    """The limits that a verdict uses, fixed before training.

    delta: largest distance D (Kolmogorov-Smirnov) still called equal, in (0, 0.2]. It also sets the limits of the
    mean log-prob (`equivalence_margin`) and of the attacks' AUC (`auc_margin`).
    utility_loss: largest relative fall of a measure of usefulness that is still no damage.
    pass_level, fail_level: how often a claim that passes or fails a check may be wrong by chance.
    """

    delta: float = 0.15
    utility_loss: float = 0.02
    pass_level: float = 0.01
    fail_level: float = 0.05

    @property
    def levels(self) -> Levels:
        """The error rates that intervals are made with."""
        return Levels(self.pass_level, self.fail_level)


@dataclass(frozen=True)
class Check:
    """One line of the verdict: what was asked, the answer, and the words for it."""

    name: str
    status: Status
    code: str
    text: str
