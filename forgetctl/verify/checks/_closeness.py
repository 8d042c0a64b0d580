"""Whether the forget rows look to the model as they do to one that never saw them: what three checks share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal

import numpy as np

from ...model.scores import Scores, ScoreSet
from ...recipe.bounds import Bounds
from ..collected import Collected, same_tokens
from ..findings import Check, Heading, failed, passed, reported
from ..statistics.distances import Interval, ks, paired_distance, swap_p, unpaired_distance
from ..statistics.means import Shift, equivalence_margin, paired_shift, unpaired_shift
from ..statistics.shapes import Chance, Nats, Shape
from ..tables import Row, Shown, Table, between, cell, number, p_value, shift_cell, signed, tables_of

TRUTH_RATIO: Literal["truth ratio"] = "truth ratio"
ANSWERS: Literal["answer log-prob"] = "answer log-prob"
PLURALS = {TRUTH_RATIO: "truth ratios", ANSWERS: "answer log-probabilities"}
"""Scores of the forget rows that distances compare."""
FEWEST_COMPARED = 3
"""With so many people they are resampled, however wide the bounds then are: the rows of one are not independent, and
equal models would fail in up to 30 % of requests."""
REQUIRED = {"reference": (TRUTH_RATIO, ANSWERS), "holdout": (ANSWERS,)}
"""Scores that are compared where they can be; unseen rows have no perturbed answers to make truth ratios from."""


class Closeness(Shape):
    """How far one kind of score of the forget rows lies from the comparison's.

    gap: difference of the medians, in nats a token; negative is below the comparison. null for truth ratios, of
    which no side is the known one. shift: difference of the means, null where only distributions are compared.
    p: of swapping the two models within pairs, null for unpaired scores. tofu_p: the two-sample KS test's.
    """

    name: str
    distance: Interval
    gap: Nats | None
    shift: Shift | None
    p: Chance | None
    tofu_p: Chance | None


def against(
    scores: Scores, reference: Scores | None, collected: Collected, name: str, suffix: str, bounds: Bounds
) -> Iterator[Closeness]:
    """A set of rows against the reference's, or against rows that no model saw where there is no reference."""
    own = scores.sets.get(name)
    if own is None:
        return
    if reference is not None and (other := reference.sets.get(name)) is not None:
        yield from paired(own, other, bounds, suffix)
    elif reference is None and collected.kind == "holdout" and (unseen := scores.sets.get("holdout")) is not None:
        yield _unpaired(own, unseen, bounds, suffix)


def paired(ours: ScoreSet, theirs: ScoreSet, bounds: Bounds, suffix: str = "") -> Iterator[Closeness]:
    """Truth ratios and per-token log-probabilities of the same rows, where both sides have them."""
    units, levels = ours.units_of(FEWEST_COMPARED), bounds.levels
    first, second = ours.truth_ratios, theirs.truth_ratios
    if first is not None and second is not None:
        yield Closeness(
            name=TRUTH_RATIO + suffix,
            distance=paired_distance(first, second, units, levels),
            gap=None,
            shift=None,
            p=swap_p(first, second, units),
            tofu_p=ks(first, second).p,
        )
    if same_tokens(ours, theirs):
        own, other = ours.per_token, theirs.per_token
        yield Closeness(
            name=ANSWERS + suffix,
            distance=paired_distance(own, other, units, levels),
            gap=float(np.median(own) - np.median(other)),
            shift=paired_shift(own, other, units, levels),
            p=swap_p(own, other, units),
            tofu_p=ks(own, other).p,
        )


def _unpaired(ours: ScoreSet, unseen: ScoreSet, bounds: Bounds, suffix: str) -> Closeness:
    own, other, levels = ours.per_token, unseen.per_token, bounds.levels
    units, others = (rows.units_of(FEWEST_COMPARED) for rows in (ours, unseen))
    return Closeness(
        name=ANSWERS + suffix,
        distance=unpaired_distance(own, other, units, others, levels),
        gap=float(np.median(own) - np.median(other)),
        shift=unpaired_shift(own, other, units, others, levels),
        p=None,
        tofu_p=ks(own, other).p,
    )


def check_distance(closeness: Closeness, bounds: Bounds) -> Check:
    """Whether one kind of score is surely within, or surely beyond, delta of the comparison.

    Being indistinguishable is a claim of its own about large requests: where it is open, that is said, and a person's
    rows decide.
    """
    name, distance, delta = closeness.name, closeness.distance, bounds.delta
    figure = f"D = {distance.D:.3f}, {distance.lower:.3f} to {distance.upper:.3f}, n = {distance.n}; limit {delta}"
    if distance.lower > delta:
        code, words = _difference(closeness.gap)
        return failed(name, code, f"The {name} {words} ({figure}).")
    if distance.upper < delta:
        return passed(name, "EQUIVALENT", f"The {name} is that of the comparison ({figure}).")
    if delta > distance.D:
        words = f"The {name} is not surely within the limit ({figure})"
        remedy = f"about {distance.rows_needed(delta)} rows like these would settle it, if the two are equal"
        return reported(name, "UNDERPOWERED", f"{words}; {remedy}.")
    words = f"The {name} is neither surely within nor surely beyond the limit ({figure}); train further or add rows."
    return reported(name, "NOT_EQUIVALENT", words)


def _difference(gap: float | None) -> tuple[str, str]:
    if gap is None:
        return "DIFFERENT", "differs from the comparison"
    if gap < 0:
        return "OVER_FORGOTTEN", "lies below where a model that never saw the rows would be"
    return "STILL_KNOWN", "is higher than a model that never saw the rows would give"


def check_mean(closeness: Closeness, shift: Shift, bounds: Bounds) -> Check:
    """Whether the means are equivalent (TOST)."""
    name, margin = f"{closeness.name}, mean", equivalence_margin(bounds.delta) * shift.spread
    figure = f"{shift.difference:+.3f} nats, {shift.lower:+.3f} to {shift.upper:+.3f}; limit {margin:.3f} either way"
    if -margin < shift.lower and shift.upper < margin:
        return passed(name, "MEAN_EQUIVALENT", f"The mean {closeness.name} is that of the comparison ({figure}).")
    words = f"The mean {closeness.name} is not surely that of the comparison ({figure})."
    return reported(name, "MEAN_NOT_EQUIVALENT", words)


def _words(findings: Shape, bounds: Bounds) -> str:
    return (
        "Were the rows forgotten, they would look to the model as they do to one that never saw them. D is the largest "
        "gap between two distributions of scores, 0 if they are equal and 1 if they have nothing in common. All rows "
        f"together are indistinguishable if its upper bound lies below {number(bounds.delta)}, which large "
        "requests alone can show; the verdict fails if the lower one lies above it. Means are in nats per token: above "
        "0 the rows are better known than in the comparison, below 0 less."
    )


HEADING = Heading(title="Distance from the comparison", words=_words)
COLUMNS = ("Score", "Distance D", "Rows", "Difference of means", "p, swapped", "p, KS test")
REMARK = (
    "p is how often chance makes as large a D: by swapping the two models row by row, and by TOFU's KS test. "
    "A small p shows a difference, a large one proves nothing."
)


def closeness_table(caption: str, finding: Iterable[Closeness], shown: Shown) -> tuple[Table, ...]:
    """A row for each kind of score."""
    return tables_of(caption, COLUMNS, (_row(one, shown.bounds.delta) for one in finding), REMARK)


def _row(closeness: Closeness, delta: float) -> Row:
    distance = closeness.distance
    medians = () if closeness.gap is None else (f"medians {signed(closeness.gap)}",)
    cells = (
        cell(distance.D, between(distance.lower, distance.upper)),
        cell(distance.n, f"{distance.unit} resampled"),
        (*shift_cell(closeness.shift, delta, "±"), *medians),
        cell(closeness.p, show=p_value),
        cell(closeness.tofu_p, show=p_value),
    )
    return Row(closeness.name, "", cells)
