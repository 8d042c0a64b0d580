"""verdict.json as a report reads it. What was not measured is None or missing, never 0."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict


class Part(BaseModel):
    """A part of a record; keys that are unknown here are kept."""

    model_config = ConfigDict(frozen=True, extra="allow")


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
    sha256: str | None = None


class ForgetQuality(Part):
    """TOFU's two-sample KS test."""

    D: float
    n: int
    p: float | None = None
    variant: str | None = None
    perturbed: str | None = None


class Bounded(Part):
    """One-sided bounds; one that does not exist is None."""

    lower: float | None = None
    upper: float | None = None


class Interval(Bounded):
    """Distance D of two distributions of scores. unit: what was resampled, subjects or rows."""

    D: float
    n: int | None = None
    unit: str | None = None


class Shift(Bounded):
    """Difference of two means in nats a token; its limit is a multiple of spread."""

    difference: float
    spread: float | None = None
    n: int | None = None


class Closeness(Interval):
    """One kind of score of the forget rows against the comparison. gap: difference of the medians."""

    name: str
    gap: float | None = None
    shift: Shift | None = None
    p: float | None = None
    tofu_p: float | None = None


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
    p: float | None = None


class Excess(Part):
    """Rows on which only the verified model shows something, and rows on which only its comparison does."""

    more: int | None = None
    fewer: int | None = None
    total: int | None = None
    p: float | None = None
    lines: tuple[int, ...] = ()


class Elicited(Part):
    """What one way of asking brought out. secrets, whole: how many came out, and of how many."""

    answers: int | None = None
    rouge: float | None = None
    secrets: tuple[int, int] | None = None
    whole: tuple[int, int] | None = None


class Attack(Bounded):
    """A membership attack: area under the ROC curve, and how far that is from the reference's."""

    name: str
    auc: float
    reference: float | None = None
    difference: float | None = None
    difference_lower: float | None = None
    difference_upper: float | None = None


class Relearning(Part):
    """Rows after both models were trained on others of their subjects."""

    shift: Shift | None = None
    distance: Interval | None = None


class Change(Bounded):
    """A measure before and now, and its relative change."""

    before: float | None = None
    now: float | None = None
    relative: float | None = None
    n: int | None = None


class Kept(Part):
    """A measure of usefulness against the start model and the reference."""

    name: str
    start: Change | None = None
    reference: Change | None = None


class Verdict(Part):
    """The whole file. The figures at the top are the verified model's."""

    verdict: Literal["PASS", "FAIL", "INCONCLUSIVE"]
    reasons: tuple[Reason, ...] = ()
    checks: tuple[Check, ...] = ()
    comparison: Comparison = Comparison()
    model: Model | None = None
    forget_quality: ForgetQuality | None = None
    forget_probability: float | None = None
    retain_probability: float | None = None
    truth_ratio: float | None = None
    rouge: float | None = None
    models: dict[str, dict[str, float | None] | None] = {}
    distances: tuple[Closeness, ...] = ()
    control: tuple[Closeness, ...] = ()
    noise_floor: tuple[Closeness, ...] | None = None
    kl: dict[str, float | None] | None = None
    secrets: Secrets | None = None
    samples: Samples | None = None
    counts: dict[str, Excess | None] | None = None
    extraction: dict[str, dict[str, Elicited] | None] | None = None
    attacks: tuple[Attack, ...] = ()
    priv_leak: float | None = None
    relearning: Relearning | None = None
    kept: tuple[Kept, ...] = ()
    skipped: tuple[dict[str, str], ...] = ()
    bounds: dict[str, float] = {}
    created: str | None = None
    digest: str | None = None
