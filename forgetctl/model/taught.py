"""How `forgetctl reference` taught a model, as the file beside the weights says."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..errors import InputError
from ..files.strict_json import LooseJSONError, read_object

RECORD = "reference.json"
MOST_SETTINGS = 100

Setting = Annotated[str, Field(pattern=r"^[a-z][a-z_]{0,39}$")]


class Taught(BaseModel):
    """base_sha256: digest of the model that was taught. settings: of the training, by name; texts are kept as such."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    base_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    settings: dict[Setting, bool | int | float | str | None] = Field(max_length=MOST_SETTINGS)


def read_taught(model: Path) -> Taught | None:
    """Of a model directory; None where nothing says it. Raises InputError for a record that is damaged."""
    file = model / RECORD
    if not file.is_file():
        return None
    try:
        return Taught.model_validate(read_object(file))
    except LooseJSONError as error:
        raise InputError(file, str(error), error.line) from None
    except ValidationError:
        raise InputError(file, "is no record of `forgetctl reference`") from None
