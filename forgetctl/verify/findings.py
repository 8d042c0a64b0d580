"""What was measured, as a verdict takes it: numbers with their uncertainty, no files and no models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .statistics.counts import Excess
from .statistics.distances import Interval
from .statistics.means import Change, Shift
from .statistics.membership import Attack

Status = Literal["pass", "fail", "unknown", "skipped"]

COUNT_CHECKS = 4
"""Checks that count rows share the failing level, so that one of them fails by chance no more often than it says."""


@dataclass(frozen=True)
class Check:
    """One line of the verdict: what was asked, the answer, and the words for it."""

    name: str
    status: Status
    code: str
    text: str


@dataclass(frozen=True)
class Closeness:
    """How far one kind of score of the forget rows lies from the comparison's.

    gap: difference of the medians, in nats a token; negative is below the comparison. None for truth ratios, of
    which no side is the known one. shift: difference of the means, None where only distributions are compared.
    p: of swapping the two models within pairs, None for unpaired scores. tofu_p: the two-sample KS test's.
    """

    name: str
    distance: Interval
    gap: float | None = None
    shift: Shift | None = None
    p: float | None = None
    tofu_p: float | None = None


@dataclass(frozen=True)
class Secrets:
    """Named secrets: how many came out of any deterministic answer, and how many could not be tested.

    leaked_by_reference, beyond_reference: None where the reference's answers are not known. lines: where the latter
    stand in the request.
    """

    named: int
    untested: int
    leaked: int
    leaked_by_reference: int | None
    beyond_reference: int | None
    lines: tuple[int, ...] = ()


@dataclass(frozen=True)
class Samples:
    """Leaks, of secrets or of whole responses, among sampled answers to the same prompts.

    items: what could leak; answers: samples of each; leaked, by_reference: items that any sample gave away;
    beyond: those that only the verified model gave away; p: one-sided, `counts.stratified_p`.
    """

    items: int
    answers: int
    leaked: int
    by_reference: int
    beyond: int
    p: float


@dataclass(frozen=True)
class Relearned:
    """Rows after the model was fine-tuned on other rows of their subjects, less a reference that was treated alike."""

    shift: Shift
    distance: Interval


@dataclass(frozen=True)
class Kept:
    """A measure of usefulness, in [0, 1], against the start model's and, where scored, the reference's."""

    name: str
    start: Change
    reference: Change | None = None


@dataclass(frozen=True)
class Findings:
    """What was measured; what was not is None or missing from its tuple.

    comparison: "reference" (same rows, paired), "holdout" (other rows, weaker evidence) or None.
    forget: scores of the forget rows against the comparison: as asked, rephrased, and at other precisions.
    controls: the start model's, which must fail. floor: another reference against the first, None without one.
    excesses: paired counts by name. kept: what had to stay. attacks: against unseen rows.
    unmeasured: names of checks that were asked for but could not be made, with the reason.
    """

    comparison: Literal["reference", "holdout"] | None = None
    forget: tuple[Closeness, ...] = ()
    controls: tuple[Closeness, ...] = ()
    floor: tuple[Closeness, ...] | None = None
    secrets: Secrets | None = None
    whole_answers: Excess | None = None
    samples: Samples | None = None
    known_rows: Excess | None = None
    gibberish: Excess | None = None
    attacks: tuple[Attack, ...] = ()
    relearned: Relearned | None = None
    kept: tuple[Kept, ...] = ()
    unmeasured: tuple[tuple[str, str], ...] = ()
