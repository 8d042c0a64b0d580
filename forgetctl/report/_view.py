"""What the templates insert."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Any

from ..files.plain_text import one_line
from ..losses.summaries import summaries
from ..rows.abuse import RULES
from ..verify.record import Conclusion
from ..verify.registry import MEASURES
from ..verify.tables import number
from ._formats import quantiles
from ._history import MOST_EVENTS, digests, history
from ._lineage import began_with, lineage
from ._sections import sections
from ._settings import scoring_settings, settings
from ._summary import summary
from .records import Flagged, Input, Report
from .words import DISTRIBUTIONS, EXCLUDED, LIMITS, RESULTS, SEAL, SEAL_LIMITS, SYMBOLS

WORDS = {
    "SYMBOLS": SYMBOLS,
    "RESULTS": RESULTS,
    "LIMITS": LIMITS,
    "EXCLUDED": EXCLUDED,
    "DISTRIBUTIONS": DISTRIBUTIONS,
    "SEAL": SEAL,
    "SEAL_LIMITS": SEAL_LIMITS,
}


def view(report: Report) -> dict[str, Any]:
    """Words, records and tables by the names that the templates use."""
    named, noted = labels(report), list(warnings(report))
    return {
        **WORDS,
        **summary(report, noted),
        "report": report,
        "run": report.run,
        "verdict": report.verdict,
        "title": "Unlearning report" if report.run.kind == "unlearn" else "Verification report",
        "labels": named,
        "sections": sections(report, named),
        "settings": list(settings(_recipe(report))),
        "quantiles": quantiles(report.distributions),
        "warnings": noted,
        "history": history(report.events),
        "older_events": max(0, len(report.events) - MOST_EVENTS),
        "digests": list(digests(report)),
        "summaries": summaries(),
        "lineage": list(lineage(report)),
        "began_with": began_with(report),
        "command": one_line(shlex.join(report.run.argv)),
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
    if (forget := report.run.inputs.get("forget")) is not None and forget.marked:
        yield _marked(forget)
    if (looked := report.run.stages.get("precheck")) is not None:
        yield from map(_flagged, looked.flags)
    if report.verdict is None:
        return
    tested = report.run.stages.get("verify")
    if tested is not None and tested.status != "done":
        yield "A later verification did not finish; the verdict here is that of an earlier one."
    if report.plan and report.verdict.bounds.model_dump() != report.plan.bounds:
        yield "The verdict used other bounds than those that were fixed beforehand."
    judged = report.verdict.model.sha256
    scored = report.scored["unlearned"].sha256 if "unlearned" in report.scored else None
    if scored and judged and scored != judged:
        yield "The scores and the verdict belong to different models: their digests differ."


def _marked(forget: Input) -> str:
    rows = number(forget.marked) if forget.rows is None else f"{number(forget.marked)} of {number(forget.rows)}"
    return (
        f"Of {rows} rows only the parts that the request marks were to be forgotten, and are judged here; the rest of "
        "their responses was to be kept."
    )


def _flagged(flag: Flagged) -> str:
    """What the request was flagged for, without line numbers: a card says it, too."""
    approved = " The owner approved that." if flag.stops else ""
    return f"{flag.rows} of {flag.of} rows were flagged: {RULES.get(flag.rule, flag.rule)} ({flag.figure}).{approved}"


def _recipe(report: Report) -> dict[str, Any]:
    """The recipe, but no training settings where nothing was trained."""
    if report.run.kind == "unlearn":
        return report.recipe
    return scoring_settings(report.recipe, _used_by_checks(report.verdict) if report.verdict else ())


def _used_by_checks(verdict: Conclusion) -> tuple[str, ...]:
    """Settings of the checks that did something with models."""
    done = (measure.work for measure in MEASURES if measure.work and measure.of(verdict) != measure.empty)
    return tuple(key for work in done for key in work.settings)
