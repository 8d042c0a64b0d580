"""What the templates insert."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any

from .formats import quantiles
from .records import Report
from .sections import sections
from .settings import scoring_settings, settings
from .verdict_record import Verdict
from .words import COMPARISONS, DISTRIBUTIONS, EXCLUDED, LIMITS, MEANING, RESULTS, SYMBOLS, TERMS, WEAKER

WORDS = {
    "SYMBOLS": SYMBOLS,
    "RESULTS": RESULTS,
    "LIMITS": LIMITS,
    "TERMS": TERMS,
    "EXCLUDED": EXCLUDED,
    "DISTRIBUTIONS": DISTRIBUTIONS,
}
MOST_PASSED = 6
"""More passed checks than this are named, not told, on the summary page; all are told further down."""


def view(report: Report) -> dict[str, Any]:
    """Words, records and tables by the names that the templates use."""
    verdict, named = report.verdict, labels(report)
    holdout = verdict is not None and verdict.comparison.kind == "holdout"
    yardstick = "rows that it never saw" if holdout else "a model that never saw them"
    passed = _all_passed(verdict) if verdict else []
    return {
        **WORDS,
        "report": report,
        "run": report.run,
        "verdict": verdict,
        "meaning": MEANING[verdict.verdict].format(yardstick=yardstick) if verdict else "",
        "weaker": WEAKER if holdout else "",
        "compared": _compared(verdict) if verdict else "",
        "passed": passed,
        "reasons": verdict.reasons if verdict and not passed else (),
        "title": "Unlearning report" if report.run.kind == "unlearn" else "Verification report",
        "labels": named,
        "sections": sections(report, named),
        "settings": list(settings(_recipe(report))),
        "quantiles": quantiles(report.distributions),
        "warnings": list(warnings(report)),
        "command": shlex.join(report.run.argv),
    }


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
    scored = report.scored["unlearned"].sha256 if "unlearned" in report.scored else None
    if scored and judged and scored != judged:
        yield "The scores and the verdict belong to different models: their digests differ."


def _recipe(report: Report) -> dict[str, Any]:
    """The recipe, but no training settings where nothing was trained."""
    if report.run.kind == "unlearn":
        return report.recipe
    return scoring_settings(report.recipe, relearned=bool(report.verdict and report.verdict.relearning))


def _compared(verdict: Verdict) -> str:
    """What the model was compared with, by name where it has one."""
    kind, name, others = verdict.comparison.kind, verdict.comparison.name, verdict.comparison.others
    words = COMPARISONS[kind] + (f" ({name})" if name and kind != "holdout" else "")
    return words + (f"; for the noise between such models also {', '.join(others)}" if others else "")


def _all_passed(verdict: Verdict) -> list[str]:
    """Names of the checks behind a PASS, if they are too many to be told twice."""
    names = [check.name for check in verdict.checks if check.status == "pass"]
    return names if verdict.verdict == "PASS" and len(names) > MOST_PASSED else []
