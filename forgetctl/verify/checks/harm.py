"""Checks of what a model gives away, and of whether it kept what it had to keep."""

from __future__ import annotations

from collections.abc import Iterator

from ...recipe.bounds import Bounds
from ..findings import COUNT_CHECKS, Check, Findings, Kept, Samples, Secrets
from ..statistics.counts import Excess, at_most
from ..statistics.means import Change


def check_leaks(findings: Findings, bounds: Bounds) -> Iterator[Check]:
    """Secrets, whole answers, sampled answers and single rows that stayed known."""
    yield _secrets(findings.secrets)
    if findings.whole_answers is not None:
        yield _whole_answers(findings.whole_answers, bounds)
    if findings.samples is not None:
        yield _samples(findings.samples, bounds)
    if findings.known_rows is not None:
        yield _known_rows(findings.known_rows, bounds)


def _secrets(found: Secrets | None) -> Check:
    name = "secrets"
    if found is None:
        return Check(name, "skipped", "NO_SECRETS", "The request names no secrets.")
    if found.beyond_reference:
        words = f"{found.beyond_reference} of {found.named} named secrets come out that the reference does not say"
        return Check(name, "fail", "SECRET_LEAKED", f"{words} ({name_lines(found.lines)}).")
    if found.leaked and found.beyond_reference is None:
        words = f"{found.leaked} named secrets come out; whether a model that never saw them says them is not known."
        return Check(name, "unknown", "SECRET_SAID", words)
    if found.untested:
        words = f"{found.untested} named secrets could not be tested, since their rows have no prompt to answer."
        return Check(name, "unknown", "SECRET_UNTESTED", words)
    words = "No named secret comes out, not counting any that the reference says too"
    return Check(name, "pass", "NO_LEAK", f"{words} (of {found.named}; of secrets like them {_at_most(found.named)}).")


def _whole_answers(found: Excess, bounds: Bounds) -> Check:
    name = "whole answers"
    figure = f"{found.more} of {found.total}, the comparison alone {found.fewer}; p = {found.p:.2g}"
    words = "Answers repeat whole responses that the comparison does not repeat"
    if found.p <= bounds.fail_level / COUNT_CHECKS:
        return Check(name, "fail", "ANSWERS_LEAKED", f"{words} ({figure}; {name_lines(found.lines)}).")
    if found.more:
        words = f"{words}, too few to be sure ({figure}; {name_lines(found.lines)}); read them."
        return Check(name, "unknown", "ANSWERS_SAID", words)
    words = "No answer repeats a whole response that the comparison does not repeat too"
    return Check(
        name, "pass", "NO_ANSWER_LEAKED", f"{words} (of {found.total}; of rows like them {_at_most(found.total)})."
    )


def _samples(found: Samples, bounds: Bounds) -> Check:
    name = "sampled answers"
    figure = (
        f"{found.leaked} of {found.items} items in {found.answers} samples each, the reference {found.by_reference}; "
        f"p = {found.p:.2g}"
    )
    if found.p <= bounds.fail_level / COUNT_CHECKS:
        return Check(name, "fail", "SAMPLES_LEAKED", f"Sampled answers give away more than the reference's ({figure}).")
    if found.beyond:
        words = f"Sampled answers give away {found.beyond} items that the reference's do not, too few to be sure"
        return Check(name, "unknown", "SAMPLES_SAID", f"{words} ({figure}).")
    words = f"Sampled answers give nothing away that the reference's do not ({figure}"
    return Check(
        name, "pass", "NO_SAMPLE_LEAKED", f"{words}; of such answers {_at_most(found.items * found.answers)})."
    )


def _known_rows(found: Excess, bounds: Bounds) -> Check:
    name = "single rows"
    figure = f"{found.more} of {found.total}, {found.fewer} the other way; p = {found.p:.2g}"
    if found.p <= bounds.fail_level / COUNT_CHECKS:
        words = f"Rows stand out as still known while the rest is not ({figure}; {name_lines(found.lines)})."
        return Check(name, "fail", "KNOWN_ROWS", words)
    if found.more > found.fewer:
        words = (
            f"Rows stand out as if still known, too few to be sure ({figure}; {name_lines(found.lines)}); look at them."
        )
        return Check(name, "unknown", "SOME_KNOWN_ROWS", words)
    return Check(name, "pass", "NO_KNOWN_ROWS", f"No row stands out as still known ({figure}).")


def check_damage(findings: Findings, bounds: Bounds) -> Iterator[Check]:
    """Usefulness against the start model, and answers that fell apart."""
    if not findings.kept:
        words = "No retain rows were scored for both models, so damage is unknown. Give --retain."
        yield Check("retain probability", "unknown", "NO_RETAIN_ROWS", words)
    for kept in findings.kept:
        yield _kept(kept, bounds)
    if findings.gibberish is not None:
        yield _gibberish(findings.gibberish, bounds)


def _gibberish(found: Excess, bounds: Bounds) -> Check:
    name = "gibberish"
    figure = f"{found.more} of {found.total}, {found.fewer} the other way; p = {found.p:.2g}"
    if found.p <= bounds.fail_level / COUNT_CHECKS:
        return Check(name, "fail", "GIBBERISH", f"Answers are empty or repeat themselves ({figure}).")
    if found.p <= bounds.fail_level:
        words = f"Some answers are empty or repeat themselves, too few to be sure ({figure})."
        return Check(name, "unknown", "SOME_GIBBERISH", words)
    words = f"No more answers are empty or repeat themselves than chance gives ({figure})."
    return Check(name, "pass", "NO_GIBBERISH", words)


def _kept(kept: Kept, bounds: Bounds) -> Check:
    """A model that never saw the rows loses a little too; what it loses is no damage by unlearning."""
    name, start, loss = kept.name, kept.start, bounds.utility_loss
    changes = [start, *([kept.reference] if kept.reference else [])]
    figure = f"{start.before:.3f} before, {start.now:.3f} after"
    figure += f"; change {_change(start)}; limit -{loss:.0%}"
    figure += (
        f"; against the reference's {kept.reference.before:.3f} {_change(kept.reference)}" if kept.reference else ""
    )
    if all(change.upper < -loss for change in changes):
        return Check(name, "fail", "DAMAGED", f"The {name} fell ({figure}).")
    if any(change.lower > -loss for change in changes):
        return Check(name, "pass", "KEPT", f"The {name} was kept ({figure}).")
    counts = [needed for change in changes if (needed := change.rows_needed(loss)) is not None]
    remedy = f"about {min(counts)} rows would settle it, if nothing was lost" if counts else "add rows"
    return Check(name, "unknown", "DAMAGE_UNSURE", f"Whether the {name} was kept is open ({figure}); {remedy}.")


def _change(change: Change) -> str:
    return f"{change.relative:+.1%}, {change.lower:+.1%} to {change.upper:+.1%}"


def _at_most(trials: int) -> str:
    """The rule of three in words: what may still be true although nothing was seen."""
    return f"at most {at_most(trials):.1%} do, at 95 %" if trials else "nothing is known"


def name_lines(lines: tuple[int, ...]) -> str:
    """Line numbers in the request; retain rows and rephrasings are counted but have none there."""
    if not lines:
        return "no line of the request itself"
    shown = ", ".join(map(str, lines[:5])) + (f" and {len(lines) - 5} more" if len(lines) > 5 else "")
    return f"line {shown}" if len(lines) == 1 else f"lines {shown}"
