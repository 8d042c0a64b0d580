"""verdict.json: the findings with what was concluded from them. Written by this class, and read by it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, ValidationError, field_validator

from ..errors import RunError
from ..files.writing import is_bundle
from ..recipe.bounds import Bounds
from .findings import Check
from .registry import Findings
from .statistics.shapes import Shape
from .verdict import Answers, Outcome, decisive

SCHEMA: Literal[4] = 4

Digest = Annotated[str, Field(description="SHA-256, hexadecimal.")]
Commitment = Annotated[str, Field(description="Keyed digest (HMAC) of a file whose text nobody may test guesses on.")]
Time = Annotated[str, Field(description="ISO 8601 with zone.")]
ScoreName = Annotated[str, Field(pattern=r"^(start|unlearned|reference)(-[a-z0-9]{1,16})?$")]
Step = Annotated[str, Field(pattern=r"^[1-9][0-9]{0,11}$")]


class Model(Shape):
    """A model."""

    name: str
    sha256: Digest | None


class Given(Shape):
    """A model, a run or a file of rows that the verification was given. kind: what it is, and of scores where from."""

    role: str
    name: str
    kind: str
    sha256: Digest | None = None
    commitment: Commitment | None = None
    rows: int | None = None


class Skipped(Shape):
    """A figure that is not there. source: whether the scores show why, or measuring said so."""

    check: str
    reason: str
    source: Literal["scores", "measuring"]


class Basis(Shape):
    """What the verdict rests on, besides what it says elsewhere.

    scores, tracked: SHA-256 of the files by name and by step. rephrased: names of the files that asked in other words.
    unmeasured: checks that were asked for and could not be made, with the reason. model: one digest of all of the
    model's files, null where only scores were verified.
    """

    scores: dict[ScoreName, Digest]
    tracked: dict[Step, Digest]
    rephrased: tuple[str, ...]
    unmeasured: tuple[tuple[str, str], ...]
    model: Digest | None


class Conclusion(Findings):
    """What follows from the scores and the bounds."""

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True)

    schema_version: Annotated[Literal[4], Field(alias="schema", description="Version of this format.")] = SCHEMA
    verdict: Outcome
    answers: Answers
    checks: tuple[Check, ...]
    model: Model
    skipped: tuple[Skipped, ...]
    bounds: Bounds

    @field_validator("bounds", mode="before")
    @classmethod
    def _without_defaults(cls, value: object) -> object:
        if isinstance(value, dict) and value.keys() != Bounds.model_fields.keys():
            raise ValueError("not every bound is there, or others are")
        return value

    @property
    def reasons(self) -> tuple[Check, ...]:
        """The checks that decided."""
        return decisive(self.verdict, self.checks)

    def content(self) -> dict[str, Any]:
        """Strict JSON values: first the outcome, then every finding, then what they rest on."""
        values = self.model_dump(mode="json", by_alias=True)
        return {key: values[key] for key in dict.fromkeys([*_FIRST, *values])}


_FIRST = ("schema", "verdict", "answers", "checks", "model")


class Verdict(Conclusion):
    """The whole file. digest: of everything that the verdict depends on."""

    inputs: tuple[Given, ...]
    basis: Basis
    created: Time
    digest: Digest


class OtherVersionError(RunError):
    """A verdict was written by another version of forgetctl, so it must be reached again."""


def parse_verdict(values: Mapping[str, Any], file: Path, kind: object) -> Verdict:
    """The verdict in a file of a run. kind: of that run, by which the error says how to verify it again.

    Raises OtherVersionError, also where its checks are not those that there are here, and RunError for damage.
    """
    if other := _other_version(values):
        why = f"was written by another version of forgetctl ({other})"
        raise OtherVersionError(f"{file}: {why}; {_remedy(file.parent, kind)}")
    try:
        return Verdict.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RunError(f"{file}: is damaged: {where}: {first['msg']}") from None


def _other_version(values: Mapping[str, Any]) -> str:
    """In what a verdict is of another version than this one, empty if it is of this one."""
    if (schema := values.get("schema")) != SCHEMA:
        return f"{f'schema {schema}' if type(schema) is int else 'no schema'}, this one reads {SCHEMA}"
    if missing := sorted(Findings.model_fields.keys() - values.keys()):
        return f"it has no {missing[0]}, which this one checks"
    known = {field.alias or name for name, field in Verdict.model_fields.items()}
    return "it has checks that this one does not know" if values.keys() - known else ""


def _remedy(run: Path, kind: object) -> str:
    if is_bundle(run):
        return "verify the run again, and seal it again"
    if kind == "verify":
        return "verify the model or its scores anew: forgetctl verify, with --model or --scores as before"
    return f"verify again: forgetctl verify {run}"
