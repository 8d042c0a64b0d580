"""The JSON report: a model of the whole, from which it is written and its JSON Schema is published."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ..errors import UsageError
from ..verify.record import Model, Verdict
from ._formats import quantiles
from ._view import warnings
from .records import Event, Part, Plan, Report, Run, Step
from .words import LIMITS

VERSION: Literal[4] = 4
DIALECT = "https://json-schema.org/draft/2020-12/schema"


class Quantiles(Part):
    """A distribution over rows in short. Truth ratios have no unit; answer log-probabilities are in nats a token."""

    n: Annotated[int, Field(description="Number of rows.")]
    q10: Annotated[float | None, Field(description="A tenth of the rows lie below; null if it is not finite.")]
    q50: Annotated[float | None, Field(description="The median.")]
    q90: Annotated[float | None, Field(description="A tenth of the rows lie above.")]


class Training(Part):
    """The first and the last step of the training log."""

    first: Step
    last: Step


class ReportFile(BaseModel):
    """What forgetctl says about a run: what was asked and done, the verdict with every figure, and the records."""

    # Strict at the top, so that a misspelt key is an error; the records inside keep keys of later versions.
    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_serialization_defaults_required=True)

    version: Annotated[Literal[4], Field(alias="schema", description="Version of this format.")] = VERSION
    run: Annotated[Run, Field(description="What was asked, with which inputs and versions, and how far it got.")]
    plan: Annotated[Plan | None, Field(description="What was fixed before the work began; null if nothing was.")]
    verdict: Annotated[Verdict | None, Field(description="The verification; null if there was none yet.")]
    recipe: Annotated[dict[str, Any], Field(description="The settings, every value as it was set.")]
    scored: Annotated[dict[str, Model], Field(description="The models behind the scores, by role.")]
    distributions: Annotated[
        dict[str, dict[str, Quantiles]], Field(description="Scores of the forget rows, by kind of score and role.")
    ]
    training: Annotated[Training | None, Field(description="Null where nothing was trained or logged.")]
    events: Annotated[tuple[Event, ...], Field(description="What happened to the run, in order.")]
    warnings: Annotated[tuple[str, ...], Field(description="What to know before trusting the rest.")]
    limits: Annotated[tuple[str, ...], Field(description="What the verdict does not mean.")]


def report_json(report: Report) -> dict[str, Any]:
    """The report as strict JSON values, which its schema describes."""
    steps = report.steps
    made = ReportFile(
        run=report.run,
        plan=report.plan,
        verdict=report.verdict,
        recipe=report.recipe,
        scored=report.scored,
        distributions=_quantiles(report),
        training=Training(first=steps[0], last=steps[-1]) if steps else None,
        events=report.events,
        warnings=tuple(warnings(report)),
        limits=LIMITS,
    )
    return made.model_dump(mode="json", by_alias=True)


def _quantiles(report: Report) -> dict[str, dict[str, Quantiles]]:
    return {
        kind: {role: Quantiles(**levels) for role, levels in by_role.items()}
        for kind, by_role in quantiles(report.distributions).items()
    }


_MODELS: dict[str, tuple[type[BaseModel], int, str]] = {"report": (ReportFile, VERSION, "forgetctl report")}
SCHEMAS = tuple(_MODELS)
"""Names of the published schemas."""


def schema(name: str) -> dict[str, Any]:
    """A JSON Schema (draft 2020-12). Raises UsageError for an unknown name."""
    if name not in _MODELS:
        raise UsageError(f"no schema {name!r}; there is {', '.join(SCHEMAS)}")
    model, version, title = _MODELS[name]
    content = model.model_json_schema(by_alias=True, mode="serialization")
    return {"$schema": DIALECT, "$id": f"urn:forgetctl:schema:{name}:{version}", **content, "title": title}
