"""What long work says while it runs. The command line shows it; a library user gets silence by default."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

INTERVAL = 60.0
"""Seconds from one line about a long job to the next, and to the first."""


class Bar(Protocol):
    """A bar being advanced."""

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Move on by `steps`, with a few words or figures beside the bar."""
        ...

    def resize(self, total: int, done: int = 0) -> None:
        """Set how many steps there are, and how many are done already."""
        ...


class Progress(Protocol):
    """Receives what happens."""

    def say(self, text: str) -> None:
        """A line worth reading once."""
        ...

    def bar(self, title: str, total: int) -> AbstractContextManager[Bar]:
        """Show a bar of `total` steps for as long as the context lasts; 0 for a number that is not known."""
        ...

    def logged(self, file: Path) -> AbstractContextManager[None]:
        """Also write how far long work is to this file while the context lasts, unless it is written to one already."""
        ...


class Silent:
    """A Progress and a Bar that show nothing."""

    def say(self, text: str) -> None:
        """Ignore the line."""

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Ignore the step."""

    def resize(self, total: int, done: int = 0) -> None:
        """Ignore the size."""

    @contextmanager
    def logged(self, file: Path) -> Iterator[None]:
        """Write nothing."""
        yield

    @contextmanager
    def bar(self, title: str, total: int) -> Iterator[Bar]:
        """Yield a bar that shows nothing."""
        yield self


@dataclass(kw_only=True)
class Pace:
    """How far a job is, as a line a minute. started: seconds on the clock whose times the methods take; total: 0 for a
    number of steps that is not known."""

    title: str
    total: int
    started: float
    done: int = 0
    _before: int = field(default=0, init=False)
    _said_at: float = field(init=False)

    def __post_init__(self) -> None:
        self._said_at = self.started

    def resize(self, total: int, done: int = 0) -> None:
        """Set how many steps there are, and how many were done before this job began."""
        self.total = total
        self.done = self._before = done

    def due(self, now: float) -> str | None:
        """The line, if a minute has passed since the last one, or since the start."""
        if now - self._said_at < INTERVAL:
            return None
        self._said_at = now
        return self.line(now)

    def line(self, now: float) -> str:
        """What is done, and what is left if the rest goes on as fast."""
        of = f" of {self.total:,}" if self.total else ""
        made = self.done - self._before
        if not (self.total and made):
            return f"{self.title}: {self.done:,}{of} after {in_words(now - self.started)}"
        left = (now - self.started) * (self.total - self.done) / made
        return f"{self.title}: {self.done:,}{of}, about {in_words(left)} left"


def in_words(seconds: float) -> str:
    """A duration in hours and minutes, or in seconds where it is less than a minute."""
    if seconds < INTERVAL:
        return f"{max(seconds, 0):.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
