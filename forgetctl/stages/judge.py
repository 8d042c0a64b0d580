"""Scores -> verdict.json: gather the findings, apply the frozen bounds, keep every figure the verdict rests on."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Literal

import numpy as np

from ..maths.metrics import TRUTH_RATIO_VARIANT, forget_truth_ratio
from ..maths.statistics import Interval, distance_interval, ks
from ..maths.verdict import Bounds, Findings, Secrets, Verdict, judge
from ..scores import Role, Scores, ScoreSet

AllScores = dict[Role, Scores]
Comparison = Literal["model", "scores", "tofu-log", "holdout", "none"]


def conclude(
    scores: AllScores, kl: dict[str, float | None], skipped: dict[str, str], kind: Comparison, bounds: Bounds
) -> dict[str, Any]:
    """The content of verdict.json. `scores` must hold the unlearned model's; the rest as far as it exists."""
    unlearned = scores["unlearned"]
    skipped = {**_not_measured(scores, kl), **skipped}
    verdict = judge(_findings(scores, kind), bounds)
    reference = scores.get("reference")
    facts = {role: _summary(found) for role, found in scores.items()}
    quality = _forget_quality(unlearned, reference)
    comparison = reference.name if reference else ("holdout" if kind == "holdout" else None)
    return {
        "schema": 1,
        **_words(verdict),
        "comparison": {"kind": kind, "name": comparison},
        "model": {"name": unlearned.name, "sha256": unlearned.sha256},
        "forget_quality": quality,
        "answer_distance": _json(_answer_distance(scores, kind, "unlearned")),
        **{
            key: facts["unlearned"][key] for key in ("forget_probability", "retain_probability", "truth_ratio", "rouge")
        },
        "models": facts,
        "kl": {name: kl.get(name) for name in ("forget_distance", "retain_distance", "forget_from_start")},
        "secrets": asdict(secrets) if (secrets := _secrets(unlearned, reference)) else None,
        "skipped": [{"check": check, "reason": reason} for check, reason in skipped.items()],
        "bounds": asdict(bounds),
    }


def _words(verdict: Verdict) -> dict[str, Any]:
    return {
        "verdict": verdict.outcome,
        "reasons": [{"code": check.code, "text": check.text} for check in verdict.reasons],
        "checks": [asdict(check) for check in verdict.checks],
    }


def _summary(scores: Scores) -> dict[str, float | None]:
    retain = scores.sets.get("retain")
    ratios = scores.forget.truth_ratios
    return {
        "forget_probability": scores.forget.probability,
        "retain_probability": retain.probability if retain else None,
        "truth_ratio": None if ratios is None else forget_truth_ratio(ratios),
        "rouge": scores.forget.rouge,
        "retain_rouge": retain.rouge if retain else None,
    }


def _forget_quality(unlearned: Scores, reference: Scores | None) -> dict[str, Any] | None:
    if reference is None:
        return None
    ours, theirs = unlearned.forget.truth_ratios, reference.forget.truth_ratios
    if ours is None or theirs is None:
        return None
    return {**asdict(ks(ours, theirs)), "variant": TRUTH_RATIO_VARIANT, "perturbed": unlearned.perturbed}


def _findings(scores: AllScores, kind: Comparison) -> Findings:
    unlearned, reference, start = scores["unlearned"], scores.get("reference"), scores.get("start")
    retain = [found.sets.get("retain") for found in (start, unlearned) if found]
    both = len(retain) == 2 and all(retain)
    secrets = _secrets(unlearned, reference)
    return Findings(
        comparison="reference" if reference else "holdout" if kind == "holdout" else None,
        truth_ratio=_truth_ratio_distance(unlearned, reference),
        answers=_answer_distance(scores, kind, "unlearned"),
        answers_gap=_answers_gap(unlearned, _compared(scores, "unlearned", kind)),
        start_answers=_answer_distance(scores, kind, "start") if start else None,
        secrets=secrets,
        retain_probability=(retain[0].probability, retain[1].probability) if both else None,  # type: ignore[union-attr]
    )


def _compared(scores: AllScores, role: Role, kind: Comparison) -> ScoreSet | None:
    """The rows that stand for "never seen": the reference's forget rows, else the model's own holdout rows."""
    if "reference" in scores:
        return scores["reference"].forget
    return scores[role].sets.get("holdout") if kind == "holdout" else None


def _truth_ratio_distance(unlearned: Scores, reference: Scores | None) -> Interval | None:
    if reference is None:
        return None
    ours, theirs = unlearned.forget.truth_ratios, reference.forget.truth_ratios
    return None if ours is None or theirs is None else distance_interval(ours, theirs, paired=True)


def _answer_distance(scores: AllScores, kind: Comparison, role: Role) -> Interval | None:
    compared = _compared(scores, role, kind)
    if compared is None or (kind != "holdout" and not _same_tokens(scores[role], compared)):
        return None
    return distance_interval(scores[role].forget.per_token, compared.per_token, paired=kind != "holdout")


def _same_tokens(scores: Scores, compared: ScoreSet) -> bool:
    """Whether the answers have the same lengths: log-probabilities per token of other tokens are not comparable."""
    return scores.forget.answer_tokens == compared.answer_tokens


def _answers_gap(unlearned: Scores, compared: ScoreSet | None) -> float | None:
    if compared is None:
        return None
    return float(np.median(unlearned.forget.per_token) - np.median(compared.per_token))


def _secrets(unlearned: Scores, reference: Scores | None) -> Secrets | None:
    """What came of the named secrets in each model's greedy answers, None if the request names none."""
    rows = unlearned.forget.secrets_out or []
    tested = [said for row in rows for said in row if said is not None]
    named = sum(len(row) for row in rows)
    if not named:
        return None
    theirs = reference.forget.secrets_out if reference else None
    counts: tuple[int | None, int | None] = (None, None)
    if theirs is not None:
        pairs = [pair for ours, other in zip(rows, theirs, strict=True) for pair in zip(ours, other, strict=True)]
        counts = (sum(other is True for _, other in pairs), sum(bool(our) and not other for our, other in pairs))
    return Secrets(named, named - len(tested), sum(tested), *counts)


def _not_measured(scores: AllScores, kl: dict[str, float | None]) -> dict[str, str]:
    """Reasons for every figure that is missing."""
    skipped = {}
    if scores["unlearned"].forget.truth_ratios is None:
        skipped["truth_ratio"] = "no perturbed answers: the request has none, and too few other rows to make them from"
    if "reference" not in scores:
        skipped["forget_quality"] = "there is no reference"
    elif scores["reference"].forget.answer_tokens != scores["unlearned"].forget.answer_tokens:
        skipped["answer_distance"] = "the reference tokenises the answers differently"
    if scores["unlearned"].forget.rouge is None:
        skipped["rouge"] = "passages have no prompt to answer"
    if "retain" not in scores["unlearned"].sets:
        skipped["retain_probability"] = "there are no retain rows"
    if "reference" not in scores or scores["reference"].sha256 is None or "forget_distance" not in kl:
        for name in ("forget_distance", "retain_distance"):
            if name not in kl:
                skipped[f"kl.{name}"] = (
                    "needs a reference model" if "reference" not in scores else "the reference is given by scores only"
                )
    if "forget_from_start" not in kl:
        skipped["kl.forget_from_start"] = "the start model was not scored"
    return skipped


def _json(interval: Interval | None) -> dict[str, Any] | None:
    return asdict(interval) if interval else None
