"""The report's words, and what the templates insert."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from .formats import quantiles
from .records import Report, Verdict

SYMBOLS = {
    "PASS": "✓",
    "FAIL": "✗",
    "INCONCLUSIVE": "?",
    "pass": "✓",
    "fail": "✗",
    "unknown": "?",
    "skipped": "–",
}
RESULTS = {"pass": "passed", "fail": "failed", "unknown": "open", "skipped": "skipped"}

MEANING = {
    "PASS": "Within limits that were fixed beforehand, the model treats the rows of the request like "
    "{yardstick}, and it kept what it had to keep.",
    "FAIL": "At least one test gives positive evidence against the model: that it still knows the rows, was "
    "pushed below where a model that never saw them would be, or was damaged.",
    "INCONCLUSIVE": "The evidence shows neither that the rows are forgotten nor that they are not. "
    "This is not a PASS; the reasons say what would settle it.",
}

LIMITS = (
    "Unlearning by training is approximate. It is not certified deletion: no test from outside can show that "
    "every trace of the rows is gone.",
    "A test that finds no difference is no proof that there is none.",
    "The results hold for the prompts, languages and decoding settings that were tested. Other wordings, "
    "translations, later fine-tuning or quantization can bring rows back.",
    "Whoever holds the model from before and from after can compare them and may learn who asked. "
    "Publishing both undoes part of what was asked for.",
    "Only the model is covered: training data, logs, backups and earlier copies of the model are not.",
)

MEASURES = {
    "forget_probability": "Forget rows: probability",
    "truth_ratio": "Forget rows: truth ratio",
    "rouge": "Forget rows: ROUGE-L recall",
    "retain_probability": "Retain rows: probability",
    "retain_rouge": "Retain rows: ROUGE-L recall",
}
DIVERGENCES = {
    "forget_distance": "KL from the reference, forget rows",
    "retain_distance": "KL from the reference, retain rows",
    "forget_from_start": "KL from the start model, forget rows",
}
EXPLAINED = {
    "forget_probability": "Length-normalised probability of the true answers; should fall to the reference's.",
    "truth_ratio": "How alike true and wrong answers are to the model, 0 to 1; at 1 it cannot tell them.",
    "rouge": "Share of the true answer's words that the model's own answer repeats in order.",
    "retain_probability": "Probability of the answers to rows that had to stay; a fall is damage.",
    "retain_rouge": "The share of words repeated on rows that had to stay.",
    "forget_distance": "How far it answers the forget rows from a model that never saw them; 0 is equal.",
    "retain_distance": "The same on rows that had to stay; more than a little is a side effect.",
    "forget_from_start": "How far it moved on the rows it had to forget.",
}
DISTRIBUTIONS = {
    "truth_ratio": "Truth ratio of the forget rows",
    "answer_logp": "Answer log-probability of the forget rows",
}

TERMS = {
    "ga": "Gradient ascent: makes the forget rows' answers less likely, without a lower bound.",
    "npo": "Negative preference optimization: makes the forget rows' answers less likely until they are forgotten.",
    "rt": "Retain rows: keeps other answers as likely as they were.",
}

COMPARISONS = {
    "model": "a reference model that never saw the rows",
    "scores": "the scores of a reference model that never saw the rows",
    "tofu-log": "a published TOFU evaluation of a model that never saw the rows",
    "holdout": "rows that it never saw",
    "none": "nothing",
}

EXCLUDED = {
    "forget_rows": "the forget rows themselves",
    "near_duplicates": "near duplicates of forget rows",
    "holding_secrets": "rows that hold a named secret",
}

WORDS = {
    "SYMBOLS": SYMBOLS,
    "RESULTS": RESULTS,
    "LIMITS": LIMITS,
    "TERMS": TERMS,
    "EXCLUDED": EXCLUDED,
    "COMPARISONS": COMPARISONS,
    "DIVERGENCES": DIVERGENCES,
    "EXPLAINED": EXPLAINED,
    "DISTRIBUTIONS": DISTRIBUTIONS,
}


def figures(verdict: Verdict, role: str) -> dict[str, float]:
    """What was measured of a model; the verified one's figures may also stand at the top of the verdict."""
    found = {key: getattr(verdict, key, None) for key in MEASURES} if role == "unlearned" else {}
    found |= {key: value for key, value in (verdict.models.get(role) or {}).items() if value is not None}
    return {key: value for key, value in found.items() if value is not None}


def labels(report: Report) -> dict[str, str]:
    """How each role is called; a model that no run made is not called unlearned."""
    made = "Unlearned" if report.run.kind == "unlearn" else "Verified"
    return {"start": "Start", "unlearned": made, "reference": "Reference", "holdout": f"{made}, unseen"}


def warnings(report: Report) -> Iterator[str]:
    """What a reader must know before trusting the rest."""
    made = report.run.stages.get("unlearn")
    if report.run.kind == "unlearn" and (made is None or made.status != "done"):
        yield "Training has not finished, so there is no unlearned model yet."
    if report.verdict is None:
        return
    tested = report.run.stages.get("verify")
    if tested is not None and tested.status != "done":
        yield "A later verification did not finish; the verdict here is that of an earlier one."
    if report.plan and report.verdict.bounds and report.verdict.bounds != report.plan.bounds:
        yield "The verdict used other bounds than those that were fixed before training."
    judged = report.verdict.model.sha256 if report.verdict.model else None
    if report.scored and judged and report.scored != judged:
        yield "The scores and the verdict belong to different models: their digests differ."


def _settings(recipe: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Dotted names and values of a recipe, without its own description."""
    for key, value in recipe.items():
        if isinstance(value, dict):
            yield from _settings(value, f"{prefix}{key}.")
        elif prefix or key not in ("description", "source"):
            shown = ", ".join(map(str, value)) if isinstance(value, list) else "none" if value is None else str(value)
            yield f"{prefix}{key}", shown.replace("\n", "\\n")


def _table(report: Report) -> list[tuple[str, str, dict[str, float]]]:
    """Label, explanation and figures by role of every measure that any model has."""
    if report.verdict is None:
        return []
    found = {role: figures(report.verdict, role) for role in ("start", "unlearned", "reference")}
    keys = [*MEASURES, *sorted({key for values in found.values() for key in values} - set(MEASURES))]
    rows = ((key, {role: values[key] for role, values in found.items() if key in values}) for key in keys)
    return [(MEASURES.get(key, key), EXPLAINED.get(key, ""), values) for key, values in rows if values]


def view(report: Report) -> dict[str, Any]:
    """What the templates insert."""
    verdict, table = report.verdict, _table(report)
    holdout = verdict is not None and verdict.comparison.kind == "holdout"
    yardstick = "rows that it never saw" if holdout else "a model that never saw them"
    return {
        **WORDS,
        "report": report,
        "run": report.run,
        "verdict": verdict,
        "meaning": MEANING[verdict.verdict].format(yardstick=yardstick) if verdict else "",
        "title": "Unlearning report" if report.run.kind == "unlearn" else "Verification report",
        "labels": labels(report),
        "roles": [role for role in labels(report) if any(role in values for _, _, values in table)],
        "table": table,
        "settings": list(_settings(report.recipe)),
        "quantiles": quantiles(report.distributions),
        "warnings": list(warnings(report)),
        "command": shlex.join(report.run.argv),
    }
