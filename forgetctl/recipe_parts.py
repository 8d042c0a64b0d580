"""What a recipe is made of: the base of its parts, and the part that says what a request may ask for."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, field_validator


class Part(BaseModel):
    """Frozen, without unknown keys, and no truth values where numbers belong."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_values(cls, value: object) -> object:
        if isinstance(value, bool):  # YAML's yes and no; pydantic would take them for 1 and 0
            raise ValueError("is true or false, which nothing here can be")
        return value


class Quotas(Part):
    """From when on a request needs the owner's word (`unlearn --approve`): see `stages.precheck`."""

    level: float = Field(0.05, gt=0, lt=1, description="how often a row that nobody saw passes for known")
    unknown_share: float = Field(0.5, ge=0, le=1, description="of the forget rows that the start model may not know")
    overlap_share: float = Field(0.2, ge=0, le=1, description="of the other retain rows that the request may exclude")
    forget_share: float = Field(0.5, gt=0, description="forget rows there may be for each retain row")
    common_share: float = Field(0.05, gt=0, le=1, description="of the retain rows that hold a word that is common")
    common_words: int = Field(4, ge=0, description="longest response that is called common, in words")
