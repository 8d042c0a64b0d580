"""How far the forget rows' scores lie from those of something that never saw the rows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...model.scores import Scores, ScoreSet
from ...recipe.bounds import Bounds
from ..findings import Closeness, Relearned
from ..statistics.distances import ks, paired_distance, swap_p, unpaired_distance
from ..statistics.means import paired_shift, unpaired_shift
from ..verdict import ANSWERS, TRUTH_RATIO
from .collected import Collected, same_tokens


def forget_closeness(found: Collected, bounds: Bounds) -> Iterator[Closeness]:
    """The unlearned model's forget rows, as asked, rephrased and at other precisions, against the comparison."""
    for name, suffix in found.forget_sets():
        yield from _against(found.unlearned, found.reference, found, name, suffix, bounds)
    for precision, models in found.precisions.items():
        reference = models.get("reference") or found.reference
        yield from _against(models["unlearned"], reference, found, "forget", f", {precision}", bounds)


def unanswered(found: Collected) -> Iterator[tuple[str, str]]:
    """Rephrasings that were scored, but not for what the model is compared with: checks that could not be made."""
    for name, suffix in found.forget_sets():
        if name != "forget" and found.reference is not None and name not in found.reference.sets:
            yield ANSWERS + suffix, "the reference was not asked in these words"


def control_closeness(found: Collected, bounds: Bounds) -> Iterator[Closeness]:
    """The start model's forget rows against the same comparison."""
    if found.start is not None:
        yield from _against(found.start, found.reference, found, "forget", "", bounds)


def floor_closeness(found: Collected, bounds: Bounds) -> tuple[Closeness, ...] | None:
    """Each further reference against the first: of every score the pair that lies farthest apart."""
    if len(found.references) < 2:
        return None
    first, *others = found.references
    farthest: dict[str, Closeness] = {}
    for other in others:
        for pair in paired_closeness(other.forget, first.forget, bounds):
            known = farthest.get(pair.name)
            if known is None or pair.distance.upper > known.distance.upper:
                farthest[pair.name] = pair
    return tuple(farthest.values())


def _against(
    scores: Scores, reference: Scores | None, found: Collected, name: str, suffix: str, bounds: Bounds
) -> Iterator[Closeness]:
    own = scores.sets.get(name)
    if own is None:
        return
    if reference is not None and (other := reference.sets.get(name)) is not None:
        yield from paired_closeness(own, other, bounds, suffix)
    elif reference is None and found.kind == "holdout" and (unseen := scores.sets.get("holdout")) is not None:
        yield _unpaired(own, unseen, bounds, suffix)


def paired_closeness(ours: ScoreSet, theirs: ScoreSet, bounds: Bounds, suffix: str = "") -> Iterator[Closeness]:
    """Truth ratios and per-token log-probabilities of the same rows, where both sides have them."""
    units, levels = ours.units, bounds.levels
    first, second = ours.truth_ratios, theirs.truth_ratios
    if first is not None and second is not None:
        distance = paired_distance(first, second, units, levels)
        tofu = ks(first, second).p
        yield Closeness(TRUTH_RATIO + suffix, distance, p=swap_p(first, second, units), tofu_p=tofu)
    if same_tokens(ours, theirs):
        own, other = ours.per_token, theirs.per_token
        yield Closeness(
            ANSWERS + suffix,
            paired_distance(own, other, units, levels),
            float(np.median(own) - np.median(other)),
            paired_shift(own, other, units, levels),
            swap_p(own, other, units),
            ks(own, other).p,
        )


def _unpaired(ours: ScoreSet, unseen: ScoreSet, bounds: Bounds, suffix: str) -> Closeness:
    own, other, levels = ours.per_token, unseen.per_token, bounds.levels
    return Closeness(
        ANSWERS + suffix,
        unpaired_distance(own, other, ours.units, unseen.units, levels),
        float(np.median(own) - np.median(other)),
        unpaired_shift(own, other, ours.units, unseen.units, levels),
        tofu_p=ks(own, other).p,
    )


def relearning(found: Collected, bounds: Bounds) -> Relearned | None:
    """The model against the reference, after both were trained on other rows of the same subjects."""
    if not {"unlearned", "reference"} <= set(found.relearned):
        return None
    ours, theirs = found.relearned["unlearned"].forget, found.relearned["reference"].forget
    if not same_tokens(ours, theirs):
        return None
    shift = paired_shift(ours.per_token, theirs.per_token, ours.units, bounds.levels)
    return Relearned(shift, paired_distance(ours.per_token, theirs.per_token, ours.units, bounds.levels))
