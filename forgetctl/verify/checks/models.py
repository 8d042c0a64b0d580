"""What each model knows, in means over the rows. Shown, never judged."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field

from ...model.metrics import forget_truth_ratio
from ...model.scores import LIKELY_FACT, Role, Scores
from ...recipe.bounds import Bounds
from ..collected import Collected
from ..findings import Heading, Measure
from ..statistics.shapes import Shape, Share
from ..tables import ROLES, Row, Shown, Table, cell, tables_of
from .kept import utility


class Summary(Shape):
    """Means over the rows of one model; null where it was not measured."""

    forget_probability: Share = Field(
        title="Forget rows: probability",
        description="Length-normalised probability of the true answers; should fall to the reference's.",
    )
    truth_ratio: Share | None = Field(
        title="Forget rows: truth ratio",
        description="How alike true and wrong answers are to the model, 0 to 1; at 1 it cannot tell them.",
    )
    rouge: Share | None = Field(
        title="Forget rows: ROUGE-L recall",
        description="Share of the true answer's words that the model's own answer repeats in order.",
    )
    exact_memorisation: Share | None = Field(
        title="Forget rows: exact memorisation",
        description="Share of the true answer's tokens that the model guesses, given all those before.",
    )
    fact_tokens: Share | None = Field(
        title="Forget rows: fact tokens",
        description="The same of the tokens that only the row itself tells, such as names and numbers.",
    )
    fact_tokens_likely: Share | None = Field(
        title="Forget rows: likely facts",
        description=f"Share of those tokens that have a probability above {LIKELY_FACT:g} after the true ones before.",
    )
    extraction_strength: Share | None = Field(
        title="Forget rows: extraction strength",
        description="Share of the true answer, counted from its end, that the model completes by itself.",
    )
    retain_probability: Share | None = Field(
        title="Retain rows: probability",
        description="Probability of the answers to rows that had to stay; a fall is damage.",
    )
    retain_rouge: Share | None = Field(
        title="Retain rows: ROUGE-L recall", description="The share of words repeated on rows that had to stay."
    )
    model_utility: Share | None = Field(
        title="Model utility",
        description="TOFU's mean of nine measures on retain rows, real authors and world facts, as published: with "
        "the arithmetic mean in the truth ratio.",
    )
    model_utility_geometric: Share | None = Field(
        title="Model utility, geometric", description="The same with the geometric mean in the truth ratio."
    )


LABELS = {key: str(field.title) for key, field in Summary.model_fields.items()}
"""What each measure is called."""


def measure(scores: Collected, bounds: Bounds) -> dict[Role, Summary]:
    """The models at full precision."""
    return {role: _summary(scored) for role, scored in scores.models.items()}


def _summary(scores: Scores) -> Summary:
    retain, ratios, facts = scores.sets.get("retain"), scores.forget.truth_ratios, scores.forget.facts
    return Summary(
        forget_probability=scores.forget.probability,
        truth_ratio=None if ratios is None else forget_truth_ratio(ratios),
        rouge=scores.forget.rouge,
        exact_memorisation=mean(scores.forget.exact_memorisation),
        fact_tokens=mean([one for one in facts.first_choices if one is not None]) if facts else None,
        fact_tokens_likely=facts.likely if facts else None,
        extraction_strength=mean(scores.forget.extraction_strength),
        retain_probability=retain.probability if retain else None,
        retain_rouge=retain.rouge if retain else None,
        model_utility=utility(scores, arithmetic=True),
        model_utility_geometric=utility(scores, arithmetic=False),
    )


def mean(values: list[float] | None) -> float | None:
    """None of nothing."""
    return sum(values) / len(values) if values else None


REASONS = {
    "rouge": "there are no answers: passages have no prompt",
    "retain_probability": "there are no retain rows",
    "exact_memorisation": "evaluation logs do not tell",
    "fact_tokens": "it needs retain rows, and tokens that these do not tell",
    "extraction_strength": "evaluation logs do not tell",
    "model_utility": "it needs --real-authors, --world-facts and retain rows with perturbed answers",
}


def why_missing(finding: dict[Role, Summary], scores: Collected) -> dict[str, str]:
    """Reasons for measures that any model lacks."""
    lacking = {key for summary in finding.values() for key in REASONS if getattr(summary, key) is None}
    reasons = {key: reason for key, reason in REASONS.items() if key in lacking}
    if own := scores.unlearned.forget.own_paraphrases:
        rows = len(scores.unlearned.forget.names)
        reasons["paraphrases"] = f"{own} of {rows} rows have none; their own response stands in"
    return reasons


def measured(finding: dict[Role, Summary], role: Role) -> dict[str, float]:
    """What was measured of a model, by key."""
    values = finding[role].model_dump() if role in finding else {}
    return {key: value for key, value in values.items() if value is not None}


def table(finding: dict[Role, Summary], shown: Shown) -> Iterator[Table]:
    """The measures of every model side by side."""
    values = {role: known for role in ROLES if (known := measured(finding, role))}
    rows = (
        Row(LABELS[key], str(field.description), tuple(cell(known.get(key)) for known in values.values()))
        for key, field in Summary.model_fields.items()
        if any(key in known for known in values.values())
    )
    caption = "Means over the rows." + (" The reference never saw the forget rows." if "reference" in values else "")
    yield from tables_of(caption, ("Measure", *(shown.labels[role] for role in values)), rows)


MEASURE: Measure[dict[Role, Summary]] = Measure(
    place=10,
    measure=measure,
    empty={},
    heading=Heading(title="What each model knows", words=lambda findings, bounds: ""),
    table=table,
    why_missing=why_missing,
    public=lambda finding: finding,
)
