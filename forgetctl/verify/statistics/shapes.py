"""What an estimate looks like: frozen, validated, and the same in memory, in a file and on a page."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer


class Shape(BaseModel):
    """A frozen record of numbers. Every key must be there and no other, so that nothing stands in for what was not
    measured."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def finite(value: float | None) -> float | None:
    """A number, or None for what JSON cannot hold: not a number, or infinite."""
    return value if value is not None and math.isfinite(value) else None


def _unbounded(instead: float) -> BeforeValidator:
    return BeforeValidator(lambda value: instead if value is None else value)


_FINITE = PlainSerializer(finite, return_type=float | None, when_used="json")
_BOUND = Field(description="One-sided bound; null if there is none.")
Lower = Annotated[float, _unbounded(-math.inf), _FINITE, _BOUND]
Upper = Annotated[float, _unbounded(math.inf), _FINITE, _BOUND]
Noise = Annotated[
    float,
    _unbounded(math.inf),
    _FINITE,
    Field(description="What chance alone adds to the bound, nine times of ten; null if that is unbounded."),
]
Distance = Annotated[
    float, Field(description="Largest gap between two distributions of scores: 0 if equal, 1 if nothing is in common.")
]
Nats = Annotated[float, Field(description="In nats a token.")]
Share = Annotated[float, Field(description="0 to 1.")]
Relative = Annotated[float, Field(description="Relative change; -0.02 is a fall by 2 %.")]
RowName = Annotated[
    str,
    Field(
        pattern=r"^([1-9][0-9]{0,8}:)?[0-9]{1,15}(, turn [1-9][0-9]{0,8})?(, rejected)?$",
        description="What names a row: its line or row, behind the number of its file if there are several.",
    ),
]
Chance = Annotated[float, Field(description="p-value, 0 to 1: how often chance alone gives as much.")]
