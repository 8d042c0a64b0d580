"""The limits of a verdict, fixed before anything is trained or measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from .settings import Settings

if TYPE_CHECKING:
    from ..verify.statistics.distances import Levels


class Bounds(Settings):
    """What is still called forgotten, equal or undamaged, and how often chance may decide otherwise.

    The share left decides on each person; looser bounds than the largest ones would make PASS meaningless. delta also
    sets the limits of the mean log-probability (`equivalence_margin`) and of the attacks' AUC (`auc_margin`).
    """

    share_left: float = Field(
        0.1,
        gt=0,
        le=0.2,
        description="largest share of the start model's lead on a person's rows that may be left, as they were taught, "
        "asked in other words, and in first choices of tokens",
    )
    share_left_contrast: float = Field(
        0.25, gt=0, le=0.5, description="the same of the paraphrased answer's lead over wrong ones"
    )
    share_left_unpaired: float = Field(
        0.25, gt=0, le=0.5, description="the same where no reference is given, and unseen rows stand for it"
    )
    overshoot: float = Field(
        0.25, gt=0, le=0.5, description="share of that lead by which a model may lie below one that never saw the rows"
    )
    contrast_rows: int = Field(
        20, ge=1, le=100, description="rows of a person from which an open contrast with wrong answers holds back PASS"
    )
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
