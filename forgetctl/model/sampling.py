"""How an owner draws answers: the settings of decoding that a model brings, or that are given."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from ..errors import UsageError

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
