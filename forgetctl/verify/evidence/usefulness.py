"""What a model kept: probability and ROUGE of the retain rows, and TOFU's model utility."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ...model.metrics import harmonic_mean, model_utility, useful_truth
from ...model.scores import GREEDY, Scores, ScoreSet
from ...recipe.bounds import Bounds
from ..findings import Kept
from ..statistics.distances import DRAWS
from ..statistics.means import Change, relative_change
from ..statistics.resampling import Units
from .collected import Collected, same_tokens

Floats = NDArray[np.float64]
TINY = 1e-12
UTILITY_SETS = ("retain", "real_authors", "world_facts")


def kept(found: Collected, bounds: Bounds) -> Iterator[Kept]:
    """Every measure of usefulness that both the start and the unlearned model have, against start and reference."""
    if found.start is None:
        return
    for name, measure in (("retain probability", _probability), ("retain ROUGE", _rouge), ("model utility", _utility)):
        change = measure(found.unlearned, found.start, bounds)
        if change is not None:
            against = measure(found.unlearned, found.reference, bounds) if found.reference else None
            yield Kept(name, change, against)
    for precision, models in found.precisions.items():
        if (start := models.get("start")) and (change := _probability(models["unlearned"], start, bounds)):
            reference = models.get("reference")
            against = _probability(models["unlearned"], reference, bounds) if reference else None
            yield Kept(f"retain probability, {precision}", change, against)


def _probability(now: Scores, before: Scores, bounds: Bounds) -> Change | None:
    ours, theirs = now.sets.get("retain"), before.sets.get("retain")
    if ours is None or theirs is None or not same_tokens(ours, theirs):
        return None
    if not theirs.probabilities.any():  # a model that gives its rows no probability at all has nothing to lose
        return None
    return relative_change(ours.probabilities, theirs.probabilities, ours.units, bounds.levels)


def _rouge(now: Scores, before: Scores, bounds: Bounds) -> Change | None:
    sets = [scores.sets.get("retain") for scores in (now, before)]
    greedy = [found.elicited.get(GREEDY) if found else None for found in sets]
    if sets[0] is None or greedy[0] is None or greedy[1] is None:
        return None
    pairs = zip(greedy[0].recall, greedy[1].recall, strict=True)
    rows = [(row, ours, theirs) for row, (ours, theirs) in enumerate(pairs) if ours is not None and theirs is not None]
    if not rows or not any(theirs for _, _, theirs in rows):
        return None
    units = Units.of(len(rows), copies=[int(sets[0].units.index[row]) for row, _, _ in rows])
    return relative_change([ours for _, ours, _ in rows], [theirs for _, _, theirs in rows], units, bounds.levels)


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


def _utility(now: Scores, before: Scores, bounds: Bounds) -> Change | None:
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
    change, n = values[0] / values[1] - 1, min(map(len, ours))
    lower, upper, likely = np.quantile(ratios, [bounds.pass_level, 1 - bounds.fail_level, 0.1])
    noise = float(2 * change - lower - likely)  # what the bound and the power need, were nothing lost
    return Change(values[1], values[0], change, min(float(lower), change), max(float(upper), change), n, noise)


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
