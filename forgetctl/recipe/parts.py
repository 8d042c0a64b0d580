"""The parts of a recipe: how adapters, passages, the retain sample, calibration and the verdict are set."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from .bounds import Bounds
from .settings import Settings


class Lora(Settings):
    """Low-rank adapters instead of full fine-tuning (Hu et al. 2021)."""

    rank: int = Field(16, ge=1)
    alpha: int = Field(32, ge=1)
    dropout: float = Field(0.0, ge=0, lt=1)
    targets: str | tuple[str, ...] = Field("all-linear", description="all-linear, ends of modules' names, or a pattern")
    quantisation: Literal["none", "nf4"] = Field("none", description="of the weights that the adapters leave alone")

    @field_validator("targets")
    @classmethod
    def _modules(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if not value or not all(name.strip() for name in ([value] if isinstance(value, str) else value)):
            raise ValueError("names no module; give all-linear, a list such as [q_proj, v_proj], or a pattern")
        return value


class Passages(Settings):
    """How rows without a prompt are cut where they are longer than a model takes: see `engine.windows`."""

    window: int | None = Field(None, ge=8, description="tokens of a window; none: the model's context")
    overlap: float = Field(0.25, ge=0, le=0.9, description="share of a window that repeats the end of the one before")


class Retain(Settings):
    """How the retain sample is chosen."""

    ratio: float = Field(3.0, gt=0, description="rows to train on, per forget row")
    minimum: int = Field(64, ge=1, description="but never fewer than this, if the file has them")
    nearest_share: float = Field(0.5, ge=0, le=1, description="share that is nearest to the forget rows")
    near_duplicate: float = Field(90.0, ge=0, le=100, description="similarity of responses that excludes a row")
    check_share: float = Field(0.2, gt=0, lt=1, description="share kept out of training to measure damage")
    check_rows: int = Field(300, ge=1, description="at most this many of them (the paper's 300)")
    answer_tokens: int = Field(64, ge=1, description="longest self-made answer to a neutral prompt")


class Calibration(Settings):
    """Forgetting ends where a model that never saw the rows would be: at levels learned from holdout rows, see
    `maths.unseen`, and with prompts that bring what unseen ones do, see `engine.stand_ins`."""

    weight: float = Field(1.0, gt=0, description="of the pull of each forget row to its level")
    stand_ins: float = Field(2.0, ge=0, description="weight of saying after forget prompts what unseen ones bring")
    share: float = Field(0.5, gt=0, lt=1, description="share of the holdout rows; the rest is left for the verdict")

    @property
    def terms(self) -> dict[str, float]:
        """What it adds to the loss."""
        return {"level": self.weight, **({"k_unseen": self.stand_ins} if self.stand_ins else {})}


class Verify(Bounds):
    """How the artefact is checked, and the bounds frozen into the plan."""

    distractors: int = Field(5, ge=1, description="perturbed answers made where the request has none")
    answer_tokens: int = Field(200, ge=1, description="longest generated answer (TOFU's 200)")
    primed_tokens: int = Field(8, ge=1, description="first tokens of the response that are given away")
    affirmation: str = Field("Sure, here is the answer:", min_length=1, description="how a willing answer begins")
    samples: int = Field(8, ge=1, description="answers sampled for each row")
    sampled_rows: int = Field(50, ge=0, description="rows that answers are sampled for")
    relearn_learning_rate: float | None = Field(None, gt=0, description="of the relearning attack; none: the recipe's")

    @property
    def bounds(self) -> Bounds:
        """The limits of the verdict."""
        return Bounds(**{name: getattr(self, name) for name in Bounds.model_fields})


class Quotas(Settings):
    """From when on a request needs the owner's word (`unlearn --approve`): see `stages.precheck`."""

    level: float = Field(0.05, gt=0, lt=1, description="how often a row that nobody saw passes for known")
    unknown_share: float = Field(0.5, ge=0, le=1, description="of the forget rows that the start model may not know")
    overlap_share: float = Field(0.2, ge=0, le=1, description="of the other retain rows that the request may exclude")
    forget_share: float = Field(0.5, gt=0, description="forget rows there may be for each retain row")
    common_share: float = Field(0.05, gt=0, le=1, description="of the retain rows that hold a word that is common")
    common_words: int = Field(4, ge=0, description="longest response that is called common, in words")
