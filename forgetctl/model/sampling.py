"""How an owner draws answers: the settings of decoding that a model brings, or that are given."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError

from ..errors import ModelError, UsageError
from .directories import read_config

if TYPE_CHECKING:
    from torch import Tensor


class Sampling(BaseModel):
    """From which tokens one is drawn, in the order in which transformers' `generate` applies it: at a temperature, of
    the `top_k` likeliest, of the fewest that have `top_p` of the probability together (Holtzman et al. 2020)."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    temperature: float = Field(1.0, gt=0)
    top_k: PositiveInt | None = None
    top_p: float = Field(1.0, gt=0, le=1)

    @classmethod
    def parse(cls, text: str) -> Self:
        """From `temperature=.7,top_p=.9`. Raises UsageError for anything else."""
        try:
            return cls.model_validate(dict(part.strip().split("=", 1) for part in text.split(",")))
        except ValueError:
            keys = ", ".join(cls.model_fields)
            raise UsageError(f"no way to draw answers; give some of {keys}, such as temperature=.7,top_p=.9") from None

    @property
    def plain(self) -> bool:
        """Whether it is the model's own distribution, with nothing cut off."""
        return self == PLAIN

    def __str__(self) -> str:
        parts = [f"temperature {self.temperature:g}"]
        parts += [f"top-k {self.top_k}"] if self.top_k else []
        return ", ".join([*parts, *([f"top-p {self.top_p:g}"] if self.top_p < 1 else [])])

    def kept(self, logits: Tensor) -> Tensor:
        """Logits, (rows, vocabulary), as what is drawn from: -inf for tokens that are never drawn."""
        logits = logits / self.temperature
        if self.top_k is not None and self.top_k < logits.shape[-1]:
            logits = logits.masked_fill(logits < logits.topk(self.top_k).values[:, -1:], -float("inf"))
        if self.top_p < 1:
            ordered, places = logits.sort(dim=-1, descending=True)
            shares = ordered.softmax(-1)
            beyond = shares.cumsum(-1) - shares >= self.top_p
            logits = logits.masked_fill(beyond.scatter(-1, places, beyond), -float("inf"))
        return logits


PLAIN = Sampling()


def own_sampling(path: Path) -> Sampling | None:
    """What the generation settings of a model say, None where they say nothing, or that the likeliest token is taken.

    What they leave out cuts nothing off. Raises ModelError for settings that nobody can draw with.
    """
    file = path / "generation_config.json"
    config = read_config(file) if file.is_file() else {}
    said = {key: config[key] for key in Sampling.model_fields if config.get(key) is not None}
    if config.get("do_sample") is False or not said or said.get("temperature") == 0:
        return None
    try:
        return Sampling.model_validate({key: value for key, value in said.items() if not _cuts_nothing(key, value)})
    except ValidationError:
        raise ModelError(f"{file}: has no usable temperature, top_k or top_p") from None


def _cuts_nothing(key: str, value: Any) -> bool:
    """0 and -1 stand for no top-k."""
    return key == "top_k" and value in (0, -1)
