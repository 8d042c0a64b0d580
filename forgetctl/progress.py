"""What long work says while it runs. The command line shows it; a library user gets silence by default."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


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
        """Show a bar of `total` steps for as long as the context lasts."""
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
    def bar(self, title: str, total: int) -> Iterator[Bar]:
        """Yield a bar that shows nothing."""
        yield self
