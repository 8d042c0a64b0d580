"""The lineage of a run: what earlier runs made the model forget, the same in every format."""

from __future__ import annotations

from collections.abc import Iterator

from ..verify.tables import number
from ._formats import moment
from .records import Ancestor, Report

NOT_VERIFIED = "not verified"


def lineage(report: Report) -> Iterator[tuple[str, str, str, tuple[tuple[str, str], ...]]]:
    """Of each earlier run, the oldest first: its id, what it was asked, its verdict then, and its digests by name."""
    for run in report.run.lineage:
        digests = {
            "request": run.commitment,
            "commitments to rows": run.commitments_sha256,
            "model": run.model_sha256,
            "verdict": run.verdict_sha256,
        }
        named = tuple((name, digest) for name, digest in digests.items() if digest)
        yield run.run, ", ".join(_asked(run)), run.verdict or NOT_VERIFIED, named


def _asked(run: Ancestor) -> Iterator[str]:
    yield "an unknown number of rows" if run.rows is None else f"{number(run.rows)} rows"
    if run.method:
        yield run.method
    if run.created:
        yield moment(run.created)
    if run.requests:
        yield ("request " if len(run.requests) == 1 else "requests ") + ", ".join(run.requests)


def began_with(report: Report) -> str:
    """One line for the summary, empty for a run that began with a model from outside."""
    runs = report.run.lineage
    if not runs:
        return ""
    known = all(run.rows is not None for run in runs)
    rows = f" of {number(sum(run.rows or 0 for run in runs))} rows" if known else ""
    what = "an earlier request" if len(runs) == 1 else f"{number(len(runs))} earlier requests"
    last = runs[-1].verdict or NOT_VERIFIED
    return f"a model that {what}{rows} had been unlearned from; the last of them: {last}"
