"""verdict.json as a report reads it. What was not measured is None or missing, never 0."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Distance = Annotated[
    float, Field(description="Largest gap between two distributions of scores: 0 if equal, 1 if nothing is in common.")
]
Nats = Annotated[float, Field(description="In nats a token.")]
Share = Annotated[float, Field(description="0 to 1.")]
Relative = Annotated[float, Field(description="Relative change; -0.02 is a fall by 2 %.")]
Chance = Annotated[float, Field(description="p-value, 0 to 1: how often chance alone gives as much.")]
Digest = Annotated[str, Field(description="SHA-256, hexadecimal.")]
Commitment = Annotated[str, Field(description="Keyed digest (HMAC) of a file whose text nobody may test guesses on.")]
Time = Annotated[str, Field(description="ISO 8601 with zone.")]


class Part(BaseModel):
    """A part of a record; keys that are unknown here are kept."""

    # A report always says every key, so whoever reads one can rely on it.
    model_config = ConfigDict(frozen=True, extra="allow", json_schema_serialization_defaults_required=True)


class Reason(Part):
    """A finding that decided the verdict."""

    code: str
    text: str


class Check(Reason):
    """What was asked, and the answer."""

    name: str
    status: Literal["pass", "fail", "unknown", "skipped"]


class Comparison(Part):
    """What the model was compared with. others: further references, which show the noise floor."""

    kind: Literal["model", "scores", "tofu-log", "holdout", "none"] = "none"
    name: str | None = None
    others: tuple[str, ...] = ()


class Model(Part):
    """A model."""

    name: str | None = None
    sha256: Digest | None = None


class Given(Model):
    """A model or file that the verification was given."""

    role: str
    kind: str | None = None
    rows: int | None = None
    commitment: Commitment | None = None


class ForgetQuality(Part):
    """TOFU's two-sample KS test."""

    D: Distance
    n: int
    p: Chance | None = None
    variant: str | None = None
    perturbed: str | None = None


class Bounded(Part):
    """One-sided bounds; one that does not exist is None."""

    lower: float | None = None
    upper: float | None = None


class Interval(Bounded):
    """Distance D of two distributions of scores. unit: what was resampled, subjects or rows."""

    D: Distance
    n: int | None = None
    unit: str | None = None


class Shift(Bounded):
    """Difference of two means in nats a token; its limit is a multiple of spread."""

    difference: Nats
    spread: Nats | None = None
    n: int | None = None


class Closeness(Interval):
    """One kind of score of the forget rows against the comparison. gap: difference of the medians."""

    name: str
    gap: Nats | None = None
    shift: Shift | None = None
    p: Chance | None = None
    tofu_p: Chance | None = None


class Secrets(Part):
    """Named secrets among the deterministic answers."""

    named: int | None = None
    untested: int | None = None
    leaked: int | None = None
    leaked_by_reference: int | None = None
    beyond_reference: int | None = None
    lines: tuple[int, ...] = ()


class Samples(Part):
    """Leaks among sampled answers."""

    items: int | None = None
    answers: int | None = None
    leaked: int | None = None
    by_reference: int | None = None
    beyond: int | None = None
    p: Chance | None = None


class Excess(Part):
    """Rows on which only the verified model shows something, and rows on which only its comparison does."""

    more: int | None = None
    fewer: int | None = None
    total: int | None = None
    p: Chance | None = None
    lines: tuple[int, ...] = ()


class Elicited(Part):
    """What one way of asking brought out. secrets, whole: how many came out, and of how many."""

    answers: int | None = None
    rouge: Share | None = None
    secrets: tuple[int, int] | None = None
    whole: tuple[int, int] | None = None


class Attack(Bounded):
    """A membership attack: area under the ROC curve, and how far that is from the reference's."""

    name: str
    auc: Share
    reference: Share | None = None
    difference: float | None = None
    difference_lower: float | None = None
    difference_upper: float | None = None


class Relearning(Part):
    """Rows after both models were trained on others of their subjects."""

    shift: Shift | None = None
    distance: Interval | None = None


class StaysForgotten(Part):
    """Rows of an earlier run now against when it was verified. name: its number and id."""

    name: str
    shift: Shift | None = None
    distance: Interval | None = None
    secrets: Excess | None = None
    whole: Excess | None = None


class Change(Bounded):
    """A measure before and now, and its relative change."""

    before: float | None = None
    now: float | None = None
    relative: Relative | None = None
    n: int | None = None


class Kept(Part):
    """A measure of usefulness against the start model and the reference."""

    name: str
    start: Change | None = None
    reference: Change | None = None


class Point(Part):
    """The model in training after an optimizer step; step 0 is the start model."""

    step: int
    epoch: float | None = None
    D: Distance | None = None
    p: Chance | None = None
    forget_probability: Share | None = None
    retain_probability: Share | None = None


class Curve(Part):
    """Forget quality and utility over training. score: what D and p compare with the reference's."""

    score: Literal["truth ratio", "answer log-prob"]
    points: tuple[Point, ...] = ()


class Verdict(Part):
    """The whole file. The figures at the top are the verified model's."""

    verdict: Literal["PASS", "FAIL", "INCONCLUSIVE"]
    reasons: tuple[Reason, ...] = ()
    checks: tuple[Check, ...] = ()
    comparison: Comparison = Comparison()
    model: Model | None = None
    forget_quality: ForgetQuality | None = None
    forget_probability: Share | None = None
    retain_probability: Share | None = None
    truth_ratio: Share | None = None
    rouge: Share | None = None
    models: dict[str, dict[str, float | None] | None] = {}
    distances: tuple[Closeness, ...] = ()
    control: tuple[Closeness, ...] = ()
    noise_floor: tuple[Closeness, ...] | None = None
    kl: dict[str, Nats | None] | None = None
    secrets: Secrets | None = None
    samples: Samples | None = None
    counts: dict[str, Excess | None] | None = None
    extraction: dict[str, dict[str, Elicited] | None] | None = None
    attacks: tuple[Attack, ...] = ()
    priv_leak: float | None = None
    relearning: Relearning | None = None
    earlier: tuple[StaysForgotten, ...] = ()
    kept: tuple[Kept, ...] = ()
    curve: Curve | None = None
    inputs: tuple[Given, ...] = ()
    skipped: tuple[dict[str, str], ...] = ()
    bounds: dict[str, float] = {}
    created: Time | None = None
    digest: Digest | None = None
