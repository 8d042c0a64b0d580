"""YAML -> a frozen, fully checked Recipe. Unknown keys are errors; an option beats the file, the file beats the
objective's own defaults."""

from __future__ import annotations

import importlib.resources
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, Field, ValidationError, field_validator, model_validator

from ..errors import InputError, RecipeError
from ..files.outside import read_text
from ..files.plain_yaml import LONGEST_YAML, PlainYAMLError
from ..files.plain_yaml import load_yaml as load_yaml  # part of this module's own interface
from .parts import Calibration as Calibration
from .parts import Lora as Lora
from .parts import Passages as Passages
from .parts import Quotas
from .parts import Retain as Retain
from .parts import Verify as Verify
from .settings import Settings

DEFAULT_METHOD = "npo-rt"
LORA_RECIPE = "npo-rt-lora"
QLORA_RECIPE = "npo-rt-qlora"
CALIBRATED_RECIPE = "npo-rt-calibrated"
CALIBRATING = ("forget_weight", "retain_weight", "calibration", "anchor")
"""What makes a run end at levels, whatever else a recipe says: a term that holds rows there, and weights that leave the
last word to it."""


class Recipe(Settings):
    """Everything that decides how a run trains and is judged. Defaults are the paper's TOFU settings."""

    description: str = ""
    source: str = ""
    method: str | None = None
    terms: dict[str, float] | None = None
    beta: float | None = Field(None, gt=0)
    hyperparameters: dict[str, float] = Field({})
    layer: int | None = Field(None, ge=1, description="the layer that RMU steers, from 1")
    forget_weight: float = 1.0
    retain_weight: float = 1.0
    learning_rate: float = Field(1e-5, gt=0)
    epochs: int = Field(10, ge=1)
    batch_size: int = Field(32, ge=1, description="forget rows per optimizer step, each with a retain row")
    micro_batch_size: int | None = Field(None, ge=1, description="rows computed at once; none: as many as fit")
    optimizer: Literal["adamw", "adamw8bit"] = Field("adamw", description="its moments in float32, or in 8 bits")
    weight_decay: float = Field(0.01, ge=0)
    anchor: float = Field(0.0, ge=0, lt=1, description="share of the way back to the start model's weights, a step")
    warmup_epochs: float = Field(1.0, ge=0)
    max_grad_norm: float = Field(1.0, gt=0)
    max_retain_kl: float = Field(10.0, gt=0, description="nats a token from the start model at which a run stops")
    seed: int = Field(42, ge=0, lt=2**32)
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    weights: Literal["auto", "float32", "bfloat16"] = Field("auto", description="how they are held; auto: float32")
    max_length: int | None = Field(None, ge=2, description="cut longer rows here; without it they are refused")
    passages: Passages = Passages()
    prompt_format: str = "Question: {prompt}\nAnswer:"
    lora: Lora | None = None
    request: Quotas = Quotas()
    retain: Retain = Retain()
    calibration: Calibration | None = None
    verify: Verify = Verify()

    @field_validator("terms", "hyperparameters", mode="before")
    @classmethod
    def _numbers(cls, values: object) -> object:
        if isinstance(values, dict) and any(isinstance(value, bool) for value in values.values()):
            raise ValueError("holds true or false where a number belongs")
        return values

    @model_validator(mode="after")
    def _one_loss(self) -> Self:
        if (self.method is None) == (self.terms is None):
            raise ValueError("give either 'method' or 'terms'")
        if any(value <= 0 for name, value in self.hyperparameters.items() if name == "beta"):
            raise ValueError("hyperparameters.beta must be greater than 0")
        if "{prompt}" not in self.prompt_format:
            raise ValueError("'prompt_format' must contain {prompt}")
        return self

    @model_validator(mode="after")
    def _one_way_to_hold_weights(self) -> Self:
        if self.lora and self.lora.quantisation != "none" and self.weights != "auto":
            raise ValueError(f"'weights: {self.weights}' contradicts 'lora.quantisation: {self.lora.quantisation}'")
        if self.weights == "bfloat16" and self.precision in ("fp32", "fp16"):
            raise ValueError(f"'weights: bfloat16' cannot be computed with in 'precision: {self.precision}'")
        return self

    @property
    def name(self) -> str:
        """The method's name, or the terms joined, for titles and directory names."""
        return self.method or "-".join(self.terms or {})

    def weighted_terms(self) -> dict[str, float]:
        """Objective names with their weights, forget_weight and retain_weight multiplied in.

        Raises RecipeError for an unknown method or term.
        """
        from ..losses.methods import METHODS, OBJECTIVES

        if self.method is not None and self.method not in METHODS:
            raise RecipeError(f"unknown method '{self.method}'; there is {', '.join(METHODS)}")
        terms = METHODS[self.method].terms if self.method is not None else self.terms or {}
        if unknown := sorted(set(terms) - set(OBJECTIVES)):
            raise RecipeError(f"unknown term {', '.join(unknown)}; there is {', '.join(sorted(OBJECTIVES))}")
        known = {key for name in terms for key in OBJECTIVES[name].hyperparameters}
        if strange := sorted(set(self.hyperparameters) - known):
            raise RecipeError(f"no term has a hyperparameter {', '.join(strange)}; there is {', '.join(sorted(known))}")
        scale = {"forget": self.forget_weight, "retain": self.retain_weight}
        weighted = {name: weight * scale.get(OBJECTIVES[name].role, 1.0) for name, weight in terms.items()}
        return weighted | (self.calibration.terms if self.calibration else {})

    def all_hyperparameters(self) -> dict[str, float]:
        """Values for the objectives' keyword-only parameters; what is not set keeps the objective's default."""
        return {**({} if self.beta is None else {"beta": self.beta}), **self.hyperparameters}

    def to_yaml(self) -> str:
        """The recipe with every value resolved."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


def recipes_folder() -> Path:
    """Where the shipped recipes are."""
    package = Path(str(importlib.resources.files("forgetctl")))
    # In a checkout the recipes lie beside the package, in a wheel inside it.
    return next(place for place in (package / "recipes", package.parent / "recipes") if place.is_dir())


def shipped_recipes() -> dict[str, Path]:
    """Names and files of the recipes that come with forgetctl."""
    folder, kinds = recipes_folder(), ("*.yaml", "paper/tofu-*.yaml")
    return {f.relative_to(folder).with_suffix("").as_posix(): f for kind in kinds for f in sorted(folder.glob(kind))}


def load_recipe(
    name_or_file: str | None = None,
    *,
    method: str | None = None,
    overrides: Iterable[str] = (),
    options: Mapping[str, Any] | None = None,
    calibrated: bool = False,
) -> Recipe:
    """Resolve a recipe: file or shipped name, then `method`, then `options`, then `key=value` overrides.

    Without a name the method's own recipe is used, if it has one. calibrated: with the balance of terms that ends at
    levels (`CALIBRATING`), unless the recipe is one that calibrates.
    Raises RecipeError for anything unknown or out of range.
    """
    name_or_file = name_or_file or _recipe_of(method)
    values = _read(name_or_file) if name_or_file else {}
    if calibrated:
        values = _calibrated(values)
    if method is not None:
        values["method"] = method
        values.pop("terms", None)
    values.update(options or {})
    for override in overrides:
        _apply(values, override)
    try:
        recipe = Recipe.model_validate(values)
    except ValidationError as error:
        raise RecipeError(_explain(error)) from None
    _check_forgets(recipe)
    return recipe


def _check_forgets(recipe: Recipe) -> None:
    """Raise RecipeError for a loss that only keeps, or whose terms are not known."""
    from ..losses.methods import OBJECTIVES

    calibrated = recipe.calibration.terms if recipe.calibration else {}
    if not any(OBJECTIVES[name].role == "forget" for name in recipe.weighted_terms().keys() - calibrated.keys()):
        raise RecipeError("the loss has no term on the forget rows")


def _calibrated(values: dict[str, Any]) -> dict[str, Any]:
    """The recipe's values under those that calibrate; one that is calibrated already stays as it is."""
    if values.get("calibration") is not None:
        return values
    shipped = _read(CALIBRATED_RECIPE)
    told = f"With --holdout: {', '.join(CALIBRATING)} are those of {CALIBRATED_RECIPE}."
    description = " ".join(filter(None, [values.get("description"), told]))
    return {**values, **{key: shipped[key] for key in CALIBRATING}, "description": description}


def parse_recipe(text: str, where: Path | str = "recipe") -> Recipe:
    """The recipe that `Recipe.to_yaml` wrote. Raises RecipeError if it was damaged since."""
    try:
        return Recipe.model_validate(load_yaml(text))
    except ValidationError as error:
        raise RecipeError(_explain(error)) from None
    except PlainYAMLError as error:
        raise RecipeError(f"{where}{error.at}: {error}") from None


def read_recipe(path: Path) -> Recipe:
    """The same from a file. Raises RecipeError, InputError if it holds no text."""
    return parse_recipe(read_text(path, 4 * LONGEST_YAML), path)


def _recipe_of(method: str | None) -> str | None:
    """The method's own recipe if there is one; else Recipe's defaults and the objectives' own apply."""
    wanted = method or DEFAULT_METHOD
    return wanted if wanted in shipped_recipes() else None


def _read(name_or_file: str) -> dict[str, Any]:
    shipped = shipped_recipes()
    path = shipped.get(name_or_file, Path(name_or_file))
    try:
        if not path.exists():
            raise RecipeError(f"no recipe '{name_or_file}'; there is {', '.join(shipped)}, or give a file")
        values = load_yaml(read_text(path, 4 * LONGEST_YAML))
    except InputError as error:
        raise RecipeError(f"{error}; there is {', '.join(shipped)}, or give a file") from None
    except OSError as error:  # as of a name longer than the file system allows
        raise RecipeError(f"{path}: {error.strerror}; there is {', '.join(shipped)}, or give a file") from None
    except PlainYAMLError as error:
        raise RecipeError(f"{path}{error.at}: {error}") from None
    if not isinstance(values, dict):
        raise RecipeError(f"{path}: must hold keys and values")
    return values


def _apply(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not re.fullmatch(r"[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)*", key):
        raise RecipeError(f"--set needs key=value, such as learning_rate=1e-5, got '{override}'")
    try:
        value = load_yaml(text)
    except PlainYAMLError as error:
        raise RecipeError(f"--set {key}: the value {error}") from None
    *parents, last = key.split(".")
    place = values
    for parent in parents:
        child = place.get(parent)
        place[parent] = dict(child) if isinstance(child, dict) else {}
        place = place[parent]
    place[last] = value
    if key == "method":
        values.pop("terms", None)
    if parents == [] and key == "terms":
        values.pop("method", None)


def _explain(error: ValidationError) -> str:
    parts = []
    for problem in error.errors():
        key = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            parts.append(f"unknown key '{key}'; there is {', '.join(_keys(key))}")
        else:
            words = problem["msg"].removeprefix("Value error, ")
            parts.append(f"{key}: {words}" if key else words)
    return "recipe: " + "; ".join(parts)


def _keys(unknown: str) -> list[str]:
    """The keys that would have been known at the place of the unknown one."""
    parts: dict[str, type[BaseModel]] = {
        "lora": Lora,
        "passages": Passages,
        "request": Quotas,
        "retain": Retain,
        "calibration": Calibration,
        "verify": Verify,
    }
    parent = unknown.rpartition(".")[0]
    return list(parts.get(parent, Recipe).model_fields)
