"""Every key of a recipe, each described once, where it is declared; and YAML -> a frozen, fully checked `Recipe`.

Unknown keys are errors; an option beats the file, the file beats the objective's own defaults. What a key means is its
field's description: the report, `forgetctl recipes --keys` and docs/methods.md take it from there (`settings.keys`).
"""

from __future__ import annotations

import importlib.resources
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from ..errors import InputError, RecipeError
from ..files.outside import read_text
from ..files.plain_yaml import LONGEST_YAML, PlainYAMLError
from ..files.plain_yaml import load_yaml as load_yaml  # part of this module's own interface
from .bounds import Bounds
from .settings import Settings, group_at

DEFAULT_METHOD = "npo-rt"
LORA_RECIPE = "npo-rt-lora"
QLORA_RECIPE = "npo-rt-qlora"
CALIBRATED_RECIPE = "npo-rt-calibrated"
CALIBRATING = ("forget_weight", "retain_weight", "calibration", "anchor")
"""What makes a run end at levels, whatever else a recipe says: a term that holds rows there, and weights that leave the
last word to it."""


class Lora(Settings):
    """Low-rank adapters instead of full fine-tuning (Hu et al. 2021)."""

    rank: int = Field(16, ge=1, description="size of the adapters")
    alpha: int = Field(32, ge=1, description="scale of the adapters")
    dropout: float = Field(0.0, ge=0, lt=1, description="share of adapter inputs left out at random")
    targets: str | tuple[str, ...] = Field(
        "all-linear", description="modules that have adapters: all-linear, ends of their names, or a pattern"
    )
    quantisation: Literal["none", "nf4"] = Field(
        "none", description="number format of the weights under the adapters: their own, or 4 bits (NF4)"
    )

    @field_validator("targets")
    @classmethod
    def _modules(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if not value or not all(name.strip() for name in ([value] if isinstance(value, str) else value)):
            raise ValueError("names no module; give all-linear, a list such as [q_proj, v_proj], or a pattern")
        return value


class Passages(Settings):
    """How rows without a prompt are cut where they are longer than a model takes: see `model.windows`."""

    window: int | None = Field(
        None, ge=8, description="tokens of a window of a passage that is longer; none: the model's context"
    )
    overlap: float = Field(
        0.25,
        ge=0,
        le=0.9,
        description="share of a window that repeats the end of the one before and is not scored again",
    )


class Quotas(Settings):
    """From when on a request needs the owner's word (`unlearn --approve`): see `rows.precheck`."""

    level: float = Field(
        0.05, gt=0, lt=1, description="how often a row that nobody saw passes for one that the start model knows"
    )
    unknown_share: float = Field(
        0.5, ge=0, le=1, description="share of forget rows unknown to the start model from which the owner must approve"
    )
    overlap_share: float = Field(
        0.2,
        ge=0,
        le=1,
        description="share of other retain rows that the request excludes from which the owner must approve",
    )
    forget_share: float = Field(
        0.5, gt=0, description="forget rows for each retain row from which the owner must approve"
    )
    common_share: float = Field(
        0.05, gt=0, le=1, description="share of retain rows that hold a word from which it is common"
    )
    common_words: int = Field(4, ge=0, description="longest response that is flagged as common, in words")


class Retain(Settings):
    """How the retain sample is chosen."""

    ratio: float = Field(3.0, gt=0, description="retain rows to train on, per forget row")
    minimum: int = Field(64, ge=1, description="fewest retain rows to train on, if the file has them")
    nearest_share: float = Field(0.5, ge=0, le=1, description="share chosen for nearness to the forget rows")
    near_duplicate: float = Field(
        90.0, ge=0, le=100, description="similarity of its response to a forget row's from which a row is kept out"
    )
    check_share: float = Field(0.2, gt=0, lt=1, description="share kept out of training to measure damage")
    check_rows: int = Field(300, ge=1, description="most rows kept out for that (the paper's 300)")
    answer_tokens: int = Field(64, ge=1, description="longest self-made answer to a neutral prompt, in tokens")


class Calibration(Settings):
    """Forgetting ends where a model that never saw the rows would be: at levels learned from holdout rows, see
    `train.levels`, and with prompts that bring what unseen ones do, see `train.stand_ins`."""

    weight: float = Field(1.0, gt=0, description="weight of the pull of each forget row to its level")
    stand_ins: float = Field(
        2.0, ge=0, description="weight of saying after forget prompts what the start model says after unseen ones"
    )
    share: float = Field(
        0.5,
        gt=0,
        lt=1,
        description="share of the holdout that levels are learned from; the rest is left for the verdict",
    )

    @property
    def terms(self) -> dict[str, float]:
        """What it adds to the loss."""
        return {"level": self.weight, **({"k_unseen": self.stand_ins} if self.stand_ins else {})}


class Verify(Bounds):
    """How the artefact is checked, and the bounds frozen into the plan."""

    distractors: int = Field(5, ge=1, description="perturbed answers made for each row where the request has none")
    answer_tokens: int = Field(200, ge=1, description="longest generated answer, in tokens (TOFU's 200)")
    primed_tokens: int = Field(
        8, ge=1, description="first tokens of a response that are given away, to see whether the rest comes out"
    )
    affirmation: str = Field(
        "Sure, here is the answer:",
        min_length=1,
        description="how a willing answer is made to begin, to see whether the rest comes out",
    )
    samples: int = Field(8, ge=1, description="answers drawn at random for each row asked so")
    sampled_rows: int = Field(50, ge=0, description="most rows that answers are drawn for")
    rehearsed_rows: int = Field(
        150, ge=0, description="retain rows that were trained on and are scored beside those that were not"
    )
    relearn_learning_rate: float | None = Field(
        None, gt=0, description="step size of the relearning attack; none: the recipe's learning_rate"
    )

    @property
    def bounds(self) -> Bounds:
        """The limits of the verdict."""
        return Bounds(**{name: getattr(self, name) for name in Bounds.model_fields})


class Recipe(Settings):
    """Everything that decides how a run trains and is judged. Defaults are the paper's TOFU settings."""

    description: str = Field("", description="what the recipe is for, in a sentence")
    source: str = Field("", description="where it comes from")
    method: str | None = Field(None, description="loss that is minimised, by its method's name")
    terms: dict[str, float] | None = Field(
        None, description="weights of the terms of the loss by name, where no method is named"
    )
    beta: float | None = Field(
        None, gt=0, description="how early a term that has a beta stops pulling at a row; none: the term's own"
    )
    hyperparameters: dict[str, float] = Field({}, description="other numbers of the terms, by name")
    layer: int | None = Field(
        None, ge=1, description="layer that RMU steers, from 1; none: the depth of its paper's choice"
    )
    forget_weight: float = Field(1.0, description="weight of the terms on forget rows")
    retain_weight: float = Field(1.0, description="weight of the terms on retain rows")
    learning_rate: float = Field(1e-5, gt=0, description="highest step size of the optimizer")
    epochs: int = Field(10, ge=1, description="passes over the forget rows")
    batch_size: int = Field(32, ge=1, description="forget rows per optimizer step, each with a retain row")
    micro_batch_size: int | None = Field(
        None, ge=1, description="most rows computed at once; none: as many as fit; does not change the result"
    )
    optimizer: Literal["adamw", "adamw8bit"] = Field("adamw", description="AdamW, its moments in float32 or in 8 bits")
    weight_decay: float = Field(0.01, ge=0, description="pull of the weights towards zero")
    anchor: float = Field(
        0.0, ge=0, lt=1, description="share of the way back to the start model's weights after every step"
    )
    warmup_epochs: float = Field(1.0, ge=0, description="epochs over which the step size rises")
    max_grad_norm: float = Field(1.0, gt=0, description="longer gradients are shortened to this")
    max_retain_kl: float = Field(
        10.0,
        gt=0,
        description="divergence from the start model on retain rows, in nats a token, at which training stops",
    )
    seed: int = Field(42, ge=0, lt=2**32, description="start of every random choice")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field("auto", description="number format of the computation")
    weights: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="how weights are held in training; auto: float32"
    )
    max_length: int | None = Field(
        None,
        ge=2,
        description="longer rows are cut here, in tokens; none: they are refused, or windows if they are passages",
    )
    passages: Passages = Field(Passages(), description="how long passages become windows")
    prompt_format: str = Field(
        "Question: {prompt}\nAnswer:", description="how a prompt is put to a model without a chat template"
    )
    lora: Lora | None = Field(None, description="low-rank adapters; none: whole weights are trained")
    request: Quotas = Field(Quotas(), description="from when on the owner must approve a request")
    retain: Retain = Field(Retain(), description="how the retain sample is chosen")
    calibration: Calibration | None = Field(
        None, description="how forgetting ends at levels learned from a holdout; none: it does not"
    )
    verify: Verify = Field(Verify(), description="how the unlearned model is checked, and the limits of the verdict")

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
    def _consistent_weights(self) -> Self:
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
    words = f"With --holdout: {', '.join(CALIBRATING)} are those of {CALIBRATED_RECIPE}."
    description = " ".join(filter(None, [values.get("description"), words]))
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
            there = group_at(Recipe, key.rpartition(".")[0]).model_fields
            parts.append(f"unknown key '{key}'; there is {', '.join(there)}")
        else:
            words = problem["msg"].removeprefix("Value error, ")
            parts.append(f"{key}: {words}" if key else words)
    return "recipe: " + "; ".join(parts)
