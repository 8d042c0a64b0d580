"""The recipe's settings, each with its meaning as the recipe describes it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from functools import cache
from typing import Any

from ..recipe.recipe import Recipe
from ..recipe.settings import keys

SCORING = ("seed", "precision", "max_length", "passages", "prompt_format", "verify")


def scoring_settings(recipe: Mapping[str, Any], further: Collection[str]) -> dict[str, Any]:
    """The part of a recipe that matters where nothing was unlearned. further: other keys that checks use."""
    return {key: value for key, value in recipe.items() if key in SCORING or key in further}


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
