"""Where the weights of a loaded model lie in its files: which of the start model's weights training can have changed,
under which names they are stored, and how to get from one form to the other.

Names and shapes in memory are not those of the files: transformers renames weights, joins the experts of a mixture into
one, and loads only the text model of a checkpoint that sees or hears as well. What it does is taken from its own rules
(`transformers.conversion_mapping`), applied to a model without weights, so it is known, and checked both ways, before
anything is loaded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from ..errors import ModelError
from .configs import empty_model
from .protocol import Model
from .weights import FLOATS, stored_weights

WHOLE_NUMBERS = ("I64", "I32", "I16", "BOOL")
"""Types of tables, such as DeepSeek-V4's of the experts of each token, which no step changes."""
Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Part:
    """Weights that hold the same numbers in both forms. stored: their names in the files. weights: their names in the
    model. pattern: of transformers' rule that converts one form into the other; None where the two are one tensor."""

    stored: tuple[str, ...]
    weights: tuple[str, ...]
    pattern: str | None = None


class Placement:
    """Every weight of the files of a model directory, by the weights of the model that they are loaded into.

    stored: all of the files, by name. parts: those that the model has. untouched: those that it does not have, such as
    an image encoder's, and tables of whole numbers: nothing here can change them. shared: names of the model's weights
    that are one weight.

    Raises ModelError if a weight of the model has no place in the files or two, or if what it would be stored as is
    not what the files have.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stored = stored_weights(path)
        self.model = _without_weights(path)
        self._own: Mapping[str, Tensor] = self.model.state_dict()
        self._rules = _Rules(self.model)
        self.parts, self.untouched = self._place()
        self._refuse_homeless()

    def to_model(self, part: Part, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Stored tensors of a part as the model has them."""
        if part.pattern is None:
            return {part.weights[0]: tensors[part.stored[0]]}
        return self._rules.load(part.pattern, part.weights[0], tensors)

    def to_files(self, part: Part, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A part's weights in the model as they are stored."""
        if part.pattern is None:
            return {part.stored[0]: tensors[part.weights[0]]}
        reverted, prefix = self._rules.revert(tensors), f"{self.model.base_model_prefix}."
        if reverted.keys() != set(part.stored):  # loading adds or drops it where the files lack or have it
            stripped = {name.removeprefix(prefix): tensor for name, tensor in reverted.items()}
            added = {prefix + name: tensor for name, tensor in reverted.items()}
            reverted = next((each for each in (stripped, added) if each.keys() == set(part.stored)), reverted)
        return reverted

    def _place(self) -> tuple[tuple[Part, ...], tuple[str, ...]]:
        parts: dict[str, Part] = {}
        untouched = []
        for name in self._rules.sorted(self.stored):
            weight, pattern = self._rules.rename(name, self._own)
            if weight not in self._own or self.stored[name].dtype in WHOLE_NUMBERS:
                untouched.append(name)
            elif weight not in parts:
                parts[weight] = Part((name,), (weight,), pattern)
            elif pattern is None or parts[weight].pattern is None:
                raise ModelError(f"{self.path}: {parts[weight].stored[0]} and {name} are two weights for one place")
            else:
                parts[weight] = Part((*parts[weight].stored, name), (weight,), pattern)
        self._rules.keep_used()
        return tuple(self._checked(part) for part in parts.values()), tuple(untouched)

    def _checked(self, part: Part) -> Part:
        """The part with all of its weights in the model, if it has the right shapes in both forms."""
        if kinds := {self.stored[name].dtype for name in part.stored} - FLOATS.keys():
            raise ModelError(f"{self.path}: {part.stored[0]} is stored as {kinds.pop()}, which cannot be trained")
        there = {name: torch.empty(self.stored[name].shape, device="meta") for name in part.stored}
        try:
            loaded = self.to_model(part, there)
            part = Part(part.stored, tuple(loaded), part.pattern)
            back = self.to_files(part, loaded)
        except (ValueError, RuntimeError, KeyError, IndexError, TypeError, AttributeError) as error:
            raise self._unproved(part, type(error).__name__) from None
        if any(name not in self._own or self._own[name].shape != tensor.shape for name, tensor in loaded.items()):
            raise self._unproved(part, "it has another shape")
        if _shapes(back) != _shapes(there):
            raise self._unproved(part, "it would be saved as another")
        return part

    def _unproved(self, part: Part, why: str) -> ModelError:
        return ModelError(f"{self.path}: {part.stored[0]} has no proved place in {type(self.model).__name__}: {why}")

    def _refuse_homeless(self) -> None:
        placed = {id(self._own_weight(name)) for part in self.parts for name in part.weights}
        own = [(name, weight) for name, weight in self.model.named_parameters() if weight.is_floating_point()]
        lost = [name for name, weight in own if id(weight) not in placed]
        if lost:
            raise ModelError(f"{self.path}: {len(lost)} weights are missing, the first is {lost[0]}")

    def _own_weight(self, name: str) -> Any:
        return self.model.get_parameter_or_buffer(name)


def _shapes(tensors: Mapping[str, Tensor]) -> Shapes:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def _without_weights(path: Path) -> Any:
    try:
        with torch.device("meta"):
            return empty_model(path, torch.float32)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise ModelError(f"{path}: cannot be loaded as a causal language model ({type(error).__name__})") from None


class _Rules:
    """transformers' rules for the names and forms of one model's weights, used as `from_pretrained` and
    `save_pretrained` use them."""

    def __init__(self, model: Model) -> None:
        from transformers.conversion_mapping import get_model_conversion_mapping
        from transformers.core_model_loading import WeightConverter, WeightRenaming

        self.model = model
        self.all: list[Any] = get_model_conversion_mapping(cast(Any, model))
        self.renamings = [rule for rule in self.all if isinstance(rule, WeightRenaming)]
        self.converters = [rule for rule in self.all if isinstance(rule, WeightConverter)]

    def sorted(self, names: Iterable[str]) -> list[str]:
        from transformers.core_model_loading import dot_natural_key

        return sorted(names, key=dot_natural_key)

    def rename(self, name: str, own: Mapping[str, Tensor]) -> tuple[str, str | None]:
        """The weight that a stored one is loaded into, the first of several, and the pattern of its conversion."""
        from transformers.core_model_loading import rename_source_key

        prefix: str = self.model.base_model_prefix
        weight, pattern = rename_source_key(name, self.renamings, self.converters, prefix, own)  # type: ignore[arg-type]
        if weight not in own and name in own:  # it has its name in memory already
            weight, pattern = rename_source_key(name, [], [], prefix, own)  # type: ignore[arg-type]
        return weight, pattern

    def keep_used(self) -> None:
        """Let what was used be reverted, and no more: that a prefix was dropped says nothing where none was."""
        cast(Any, self.model)._weight_conversions = [rule for rule in self.all if rule.was_used()]

    def load(self, pattern: str, weight: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        rule: Any = deepcopy(next(rule for rule in self.converters if pattern in rule.source_patterns))
        for name, tensor in tensors.items():
            _, own_pattern = self.rename(name, {})
            rule.add_tensor(weight, name, own_pattern, tensor)
        return _single(rule.convert(weight, model=self.model, config=self.model.config))

    def revert(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        from transformers.core_model_loading import revert_weight_conversion

        return _single(revert_weight_conversion(cast(Any, self.model), dict(tensors)))


def _single(tensors: Mapping[str, Any]) -> dict[str, Tensor]:
    return {name: each[0] if isinstance(each, list) else each for name, each in tensors.items()}
