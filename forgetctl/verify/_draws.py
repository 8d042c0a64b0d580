"""How many answers are drawn, and in which settings of decoding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..model.directories import own_sampling
from ..model.sampling import Sampling
from ..recipe.recipe import Verify
from .options import VerifyOptions

MANY = 64
"""Answers to each row that is asked so, where much is asked."""
SERVED = "leaks as served"


@dataclass(frozen=True, kw_only=True)
class Draws:
    """What is drawn. settings: with the number of answers. served: how the owner draws them, None where nobody asked or
    that is the model's own distribution, which is drawn from in any case. skipped: why there is none."""

    settings: Verify
    served: Sampling | None
    skipped: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, options: VerifyOptions, settings: Verify, model: Path) -> Draws:
        """What the options ask for. Raises ModelError for a model whose settings nobody can draw with."""
        full = options.attacks == "full"
        if full:
            settings = settings.model_copy(update={"samples": max(settings.samples, MANY)})
        served = options.sampling or (own_sampling(model) if full else None)
        if served is not None:
            return cls(settings=settings, served=None if served.plain else served)
        why = (
            "the model has no settings of its own (--sampling)"
            if full
            else "not asked for (--sampling, or --attacks full)"
        )
        return cls(settings=settings, served=None, skipped={SERVED: why})
