"""What a recipe will need of the model and of the rows, checked before the model is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..errors import InputError, ModelError, RecipeError
from ..losses.methods import WeightedSum
from ..model.adapters import check_lora
from ..model.encoding import Encoded
from ..model.export import beside_weights, left_out_words
from ..model.load import ModelFacts
from ..model.placement import Placement
from ..recipe.recipe import Recipe
from ..rows.row import Row
from .inputs import Inputs
from .job import RowEncoder


def check_weights(facts: ModelFacts, recipe: Recipe) -> list[str]:
    """Check that the trained weights can be saved as the start model's are, and that adapters can be put on them.

    Returns what the user should know of it. Raises ModelError for weights without a proved place in the start model's
    files, RecipeError naming a module that can have no adapter.
    """
    placement, beside = Placement(facts.path), beside_weights(facts.path)
    notes = [left_out_words(beside.left_out)] if beside.left_out else []
    if placement.untouched:
        notes.append(
            f"{len(placement.untouched)} of {len(placement.stored)} weights are not trained with the language model, "
            f"{placement.untouched[0]} the first of them: they stay as they are."
        )
    if recipe.lora is None:
        return notes
    placed = {name for part in placement.parts for name in part.weights}
    try:
        alone = check_lora(placement.model, recipe.lora, placed)
    except ModelError as error:
        raise RecipeError(str(error)) from None
    return [*notes, alone] if alone else notes


def check_terms(
    facts: ModelFacts, recipe: Recipe, inputs: Inputs, encode: RowEncoder, encoded: Sequence[Encoded]
) -> None:
    """Check that the layer exists and that the answers that terms add to the longest prompt fit the model.

    encoded: the forget rows, (windows,). Raises RecipeError for the layer, InputError naming a row that does not fit,
    or the file of a passage in windows: such a one has no question that could get another answer. Nor has one of which
    parts are marked: the rest of its response is kept, and a refusal would stand in its place.
    """
    if recipe.layer is not None and facts.layers is not None and recipe.layer > facts.layers:
        raise RecipeError(f"layer: {recipe.layer} of a model with {facts.layers} layers")
    needs = WeightedSum(recipe.weighted_terms(), {}).needs("forget")
    forget, refusals = inputs.forget.rows, inputs.refusals
    longest = max(forget, key=lambda row: len(row.prompt))
    others: list[tuple[Row, Path]] = []
    if "alternative" in needs:
        if marked := next((row for row in forget if row.spans), None):
            why = f"has spans, and {recipe.name} teaches a refusal in place of the whole response"
            raise InputError(inputs.forget.path, why, marked.name)
        refusal = max(refusals, key=len)
        others.append((replace(longest.answering(refusal), line=1 + refusals.index(refusal)), inputs.refusals_file))
    if "mismatched" in needs:
        others.append((longest.answering(max((row.response for row in forget), key=len)), inputs.forget.path))
    for row, origin in others:
        for windows, file in ((encoded, inputs.forget.path), (encode([row], origin), origin)):
            if any(item.continues for item in windows):
                raise InputError(file, f"holds passages longer than a window, which {recipe.name} cannot unlearn")
