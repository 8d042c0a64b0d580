"""What a model kept: probability and ROUGE of the retain rows, and TOFU's model utility. A fall is damage.

Whether it was kept rests on the probability, since the other two are too noisy to show a loss of two percent on a few
hundred rows, or its absence: two published models of one recipe that never saw the rows are open by them. They fail a
model all the same. The answers themselves are `answers_kept`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ...model.metrics import harmonic_mean, model_utility, useful_truth
from ...model.scores import GREEDY, Role, Scores, ScoreSet
from ...recipe.bounds import Bounds
from ..collected import Collected, same_tokens
from ..findings import Check, Context, Heading, Measure, failed, passed, reported, unsure
from ..statistics.bounded import Change, bounded_change
from ..statistics.distances import DRAWS, Levels
from ..statistics.resampling import Units
from ..statistics.shapes import Shape
from ..tables import EMPTY, Cell, Row, Shown, Table, between, cell, number, percent, tables_of

Floats = NDArray[np.float64]
TINY = 1e-12
PROBABILITY = "retain probability"
UTILITY_SETS = ("retain", "real_authors", "world_facts")


class Kept(Shape):
    """A measure of usefulness, in [0, 1], against the start model's and, where scored, the reference's."""

    name: str
    start: Change
    reference: Change | None


def measure(scores: Collected, bounds: Bounds) -> tuple[Kept, ...]:
    """Every measure of usefulness that both the start and the unlearned model have, against start and reference."""
    return tuple(_measured(scores, bounds))


def _measured(scores: Collected, bounds: Bounds) -> Iterator[Kept]:
    for name, change in ((PROBABILITY, _probability), ("retain ROUGE", _rouge), ("model utility", _utility)):
        yield from _against(name, change, scores.models, bounds)
    for precision, models in scores.precisions.items():
        yield from _against(f"{PROBABILITY}, {precision}", _probability, models, bounds)


def _against(
    name: str,
    change: Callable[[Scores, Scores, float, Levels], Change | None],
    models: Mapping[Role, Scores],
    bounds: Bounds,
) -> Iterator[Kept]:
    """Against the start model, and the reference where there is one: a model passes against either, so each of the two
    may pass it by chance half as often."""
    start, reference = models.get("start"), models.get("reference")
    if start is None:
        return
    levels = Levels(bounds.pass_level / (2 if reference else 1), bounds.fail_level)
    changes = [
        change(models["unlearned"], one, bounds.utility_loss, levels) if one else None for one in (start, reference)
    ]
    if changes[0] is not None:
        yield Kept(name=name, start=changes[0], reference=changes[1])


def _probability(now: Scores, before: Scores, loss: float, levels: Levels) -> Change | None:
    ours, theirs = now.sets.get("retain"), before.sets.get("retain")
    if ours is None or theirs is None or not same_tokens(ours, theirs):
        return None
    if not theirs.probabilities.any():  # a model that gives its rows no probability at all has nothing to lose
        return None
    return bounded_change(ours.probabilities, theirs.probabilities, loss, _rows(ours, range(len(ours.names))), levels)


def _rows(rows: ScoreSet, chosen: Sequence[int]) -> Units:
    """Rows are drawn from what shall be kept one by one, whoever they are about; identical ones are one row."""
    copies = rows.copies or range(len(rows.names))
    return Units.of(len(chosen), copies=[copies[row] for row in chosen])


def _rouge(now: Scores, before: Scores, loss: float, levels: Levels) -> Change | None:
    sets = [scores.sets.get("retain") for scores in (now, before)]
    greedy = [scored.elicited.get(GREEDY) if scored else None for scored in sets]
    if sets[0] is None or greedy[0] is None or greedy[1] is None:
        return None
    pairs = zip(greedy[0].recall, greedy[1].recall, strict=True)
    rows = [(row, ours, theirs) for row, (ours, theirs) in enumerate(pairs) if ours is not None and theirs is not None]
    if not rows or not any(theirs for _, _, theirs in rows):
        return None
    units = _rows(sets[0], [row for row, _, _ in rows])
    return bounded_change([ours for _, ours, _ in rows], [theirs for _, _, theirs in rows], loss, units, levels)


def utility(scores: Scores, *, arithmetic: bool) -> float | None:
    """TOFU's model utility, with either mean in the truth ratio; None unless its three sets were scored in full."""
    table = _utility_rows(scores, arithmetic=arithmetic)
    return None if table is None else model_utility([float(mean) for rows in table for mean in rows.mean(0)])


def utility_without_rouge(scores: Scores, *, arithmetic: bool) -> float | None:
    """The harmonic mean of the six of the nine measures that need no generated answers. Not TOFU's model utility, and
    not to be compared with it; None unless the three sets were scored with perturbed answers."""
    tables = [_forced_rows(scores.sets.get(name), name, arithmetic=arithmetic) for name in UTILITY_SETS]
    if any(table is None for table in tables):
        return None
    return harmonic_mean([float(mean) for rows in tables if rows is not None for mean in rows.mean(0)])


def _utility(now: Scores, before: Scores, loss: float, levels: Levels) -> Change | None:
    """Change of the model utility (arithmetic truth ratio, as published), by bootstrap of the rows of each set."""
    ours, theirs = (_utility_rows(scores, arithmetic=True) for scores in (now, before))
    values = [utility(scores, arithmetic=True) for scores in (now, before)]
    if ours is None or theirs is None or values[0] is None or not values[1]:
        return None
    if any(own.shape != other.shape for own, other in zip(ours, theirs, strict=True)):
        return None
    drawn: list[list[Floats]] = [[], []]
    for seed, (own, other) in enumerate(zip(ours, theirs, strict=True)):
        order = np.lexsort(np.column_stack([own, other]).T)  # the draws fall on the same rows in any order of the file
        weights = Units.of(len(own)).draws(DRAWS, seed) / len(own)
        drawn[0].append(weights @ own[order])
        drawn[1].append(weights @ other[order])
    ratios = _harmonic(np.hstack(drawn[0])) / np.maximum(_harmonic(np.hstack(drawn[1])), TINY) - 1
    change = values[0] / values[1] - 1
    lower, upper = np.quantile(ratios, [levels.passing, 1 - levels.failing])
    return Change(
        before=values[1],
        now=values[0],
        relative=change,
        lower=min(float(lower), change),
        upper=max(float(upper), change),
        n=min(map(len, ours)),
        rows_needed=None,
    )


def _harmonic(parts: Floats) -> Floats:
    """Model utility of each bootstrap sample: (draws, 9) -> (draws,)."""
    mean: Floats = 9 / (1 / np.maximum(parts, TINY)).sum(1)
    return mean


def _utility_rows(scores: Scores, *, arithmetic: bool) -> list[Floats] | None:
    """For each of the three sets the rows' probability, ROUGE and truth ratio, (rows, 3)."""
    tables = []
    for name in UTILITY_SETS:
        table = _set_rows(scores.sets.get(name), name, arithmetic=arithmetic)
        if table is None:
            return None
        tables.append(table)
    return tables


def _set_rows(rows: ScoreSet | None, name: str, *, arithmetic: bool) -> Floats | None:
    forced = _forced_rows(rows, name, arithmetic=arithmetic)
    greedy = rows.elicited.get(GREEDY) if rows is not None else None
    if forced is None or greedy is None or any(value is None for value in greedy.recall):
        return None
    return np.column_stack([forced[:, 0], np.asarray(greedy.recall, dtype=float), forced[:, 1]])


def _forced_rows(rows: ScoreSet | None, name: str, *, arithmetic: bool) -> Floats | None:
    """The rows' probability and useful truth, (rows, 2): what teacher forcing alone tells."""
    if rows is None:
        return None
    ratios = rows.truth_ratio_by(arithmetic=arithmetic)
    chosen = rows.probabilities if name == "retain" else rows.choice_probabilities
    if ratios is None or chosen is None:
        return None
    return np.column_stack([chosen, useful_truth(ratios)])


def judge(finding: tuple[Kept, ...], context: Context) -> Iterator[Check]:
    """Whether the probability was surely kept, or any measure surely fell."""
    if all(kept.name != PROBABILITY for kept in finding):
        words = "No retain rows were scored for both models, so damage is unknown. Give --retain."
        yield unsure(PROBABILITY, "NO_RETAIN_ROWS", words)
    for kept in finding:
        yield _judged(kept, context.bounds.utility_loss)


def _judged(kept: Kept, loss: float) -> Check:
    """A model that never saw the rows loses a little too; what it loses is no damage by unlearning."""
    name, start = kept.name, kept.start
    changes = [start, *([kept.reference] if kept.reference else [])]
    figure = f"{start.before:.3f} before, {start.now:.3f} after"
    figure += f"; change {_in_words(start)}; limit -{loss:.0%}"
    figure += (
        f"; against the reference's {kept.reference.before:.3f} {_in_words(kept.reference)}" if kept.reference else ""
    )
    if all(change.upper < -loss for change in changes):
        return failed(name, "DAMAGED", f"The {name} fell ({figure}).")
    if any(change.lower > -loss for change in changes):
        return passed(name, "KEPT", f"The {name} was kept ({figure}).")
    if not name.startswith(PROBABILITY):
        words = f"Whether the {name} was kept is open, and decides nothing: too few rows could show it ({figure})."
        return reported(name, "DAMAGE_REPORTED", words)
    counts = [change.rows_needed for change in changes if change.rows_needed is not None]
    remedy = f"about {min(counts)} rows would settle it, if nothing was lost" if counts else "add rows"
    return unsure(name, "DAMAGE_UNSURE", f"Whether the {name} was kept is open ({figure}); {remedy}.")


def _in_words(change: Change) -> str:
    return f"{change.relative:+.1%}, {change.lower:+.1%} to {change.upper:+.1%}"


HEADING = Heading(
    title="What was kept",
    words=lambda findings, bounds: (
        f"Forgetting must not cost usefulness. The probability of retain rows passes if it surely fell by less than "
        f"{bounds.utility_loss:.1%} against the start model or against the reference, which lost something too; any "
        "measure fails if it surely fell by more against both. The bounds hold however the losses are spread over the "
        "rows, also where a few rows lose everything."
    ),
)


def table(finding: tuple[Kept, ...], shown: Shown) -> Iterable[Table]:
    """A row for each measure."""
    columns = ("Measure", "Start", shown.labels["unlearned"], "Reference", "Change from start", "Change from reference")
    return tables_of("Measures of usefulness, 0 to 1, and their relative change.", columns, map(_row, finding))


def _row(kept: Kept) -> Row:
    start, reference = kept.start, kept.reference
    second = cell(reference.before) if reference else EMPTY
    changes = (_change(start), _change(reference))
    return Row(kept.name, "", (cell(start.before), cell(start.now), second, *changes))


def _change(change: Change | None) -> Cell:
    if change is None:
        return EMPTY
    bounds = between(change.lower, change.upper, percent)
    return cell(change.relative, bounds, f"n = {number(change.n)}", show=percent)


MEASURE: Measure[tuple[Kept, ...]] = Measure(
    place=140,
    measure=measure,
    empty=(),
    judge=judge,
    heading=HEADING,
    table=table,
    public=lambda finding: finding,
    about="kept",
)
