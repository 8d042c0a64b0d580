"""A study's hyperparameters: recipes/paper/NAME.yaml -> a frozen model. Unknown keys are errors."""

from __future__ import annotations

from typing import TypeVar

import yaml
from pydantic import Field, ValidationError

from ..errors import RecipeError
from ..recipe.recipe import recipes_folder
from ..recipe.settings import Settings

Kind = TypeVar("Kind", bound=Settings)


class WorldSettings(Settings):
    """Sizes of the random-feature world of section 4, and how its two known models are trained."""

    dimensions: int = Field(16, ge=1, description="d, of an input")
    features: int = Field(128, ge=1, description="random ReLU features")
    forget_rows: int = Field(200, ge=1)
    retain_rows: int = Field(1000, ge=1)
    check_rows: int = Field(1000, ge=1, description="fresh rows of each role, for the distances")
    pretraining_steps: int = Field(20000, ge=0, description="full-batch steps, from zero")
    pretraining_rate: float = Field(0.05, gt=0)


class StudySettings(Settings):
    """What every study has."""

    description: str
    source: str
    seeds: tuple[int, ...] = Field(min_length=1)
    steps: int = Field(ge=1, description="full-batch gradient descent steps")
    every: int = Field(ge=1, description="steps from one measurement to the next")


def read_settings(study: str, model: type[Kind]) -> Kind:
    """The shipped settings of `study`. Raises RecipeError for a file that is damaged or holds unknown keys."""
    path = recipes_folder() / "paper" / f"{study}.yaml"
    try:
        return model.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read: {error.strerror}") from None
    except ValidationError as error:
        faults = (f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors())
        raise RecipeError(f"{path}: {'; '.join(faults)}") from None
    except (yaml.YAMLError, ValueError, RecursionError):
        raise RecipeError(f"{path}: is not YAML") from None
