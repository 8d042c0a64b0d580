"""How forgetting and usefulness went over training, where the model was scored on the way. Shown, never judged."""

from __future__ import annotations

from typing import Any

from ...model.scores import Scores
from ..statistics.distances import ks
from ..verdict import ANSWERS, TRUTH_RATIO
from .collected import Collected, Tracked, same_tokens


def curve(found: Collected) -> dict[str, Any] | None:
    """Points from the start model (step 0) to the last tracked step, or None if training was not tracked.

    Of each: distance D in [0, 1] of the forget rows' scores from the reference's with TOFU's p-value (both None
    without a reference that can be compared), and mean length-normalised probabilities of forget and retain rows.
    """
    if not found.tracked:
        return None
    score = _score(found)
    start = (Tracked(0, 0.0, found.start),) if found.start is not None else ()
    return {"score": score, "points": [_point(point, found, score) for point in (*start, *found.tracked)]}


def _score(found: Collected) -> str:
    """Truth ratios where every model has them for the same wrong answers, else the answers themselves."""
    scored = [*(point.scores for point in found.tracked), *(s for s in (found.start, found.reference) if s)]
    sets = [scores.forget for scores in scored]
    alike = all(rows.perturbed_tokens == sets[0].perturbed_tokens for rows in sets)
    return TRUTH_RATIO if alike and sets[0].truth_ratios is not None else ANSWERS


def _point(point: Tracked, found: Collected, score: str) -> dict[str, Any]:
    ours, retain = point.scores.forget, point.scores.sets.get("retain")
    tracked = found.tracked[-1].scores.sets.get("retain")
    if retain is not None and tracked is not None and retain.lines != tracked.lines:
        retain = None  # the verification was given other retain rows than training was tracked on
    distance, p = _distance(point.scores, found.reference, score)
    return {
        "step": point.step,
        "epoch": point.epoch,
        "D": distance,
        "p": p,
        "forget_probability": ours.probability,
        "retain_probability": retain.probability if retain else None,
    }


def _distance(scores: Scores, reference: Scores | None, score: str) -> tuple[float | None, float | None]:
    if reference is None:
        return None, None
    if score == TRUTH_RATIO:
        ours, theirs = scores.forget.truth_ratios, reference.forget.truth_ratios
        if ours is None or theirs is None:
            return None, None
        found = ks(ours, theirs)
    elif same_tokens(scores.forget, reference.forget):
        found = ks(scores.forget.per_token, reference.forget.per_token)
    else:
        return None, None
    return found.D, found.p
