"""What a group of settings is, whoever wrote it: nothing undeclared, and numbers that can be computed with."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, field_validator

LARGEST = 1e12
"""No setting comes near this; what is larger would only overflow later."""


class Settings(BaseModel):
    """Frozen, without unknown keys; numbers are finite and no truth values, also in a mapping."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_values(cls, value: object) -> object:
        if isinstance(value, bool):  # YAML's yes and no; pydantic would take them for 1 and 0
            raise ValueError("is true or false, which nothing here can be")
        if isinstance(value, int) and abs(value) > LARGEST:  # before it is made a float, which may not hold it
            raise ValueError(f"is a number beyond {LARGEST:g}")
        return value

    @field_validator("*")
    @classmethod
    def _no_huge_numbers(cls, value: object) -> object:
        for name, number in value.items() if isinstance(value, dict) else [("", value)]:
            if isinstance(number, int | float) and abs(number) > LARGEST:
                raise ValueError(f"{name} is a number beyond {LARGEST:g}".lstrip())
        return value
