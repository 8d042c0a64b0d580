"""The table of what earlier runs had forgotten, and the lineage of a run: the same in every format."""

from __future__ import annotations

from collections.abc import Iterator

from .figures_closeness import shift_cell
from .formats import moment, number
from .records import Ancestor, Report
from .tables import EMPTY, Cell, Row, Section, between, cell, tables_of
from .verdict_record import Excess, StaysForgotten, Verdict

NOT_VERIFIED = "not verified"


def earlier_section(verdict: Verdict) -> Section:
    """Rows of earlier runs, now against when those were verified."""
    words = (
        "A model that learns to forget more can remember what it had forgotten. The rows of earlier runs were scored "
        "again and compared with the scores that their own models had: above 0 they are better known now, in nats per "
        "token. Whether they were forgotten then is what those runs' verdicts say."
    )
    delta = verdict.bounds.get("delta")
    rows = tuple(_earlier(found, delta) for found in verdict.earlier)
    caption = "Rows of earlier requests, now against when they were verified."
    columns = (
        "Request",
        "Difference of means",
        "Distance D",
        "Rows",
        "Secrets said only now",
        "Responses said only now",
    )
    return Section("What was forgotten earlier", words, tables_of(caption, columns, rows))


def _earlier(found: StaysForgotten, delta: float | None) -> Row:
    distance, shift = found.distance, found.shift
    cells = (
        shift_cell(shift, delta, "+"),
        cell(distance.D, between(distance.lower, distance.upper)) if distance else EMPTY,
        cell(shift.n if shift else None),
        _only_now(found.secrets),
        _only_now(found.whole),
    )
    return Row(found.name, "", cells)


def _only_now(found: Excess | None) -> Cell:
    return EMPTY if found is None else cell(found.more, f"of {number(found.total)}")


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
