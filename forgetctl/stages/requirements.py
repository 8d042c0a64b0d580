"""What a recipe will need of the model and of the rows, checked before the model is loaded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from ..engine.models import ModelFacts, unknown_targets, weight_shapes
from ..errors import RecipeError
from ..maths.objectives import WeightedSum
from ..recipe import Recipe
from ..rows import Row


def check_lora(facts: ModelFacts, recipe: Recipe) -> None:
    """Raise RecipeError if the recipe's adapters name a module that the model does not have."""
    if recipe.lora is None:
        return
    modules = {name.rpartition(".")[0] for name in weight_shapes(facts.path)}
    if unknown := unknown_targets(recipe.lora.targets, modules):
        raise RecipeError(f"lora.targets: the model has no module {', '.join(unknown)}")


def check_terms(
    facts: ModelFacts,
    recipe: Recipe,
    forget: Sequence[Row],
    refusals: Sequence[str],
    encode: Callable[[Sequence[Row], Path], object],
    refusals_file: Path,
    forget_file: Path,
) -> None:
    """Check that the layer exists and that the answers that terms add to the longest prompt fit the model.

    encode: raises InputError naming the file it is given if a row does not fit. Raises RecipeError for the layer.
    """
    if recipe.layer is not None and facts.layers is not None and recipe.layer > facts.layers:
        raise RecipeError(f"layer: {recipe.layer} of a model with {facts.layers} layers")
    needs = WeightedSum(recipe.weighted_terms(), {}).needs("forget")
    longest = max(forget, key=lambda row: len(row.prompt))
    if "alternative" in needs:
        refusal = max(refusals, key=len)
        encode([replace(longest.answering(refusal), line=1 + refusals.index(refusal))], refusals_file)
    if "mismatched" in needs:
        encode([longest.answering(max((row.response for row in forget), key=len))], forget_file)
