"""What people see in a terminal: progress on standard error, results on standard output."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from ..files.plain_text import one_line as one_line  # part of this module's own interface
from ..files.plain_text import printable
from ..files.writing import now, private
from ..progress import Bar, Pace

if TYPE_CHECKING:
    from ..verify.findings import Check, Status
    from ..verify.record import Verdict

STYLES: dict[str, str] = {"PASS": "bold green", "FAIL": "bold red", "INCONCLUSIVE": "bold yellow"}
MARKS: dict[Status, str] = {
    "pass": "ok",
    "fail": "FAIL",
    "unknown": "?",
    "trace": "trace",
    "reported": "-",
    "skipped": "-",
}
MARK_STYLES: dict[Status, str] = {"fail": "bold red", "unknown": "bold yellow", "trace": "bold yellow"}
ALWAYS = ("forget_probability", "truth_ratio", "rouge", "retain_probability", "retain_rouge")
"""Measures that are shown even if no model has them."""
LOOKING = 1.0
"""Seconds from one look at whether a line about long work is due to the next."""
MOST_PEOPLE = 20
"""Told of one by one."""
WIDEST_NAME = 28
"""Names of checks may hold file names; longer ones are folded, so that the finding keeps its room."""


class TerminalProgress:
    """Bars where standard error is a terminal, a line a minute elsewhere and in the log of a run; of these the log
    alone when quiet."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.console = Console(stderr=True, quiet=quiet, highlight=False, soft_wrap=True)
        self.log: Path | None = None

    def say(self, text: str) -> None:
        """Print a line."""
        self.console.print(one_line(text), markup=False)

    @contextmanager
    def logged(self, file: Path) -> Iterator[None]:
        """Append the lines of long work to this file as well, each with its time."""
        before = self.log
        self.log = before or file
        try:
            yield
        finally:
            self.log = before

    @contextmanager
    def bar(self, title: str, total: int) -> Iterator[Bar]:
        """Show a bar, or tell how far it is every minute where a bar could only spoil a log."""
        pace = Pace(title=title, total=total, started=time.monotonic())
        with self._saying(pace):
            if not self.console.is_terminal or self.console.quiet:
                yield _Counted(pace)
                return
            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TimeRemainingColumn(compact=True),
                TextColumn("{task.fields[note]}", style="dim", markup=False),
            )
            with Progress(*columns, console=self.console) as progress:
                yield _RichBar(pace, progress, progress.add_task(one_line(title), total=total or None, note=""))

    @contextmanager
    def _saying(self, pace: Pace) -> Iterator[None]:
        """Tell it from a thread, since a single step may take longer than a minute."""
        ended = threading.Event()

        def watch() -> None:
            while not ended.wait(LOOKING):
                if line := pace.due(time.monotonic()):
                    self._say(line)

        watching = threading.Thread(target=watch, daemon=True)
        watching.start()
        try:
            yield
        finally:
            ended.set()
            watching.join()

    def _say(self, line: str) -> None:
        if not self.console.is_terminal:
            self.say(line)
        if self.log is None:
            return
        try:
            with open(self.log, "a", encoding="utf-8", opener=private) as file:
                file.write(f"{now()} {one_line(line)}\n")
        except OSError as error:
            self.say(f"{self.log} cannot be written ({error.strerror}); the work goes on without it.")
            self.log = None


class _Counted:
    """A bar that is not shown."""

    def __init__(self, pace: Pace) -> None:
        self.pace = pace

    def advance(self, steps: int = 1, note: str = "") -> None:
        self.pace.done += steps

    def resize(self, total: int, done: int = 0) -> None:
        self.pace.resize(total, done)


class _RichBar(_Counted):
    def __init__(self, pace: Pace, progress: Progress, task: TaskID) -> None:
        super().__init__(pace)
        self.progress, self.task = progress, task

    def advance(self, steps: int = 1, note: str = "") -> None:
        super().advance(steps, note)
        self.progress.update(self.task, advance=steps, note=one_line(note))

    def resize(self, total: int, done: int = 0) -> None:
        super().resize(total, done)
        self.progress.update(self.task, total=total, completed=done)


def out() -> Console:
    """Standard output, with colour where it is a terminal and NO_COLOR is not set."""
    return Console(highlight=False, soft_wrap=not sys.stdout.isatty())


def show_line(line: str) -> None:
    """A line on standard output; commands, which begin with "$ ", in bold."""
    out().print(one_line(line), markup=False, style="bold" if line.startswith("$ ") else None)


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], title: str | None = None) -> Table:
    """A plain table; the first column is the heading of its row."""
    grid = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold", pad_edge=False)
    for index, column in enumerate(columns):
        grid.add_column(column, style="bold" if index == 0 else "", no_wrap=index == 0, overflow="fold")
    for row in rows:
        grid.add_row(*(Text(one_line(cell)) for cell in row))
    return grid


def show_dry_run(facts: Mapping[str, Any], row: tuple[str, str]) -> None:
    """Print what a run would do and cost, and its first row: what is scored stands between marks."""
    words = {
        **facts,
        "retain_rows": facts["retain_rows"] or "made by asking the start model",
        "parameters": f"{facts['parameters']:,}",
        "peak_memory_bytes": f"about {facts['peak_memory_bytes'] / 2**30:.1f} GiB",
        "seconds": f"about {max(1, facts['seconds']):.0f} s",
    }
    names = {"peak_memory_bytes": "peak memory", "seconds": "training time"}
    lines = [[names.get(name, name.replace("_", " ")), str(value)] for name, value in words.items()]
    given, scored = map(printable, row)
    console = out()
    console.print(table(["dry run", ""], lines))
    console.print("The first row; what is between the marks is scored:")
    console.print(Text.assemble((given, "dim"), ("⟦", "bold"), (scored, "bold green"), ("⟧", "bold")))


def show_verdict(verdict: Verdict, ids: Sequence[str | None] = ()) -> None:
    """Print a verdict: the figures, the checks, each person, the outcome. ids: of the people, where they are known."""
    from ..verify.checks import kl

    console = out()
    console.print(_models(verdict))
    if line := _forget_quality(verdict):
        console.print(line)
    divergences = kl.MEASURE.of(verdict).model_dump()
    words = "   ".join(f"{name.replace('_', ' ')} {_figure(value)}" for name, value in divergences.items())
    console.print(f"KL, nats a token:    {words}")
    console.print(_checks(verdict.checks))
    for item in verdict.skipped:
        console.print(Text(one_line(f"not measured: {item.check}: {item.reason}"), "dim"))
    if (people := _people(verdict, ids)) is not None:
        console.print(people)
    console.print(f"Forgotten: {verdict.answers.forgotten}   Kept: {verdict.answers.kept}")
    console.print(Text.assemble("Verdict: ", (verdict.verdict, STYLES[verdict.verdict]), _decisive(verdict)))


def _people(verdict: Verdict, ids: Sequence[str | None]) -> Table | None:
    """What is left of each person, those first whom somebody should look at; None where nobody was judged."""
    from ..verify.checks import subjects

    ordered = subjects.worst_first(subjects.MEASURE.of(verdict))
    if not ordered:
        return None
    grid = table(["person", "", "rows", "what is left"], [])
    for one in ordered[:MOST_PEOPLE]:
        name = ids[one.subject - 1] if ids else None
        whose = f"{one.subject} ({one_line(name)})" if name else str(one.subject)
        style = STYLES.get(one.verdict, "dim")
        outcome = Text(one.verdict.replace("_", " "), style)
        grid.add_row(Text(whose), outcome, Text(str(one.rows)), Text(subjects.in_words(one)))
    if len(ordered) > MOST_PEOPLE:
        grid.add_row(Text("..."), Text(""), Text(""), Text(f"and {len(ordered) - MOST_PEOPLE:,} more people"))
    return grid


def _models(verdict: Verdict) -> Table:
    """What each model knows, side by side."""
    from ..verify.checks import models
    from ..verify.tables import ROLES

    found = models.MEASURE.of(verdict)
    roles = [role for role in ROLES if role in found]
    known = {role: models.measured(found, role) for role in roles}
    shown = [key for key in models.LABELS if key in ALWAYS or any(key in figures for figures in known.values())]
    rows = [[models.LABELS[key], *(_figure(known[role].get(key)) for role in roles)] for key in shown]
    return table(["", *roles], rows)


def _forget_quality(verdict: Verdict) -> str:
    """TOFU's figure on one line, empty where it was not measured."""
    from ..verify.checks import distances, forget_quality

    quality, compared = forget_quality.MEASURE.of(verdict), distances.truth_ratio(verdict)
    if quality is None or compared is None:
        return ""
    return (
        f"TOFU forget quality: D = {compared.distance.D:.4f}, n = {compared.distance.n}, p = {compared.tofu_p:.3e} "
        f"({quality.variant} truth ratio, perturbed answers: {quality.perturbed})"
    )


AUDIT_MARKS = {"ok": "ok", "note": "note", "broken": "BROKEN", "malformed": "MALFORMED", "policy": "UNMET"}
AUDIT_STYLES = {"ok": "green", "note": "dim", "broken": "bold red", "malformed": "bold red", "policy": "bold yellow"}
AUDIT_WORDS = {0: ("sound", "bold green"), 1: ("broken", "bold red"), 2: ("malformed", "bold red")}


def show_audit(findings: Sequence[tuple[str, str, str]], code: int) -> None:
    """Print an audit's findings (check, status, text) and its end."""
    console = out()
    grid = table(["check", "", "finding"], [])
    for check, status, text in findings:
        grid.add_row(Text(one_line(check)), Text(AUDIT_MARKS[status], AUDIT_STYLES[status]), Text(one_line(text)))
    console.print(grid)
    console.print(Text.assemble("Bundle: ", AUDIT_WORDS.get(code, ("policy unmet", "bold yellow"))))


def show_purge(targets: Sequence[str], remaining: Sequence[tuple[str, str]], *, dry_run: bool) -> None:
    """Print what was, or would be, destroyed, and what the owner must still delete."""
    console = out()
    console.print("Would be destroyed:" if dry_run else "Destroyed:" if targets else "Nothing was left to destroy.")
    for target in targets:
        console.print(Text(f"  {one_line(target)}"))
    console.print(table(["yours to delete", "why"], remaining))
    console.print(
        Text("Files were removed from the file system; a disk, its snapshots and backups may keep their blocks.", "dim")
    )


def _checks(checks: Sequence[Check]) -> Table:
    grid = table(["check", "", "finding"], [])
    name, mark, _ = grid.columns
    name.no_wrap, name.max_width, mark.no_wrap = False, WIDEST_NAME, True
    for check in checks:
        mark_cell = Text(MARKS[check.status], MARK_STYLES.get(check.status, ""))
        grid.add_row(Text(one_line(check.name)), mark_cell, Text(one_line(check.text)))
    return grid


def _decisive(verdict: Verdict) -> str:
    """Names of the checks that kept a verdict from being a PASS: in a long list they have scrolled away."""
    names = [] if verdict.verdict == "PASS" else [one_line(check.name) for check in verdict.reasons]
    return f" ({'; '.join(names)})" if names else ""


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
