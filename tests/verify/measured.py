"""Findings that pass every check, and changes that break one of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from pydantic import BaseModel

from forgetctl.recipe.bounds import Bounds
from forgetctl.verify import findings as shapes
from forgetctl.verify.checks import (
    answers_kept,
    attacks,
    comparison,
    distances,
    earlier,
    exposure,
    kept,
    perplexity,
    relearning,
    response_chance,
    samples,
    secrets,
    subjects,
    whole_answers,
)
from forgetctl.verify.checks._reasons import Reason
from forgetctl.verify.checks.attack_prompts import AttackPrompts
from forgetctl.verify.checks.distances import ANSWERS, TRUTH_RATIO
from forgetctl.verify.checks.recipes import Recipes
from forgetctl.verify.findings import Context, Measure
from forgetctl.verify.registry import COUNT_CHECKS, Findings, findings
from forgetctl.verify.statistics import bounded, counts, means, membership
from forgetctl.verify.statistics import distances as statistics

Value = TypeVar("Value")
BOUNDS = Bounds()


def by_position(kind: type[BaseModel], **defaults: Any) -> Callable[..., Any]:
    """A shape from its values in the order of its fields, which is all that a test wants to see of it."""

    def make(*values: Any, **named: Any) -> Any:
        return kind(**{**defaults, **dict(zip(kind.model_fields, values, strict=False)), **named})

    return make


def replace(value: Value, **changes: Any) -> Value:
    """A copy with some fields changed, of a shape or of a dataclass."""
    if isinstance(value, BaseModel):
        assert set(changes) <= set(type(value).model_fields)
        return value.model_copy(update=changes)
    return dataclasses.replace(value, **changes)  # type: ignore[type-var]


Check = by_position(shapes.Check, about="forgotten")
Interval = by_position(statistics.Interval)
Shift, Change = by_position(means.Shift), by_position(bounded.Change)
Rise, ShareExcess = by_position(means.Rise), by_position(bounded.ShareExcess)
Excess = by_position(counts.Excess)
Attack = by_position(
    membership.Attack,
    reference=None,
    difference=None,
    difference_lower=None,
    difference_upper=None,
    most=0.08,
    noise=0.06,
)
Closeness = by_position(distances.Closeness, gap=None, shift=None, p=None, tofu_p=None)
Kept = by_position(kept.Kept, reference=None)
Lost = by_position(answers_kept.Lost)
Perplexity = by_position(perplexity.Perplexity, reference=None)
Secrets = by_position(secrets.Secrets, names=(), remembered=0, guessed=0, p=None)
Samples = by_position(samples.Samples)
RowChance = by_position(response_chance.RowChance)
ResponseChance = by_position(response_chance.ResponseChance)
Repeated = by_position(whole_answers.Repeated, by_words=(), guessed=1.0)
Relearned = by_position(relearning.Relearned)
StaysForgotten = by_position(earlier.StaysForgotten)


def person(verdict: subjects.Verdict, code: str, high: float = 0.06, number: int = 1) -> subjects.Subject:
    """A person with that verdict for that reason, of whom at most so much is left."""
    return subjects.Subject(
        subject=number,
        named=True,
        rows=12,
        verdict=verdict,
        share_left=None if verdict == "NOT_KNOWN" else subjects.Left(low=0.0, high=high),
        reasons=(Reason(code=code, view=None, text="The rows say so."),),
        views=(),
    )


FORGOTTEN, REMEMBERED, OPEN_PERSON, UNKNOWN_PERSON = (
    person("PASS", "LITTLE_LEFT"),
    person("FAIL", "MEMORY_LEFT", 0.9),
    person("INCONCLUSIVE", "SHARE_OPEN", 0.3),
    person("NOT_KNOWN", "NOTHING_KNOWN"),
)

REFERENCE, HELD_OUT, NOTHING = (
    comparison.Comparison(kind=kind, name=None, others=()) for kind in ("model", "holdout", "none")
)

# Against the default delta of 0.15, a margin of the mean of 0.378 and of the AUC of 0.105.
EQUAL = Interval(0.05, 0.0, 0.12, 400, "rows", 0.1)
DIFFERENT = Interval(0.40, 0.30, 0.50, 400, "rows", 0.1)
FEW_ROWS = Interval(0.05, 0.0, 0.40, 10, "rows", 0.6)
BORDERLINE = Interval(0.20, 0.08, 0.30, 100, "rows", 0.2)
SAME_MEAN = Shift(0.01, -0.05, 0.07, 1.0, 400)
OTHER_MEAN = Shift(0.30, 0.10, 0.50, 1.0, 400)
KEPT = Change(0.900, 0.895, -0.0056, -0.012, 0.001, 400, 300)
LOST = Change(0.900, 0.800, -0.1111, -0.13, -0.09, 400, 871)
OPEN = Change(0.900, 0.890, -0.0111, -0.06, 0.03, 400, 5776)
NO_RISE = Rise(5.0, 5.001, 0.001, -0.003, 0.005, 400)
NONE_LOST = ShareExcess(1, 2, 300, 0.0, 0.022, 95)
NONE_OF_400 = Excess(0, 0, 400, 1.0, ())
UNLIKELY = ResponseChance(10_000, 400, RowChance("3", "", 0.001, 0.002, False), 0, 0, ())
HIDDEN = Attack("loss", 0.52, 0.45, 0.6, 0.51, 0.01, -0.05, 0.07)
UNCOMPARED = Attack("loss", 0.52, 0.45, 0.6)

ratios = Closeness(TRUTH_RATIO, EQUAL)
answers = Closeness(ANSWERS, EQUAL, 0.01, SAME_MEAN)


def attacked(*made: membership.Attack) -> attacks.Attacks:
    return attacks.Attacks(by=made, priv_leak=None, retained={})


CLEAN = findings(
    comparison=REFERENCE,
    subjects=(FORGOTTEN,),
    distances=(ratios, answers),
    control=(replace(answers, distance=DIFFERENT),),
    attack_prompts=AttackPrompts(version=1, rounds=1, prompts={"dialogue": 400}, uncompared=0),
    secrets=Secrets(3, 0, 0, 0, 0),
    kept=(Kept("retain probability", KEPT),),
    answers_kept=(Lost("unrehearsed rows", NONE_LOST),),
)
FULL = replace(
    CLEAN,
    noise_floor=(ratios, answers),
    recipes=Recipes(against="start model", compared=(1, 2), differences=()),
    whole_answers=Repeated("references", NONE_OF_400),
    samples=Samples(40, 8, 0, 0, 0, 1.0),
    response_chance=UNLIKELY,
    single_rows=NONE_OF_400,
    perplexity=Perplexity(NO_RISE),
    gibberish=NONE_OF_400,
    attacks=attacked(HIDDEN),
    relearning=Relearned(SAME_MEAN, EQUAL),
)
HOLDOUT = replace(CLEAN, comparison=HELD_OUT, distances=(answers,), secrets=Secrets(3, 0, 0, None, None))


def exposed(*states: exposure.State, uncompared: int = 0) -> exposure.Exposed:
    """Secrets of as many rows, in these states."""
    place = {"secret": 1, "strings": 99, "rank": 3, "reference": 5, "start": 1, "lead": 2, "p": 0.02, "together": 0.04}
    found = [exposure.SecretPlace(name=str(row), state=state, **place) for row, state in enumerate(states, 1)]
    return exposure.Exposed(compared=True, uncompared=uncompared, secrets=tuple(found), unplaced={})


def forget(**changes: Any) -> Findings:
    """CLEAN, with other answers of the forget rows."""
    return replace(CLEAN, distances=(ratios, replace(answers, **changes)))


def usefulness(start: means.Change, reference: means.Change | None = None) -> Findings:
    """CLEAN, with another change of usefulness."""
    return replace(CLEAN, kept=(Kept("retain probability", start, reference),))


def excess(more: int, fewer: int, p: float, names: tuple[str, ...] = ()) -> counts.Excess:
    """Paired counts of 400 rows."""
    return Excess(more, fewer, 400, p, names)


def judged(
    measure: Measure[Any], finding: Any, *, among: Findings = CLEAN, bounds: Bounds = BOUNDS
) -> list[shapes.Check]:
    """What one check says of its finding, among others."""
    context = Context(findings=among, bounds=bounds, count_level=bounds.fail_level / COUNT_CHECKS)
    checks: Iterable[shapes.Check] = measure.judge(finding, context)
    return list(checks)
