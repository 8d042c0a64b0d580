"""What others have to do with a run, and when: the owner's register of requests, and the card of its model.

A room that runs a job calls these; who stands above both says what they do (`cli.api`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..errors import UsageError
from .commitments import Part
from .run import Run


class RunHooks:
    """For a run that serves no request of a register, and whose model gets no card.

    Only the first process of a run calls them, but for `check`, and it holds the run's lock. register: the file that
    the caller named, None for the usual one.
    """

    def check(self, requests: Sequence[str], register: Path | None) -> None:
        """Before anything is written. Raises UsageError for requests that cannot be served."""
        if requests:
            raise UsageError("nothing here knows the register of these requests; call forgetctl.run_unlearn")

    def created(self, run: Run, parts: Sequence[Part], register: Path | None, method: str) -> None:
        """Before anything is computed: `run` was made, to serve the requests of `parts`."""

    def verifying(self, run: Run, register: Path | None) -> None:
        """Before anything is scored. Raises RunError if there will be nowhere to write the verdict to."""

    def finished(self, run: Run, register: Path | None, verdict: str | None = None) -> None:
        """The model is there, or it has got its verdict."""
