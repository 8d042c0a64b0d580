"""The recipe's settings, each with its meaning as the recipe describes it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from ..recipe.recipe import Recipe
from ..recipe.settings import keys

SCORING = ("seed", "precision", "max_length", "passages", "prompt_format", "verify")
RELEARNING = ("learning_rate", "micro_batch_size", "lora")


def scoring_settings(recipe: Mapping[str, Any], *, relearned: bool) -> dict[str, Any]:
    """The part of a recipe that matters where nothing was unlearned. relearned: with the relearning attack."""
    kept = (*SCORING, *RELEARNING) if relearned else SCORING
    return {key: value for key, value in recipe.items() if key in kept}


def settings(recipe: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str, str]]:
    """Dotted names, values and meanings of a recipe's settings, without its own description."""
    for key, value in recipe.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and value:
            yield from settings(value, f"{name}.")
        elif prefix or key not in ("description", "source"):
            yield name, _shown(value), _meanings().get(name) or _meanings().get(prefix.rstrip("."), "")


@cache
def _meanings() -> Mapping[str, str]:
    """Of every key; the entries of a mapping have that of the mapping."""
    return {key.name: key.description for key in keys(Recipe)}


def _shown(value: Any) -> str:
    if value is None or value == {}:
        return "none"
    return (", ".join(map(str, value)) if isinstance(value, list) else str(value)).replace("\n", "\\n")
