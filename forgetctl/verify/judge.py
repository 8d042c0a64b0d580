"""Scores -> verdict.json: gather the findings, apply the frozen bounds, keep every figure the verdict rests on."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from ..model.metrics import TRUTH_RATIO_VARIANT, forget_truth_ratio
from ..model.scores import Elicited, Scores, strict
from ..recipe.bounds import Bounds
from .checks.earlier import with_earlier
from .evidence.closeness import control_closeness, floor_closeness, forget_closeness, relearning, unanswered
from .evidence.collected import Collected, same_tokens
from .evidence.curve import curve
from .evidence.earlier import stays_forgotten
from .evidence.leaks import gibberish, known_rows, named_secrets, sampled_leaks, whole_answers
from .evidence.membership import attacks, privacy_leak
from .evidence.usefulness import kept, utility
from .findings import Closeness, Findings
from .statistics.distances import ks
from .verdict import ANSWERS, TRUTH_RATIO, Verdict, judge

KL = ("forget_distance", "retain_distance", "forget_from_start")


def conclude(
    found: Collected,
    bounds: Bounds,
    kl: Mapping[str, float | None],
    skipped: Mapping[str, str],
    unmeasured: Iterable[tuple[str, str]] = (),
) -> dict[str, Any]:
    """The content of verdict.json.

    kl: divergences in nats per answer token. skipped: figures that nobody asked for or that the inputs do not allow,
    with the reason. unmeasured: checks that were asked for and could not be made.
    """
    findings = gather(found, bounds, unmeasured)
    earlier = stays_forgotten(found, bounds)
    verdict = with_earlier(judge(findings, bounds), earlier, bounds)
    reasons = {**_not_measured(found, findings, kl), **skipped}
    models = {role: _summary(scores) for role, scores in found.models.items()}
    by_name = {closeness.name: closeness for closeness in findings.forget}
    shown = ("forget_probability", "retain_probability", "truth_ratio", "rouge")
    content: dict[str, Any] = strict(
        {
            "schema": 2,
            **_words(verdict),
            "comparison": _comparison(found),
            "model": {"name": found.unlearned.name, "sha256": found.unlearned.sha256},
            "forget_quality": _forget_quality(found),
            "answer_distance": asdict(by_name[ANSWERS].distance) if ANSWERS in by_name else None,
            **{key: models["unlearned"][key] for key in shown},
            "models": models,
            "distances": [_distance(closeness) for closeness in findings.forget],
            "control": [_distance(closeness) for closeness in findings.controls],
            "noise_floor": None if findings.floor is None else [_distance(pair) for pair in findings.floor],
            "kl": {name: kl.get(name) for name in KL},
            "secrets": asdict(findings.secrets) if findings.secrets else None,
            "samples": asdict(findings.samples) if findings.samples else None,
            "counts": {
                name: asdict(count) if count else None
                for name, count in (
                    ("whole_answers", findings.whole_answers),
                    ("single_rows", findings.known_rows),
                    ("gibberish", findings.gibberish),
                )
            },
            "extraction": {role: _extraction(scores) for role, scores in found.models.items()},
            "attacks": [asdict(attack) for attack in findings.attacks],
            "priv_leak": privacy_leak(findings.attacks),
            "relearning": asdict(findings.relearned) if findings.relearned else None,
            "earlier": [asdict(one) for one in earlier],
            "kept": [asdict(measure) for measure in findings.kept],
            "curve": curve(found),
            "skipped": [{"check": check, "reason": reason} for check, reason in reasons.items()],
            "bounds": bounds.model_dump(),
        }
    )
    return content


def gather(found: Collected, bounds: Bounds, unmeasured: Iterable[tuple[str, str]] = ()) -> Findings:
    """Everything that the scores show, as the verdict takes it."""
    return Findings(
        comparison="reference" if found.references else "holdout" if found.kind == "holdout" else None,
        forget=tuple(forget_closeness(found, bounds)),
        controls=tuple(control_closeness(found, bounds)),
        floor=floor_closeness(found, bounds),
        secrets=named_secrets(found),
        whole_answers=whole_answers(found),
        samples=sampled_leaks(found),
        known_rows=known_rows(found),
        gibberish=gibberish(found),
        attacks=attacks(found, bounds),
        relearned=relearning(found, bounds),
        kept=tuple(kept(found, bounds)),
        unmeasured=(*unmeasured, *unanswered(found)),
    )


def _words(verdict: Verdict) -> dict[str, Any]:
    return {
        "verdict": verdict.outcome,
        "reasons": [{"code": check.code, "text": check.text} for check in verdict.reasons],
        "checks": [asdict(check) for check in verdict.checks],
    }


def _comparison(found: Collected) -> dict[str, Any]:
    name = found.reference.name if found.reference else "holdout" if found.kind == "holdout" else None
    return {"kind": found.kind, "name": name, "others": [scores.name for scores in found.references[1:]]}


def _summary(scores: Scores) -> dict[str, float | None]:
    retain, ratios = scores.sets.get("retain"), scores.forget.truth_ratios
    return {
        "forget_probability": scores.forget.probability,
        "retain_probability": retain.probability if retain else None,
        "truth_ratio": None if ratios is None else forget_truth_ratio(ratios),
        "rouge": scores.forget.rouge,
        "retain_rouge": retain.rouge if retain else None,
        "exact_memorisation": _mean(scores.forget.exact_memorisation),
        "extraction_strength": _mean(scores.forget.extraction_strength),
        "model_utility": utility(scores, arithmetic=True),
        "model_utility_geometric": utility(scores, arithmetic=False),
    }


def _extraction(scores: Scores) -> dict[str, Any]:
    return {mode: _given_away(answers) for mode, answers in scores.forget.elicited.items()}


def _given_away(found: Elicited) -> dict[str, Any]:
    """Of the rows that were asked: mean ROUGE-L recall, and how many rows or secrets came out at least once."""
    secrets = [count for row in found.secrets or [] for count in row if count is not None]
    whole = [count for count in found.whole or [] if count is not None]
    return {
        "answers": found.answers,
        "rouge": _mean([value for value in found.recall if value is not None]),
        "secrets": [sum(count > 0 for count in secrets), len(secrets)],
        "whole": [sum(count > 0 for count in whole), len(whole)],
    }


def _mean(values: list[float] | None) -> float | None:
    return sum(values) / len(values) if values else None


def _distance(found: Closeness) -> dict[str, Any]:
    return {"name": found.name, **asdict(found.distance), **{k: v for k, v in asdict(found).items() if k in _REST}}


_REST = ("gap", "shift", "p", "tofu_p")


def _forget_quality(found: Collected) -> dict[str, Any] | None:
    """TOFU's: the two-sample KS test of the truth ratios."""
    if found.reference is None:
        return None
    ours, theirs = found.unlearned.forget.truth_ratios, found.reference.forget.truth_ratios
    if ours is None or theirs is None:
        return None
    return {**asdict(ks(ours, theirs)), "variant": TRUTH_RATIO_VARIANT, "perturbed": found.unlearned.perturbed}


def _not_measured(found: Collected, findings: Findings, kl: Mapping[str, float | None]) -> dict[str, str]:
    """Reasons for every figure that is missing."""
    unlearned, reference = found.unlearned, found.reference
    names = {closeness.name for closeness in findings.forget}
    missing = {
        "truth_ratio": unlearned.forget.truth_ratios is None or (reference is not None and TRUTH_RATIO not in names),
        "forget_quality": reference is None,
        "answer_distance": ANSWERS not in names,
        "whole_answers": findings.whole_answers is None,
        "sampled_answers": findings.samples is None,
        "single_rows": findings.known_rows is None,
        "gibberish": findings.gibberish is None,
        "rouge": any(scores.forget.rouge is None for scores in found.models.values()),
        "retain_probability": any("retain" not in scores.sets for scores in found.models.values()),
        "exact_memorisation": any(scores.forget.exact_memorisation is None for scores in found.models.values()),
        "extraction_strength": any(scores.forget.extraction_strength is None for scores in found.models.values()),
        "membership_attacks": not findings.attacks,
        "priv_leak": privacy_leak(findings.attacks) is None,
        "noise_floor": findings.floor is None,
        "model_utility": any(utility(scores, arithmetic=True) is None for scores in found.models.values()),
        "relearning": bool(found.relearned) and findings.relearned is None,
        "curve": not found.tracked,
    }
    skipped = {name: REASONS[name] for name, is_missing in missing.items() if is_missing}
    if reference is None:
        skipped |= dict.fromkeys(skipped.keys() & {"whole_answers", "sampled_answers"}, "there is no reference")
    elif not same_tokens(unlearned.forget, reference.forget):
        skipped["answer_distance"] = "the reference tokenises the answers differently"
    if own := unlearned.forget.own_paraphrases:
        rows = len(unlearned.forget.lines)
        skipped["paraphrases"] = f"{own} of {rows} rows have none; their own response stands in"
    return skipped | {f"kl.{name}": _no_kl(name, found) for name in KL if not _known(kl.get(name))}


REASONS = {
    "truth_ratio": "no perturbed answers, in the request or at the reference, and too few other rows to make them from",
    "forget_quality": "there is no reference",
    "answer_distance": "there is nothing to compare with",
    "whole_answers": "no response is long enough, or the reference's answers are not known",
    "sampled_answers": "there is nothing that could leak, or the reference's samples are not known",
    "single_rows": "needs start model and reference, and rows that the former knows better",
    "gibberish": "there are no answers of this model, and of another to compare them with",
    "rouge": "there are no answers: passages have no prompt",
    "retain_probability": "there are no retain rows",
    "exact_memorisation": "evaluation logs do not tell",
    "extraction_strength": "evaluation logs do not tell",
    "membership_attacks": "they need --holdout, rows that no model saw",
    "priv_leak": "it needs --holdout, and a reference that was scored on it too",
    "noise_floor": "it needs a second --reference",
    "model_utility": "it needs --real-authors, --world-facts and retain rows with perturbed answers",
    "relearning": "the two models tokenise the answers differently",
    "curve": "the model was not scored during training (--track)",
}
"""Why a figure may be missing."""


def _known(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _no_kl(name: str, found: Collected) -> str:
    if name == "forget_from_start":
        return "the start model was not scored" if found.start is None else "it needs the models, not only scores"
    return "needs a reference model" if found.reference is None else "the reference is given by scores only"
