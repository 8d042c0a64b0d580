"""The limits of a verdict, fixed before anything is trained or measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from .settings import Settings

if TYPE_CHECKING:
    from ..verify.statistics.distances import Levels


class Bounds(Settings):
    """What is still called equal or undamaged, and how often chance may decide otherwise.

    delta also sets the limits of the mean log-probability (`equivalence_margin`) and of the attacks' AUC
    (`auc_margin`). A looser one than .2 would make PASS meaningless.
    """

    delta: float = Field(0.15, gt=0, le=0.2, description="largest distance D that is still called equal")
    utility_loss: float = Field(
        0.02, ge=0, lt=1, description="largest relative fall of a measure of usefulness that is no damage"
    )
    pass_level: float = Field(0.01, gt=0, le=0.05, description="how often a check may pass by chance")
    fail_level: float = Field(0.05, gt=0, le=0.05, description="how often a check may fail by chance")

    @property
    def levels(self) -> Levels:
        """The error rates that intervals are made with."""
        from ..verify.statistics.distances import Levels  # scipy is slow to import, and most commands do not judge

        return Levels(self.pass_level, self.fail_level)
