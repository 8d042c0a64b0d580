"""Tables of what the models give away, and of what was kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from .formats import number, p_value, percent
from .tables import EMPTY, ROLES, Cell, Row, Section, Table, between, cell, line_numbers, share, tables_of
from .verdict_record import Change, Elicited, Excess, Kept, Verdict
from .words import COUNTS, ELICITED, GIVEN_AWAY

GIBBERISH = "gibberish"


def leaks_section(verdict: Verdict, labels: Mapping[str, str]) -> Section:
    """What generated answers gave away, and rows that stayed known."""
    words = (
        "Every model was asked in several ways, also in ways that make it easy to give the response away. What a model "
        "that never saw the rows says too is a guess and no leak."
    )
    asked = verdict.extraction or {}
    found = {role: by_mode for role in ROLES if (by_mode := asked.get(role))}
    modes = dict.fromkeys([*ELICITED, *(mode for by_mode in found.values() for mode in by_mode)])
    rows = tuple(row for mode in modes for row in _elicited(mode, {role: one.get(mode) for role, one in found.items()}))
    caption = (
        "What came out, of the rows that were asked: the mean share of the response's words, and how many named "
        "secrets, and whole responses too long to guess, came out at least once."
    )
    counts = verdict.counts or {}
    tables = (
        *tables_of(caption, ("Answers", *(labels[role] for role in found)), rows),
        *tables_of(
            "Secrets and sampled answers against the reference.",
            ("What came out", labels["unlearned"], "Reference", "Only here", "Of", "p"),
            tuple(_against_reference(verdict)),
        ),
        *_excesses({name: count for name, count in counts.items() if name != GIBBERISH}, labels),
    )
    return Section("What comes out", words, tables)


def _elicited(mode: str, found: Mapping[str, Elicited | None]) -> Iterator[Row]:
    label, note = ELICITED.get(mode, (mode, ""))
    answers = next((one.answers for one in found.values() if one and one.answers and one.answers > 1), None)
    note = f"{note} Answers to each: {answers}." if answers else note
    for key, measure in GIVEN_AWAY.items():
        values = (getattr(one, key) if one else None for one in found.values())
        cells = tuple(cell(value) if key == "rouge" else share(value) for value in values)
        if any(one != EMPTY for one in cells):
            yield Row(f"{label}: {measure}", note, cells)
            note = ""


def _against_reference(verdict: Verdict) -> Iterator[Row]:
    if secrets := verdict.secrets:
        untested = f"{number(secrets.untested)} untested" if secrets.untested else ""
        cells = (
            cell(secrets.leaked),
            cell(secrets.leaked_by_reference),
            cell(secrets.beyond_reference, line_numbers(secrets.lines)),
            cell(secrets.named, untested),
            EMPTY,
        )
        yield Row("Named secrets", "Strings that must never come out, in any answer that was not sampled.", cells)
    if samples := verdict.samples:
        each = f"{number(samples.answers)} samples each" if samples.answers else ""
        cells = (
            cell(samples.leaked),
            cell(samples.by_reference),
            cell(samples.beyond),
            cell(samples.items, each),
            cell(samples.p, show=p_value),
        )
        yield Row("Sampled answers", "Secrets and whole responses that any sample gave away.", cells)


def _excesses(counts: Mapping[str, Excess | None], labels: Mapping[str, str]) -> tuple[Table, ...]:
    caption = "Row by row against the comparison. p is how often chance alone puts so many on the side of the model."
    columns = ("Rows", f"Only {labels['unlearned'].lower()}", "Only comparison", "Of", "p")
    return tables_of(caption, columns, tuple(_excess(name, count) for name, count in counts.items() if count))


def _excess(name: str, count: Excess) -> Row:
    label, note = COUNTS.get(name, (name, ""))
    cells = (
        cell(count.more, line_numbers(count.lines)),
        cell(count.fewer),
        cell(count.total),
        cell(count.p, show=p_value),
    )
    return Row(label, note, cells)


def kept_section(verdict: Verdict, labels: Mapping[str, str]) -> Section:
    """Measures of usefulness, and answers that fell apart."""
    loss = verdict.bounds.get("utility_loss")
    limit = "the limit" if loss is None else f"{loss:.1%}"
    words = (
        f"Forgetting must not cost usefulness. A check passes if the measure surely fell by less than {limit} against "
        "the start model or against the reference, which has lost something too; it fails if it surely fell by more "
        "against both."
    )
    columns = ("Measure", "Start", labels["unlearned"], "Reference", "Change from start", "Change from reference")
    counts = verdict.counts or {}
    tables = (
        *tables_of(
            "Measures of usefulness, 0 to 1, and their relative change.", columns, tuple(map(_kept_row, verdict.kept))
        ),
        *_excesses({name: count for name, count in counts.items() if name == GIBBERISH}, labels),
    )
    return Section("What was kept", words, tables)


def _kept_row(found: Kept) -> Row:
    start, reference = found.start, found.reference
    now = next((change.now for change in (start, reference) if change), None)
    first, second = (cell(change.before) if change else EMPTY for change in (start, reference))
    return Row(found.name, "", (first, cell(now), second, _change(start), _change(reference)))


def _change(found: Change | None) -> Cell:
    if found is None:
        return EMPTY
    n = "" if found.n is None else f"n = {number(found.n)}"
    return cell(found.relative, between(found.lower, found.upper, percent), n, show=percent)
