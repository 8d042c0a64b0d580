"""The jobs that touch more than one room, as the command line and `import forgetctl` call them.

A run is tied to the owner's register of requests, and its model gets a card, here alone: neither the room that trains
nor the one that verifies knows of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..progress import Progress
from ..recipe.recipe import Recipe
from ..report.write_card import write_card
from ..runs.commitments import Part
from ..runs.hooks import RunHooks
from ..runs.run import Run
from ..train import dry_run as rehearsal
from ..train import unlearn as training
from ..train.inputs import Inputs
from ..train.options import UnlearnOptions
from ..verify import verify as verification
from ..verify.options import VerifyOptions
from ..verify.reading import GivenFiles
from ..verify.record import Verdict
from ._binding import bind, bound_register, check_requests, write_verdict


class OwnersHooks(RunHooks):
    """Ties a run to the owner's register, and writes the card of its model."""

    def check(self, requests: Sequence[str], register: Path | None) -> None:
        """Raises UsageError for an id given twice, or one that the register does not know or has closed."""
        check_requests(requests, register)

    def created(self, run: Run, parts: Sequence[Part], register: Path | None, method: str) -> None:
        """Note in both which requests the run serves."""
        bind(run, parts, register, method)

    def verifying(self, run: Run, register: Path | None) -> None:
        """Raises RunError if the register is gone or does not know the run: better now than after measuring."""
        bound_register(run, register)

    def finished(self, run: Run, register: Path | None, verdict: str | None = None) -> None:
        """Tell the requests that the run serves its verdict, and write the card."""
        if verdict is not None and (bound := bound_register(run, register)) is not None:
            write_verdict(run, bound, verdict)
        write_card(run)


def run_unlearn(
    options: UnlearnOptions, recipe: Recipe, progress: Progress | None = None, inputs: Inputs | None = None
) -> Run:
    """Unlearn the request, note it in the register, write the model's card, and return the finished run.

    inputs: of `train.inputs.read`, where they were read before. Raises as `train.unlearn.run_unlearn`; UsageError also
    for a request that the register does not know or has closed.
    """
    return training.run_unlearn(options, recipe, progress, inputs, OwnersHooks())


def resume_unlearn(path: Path, progress: Progress | None = None) -> Run:
    """Finish an interrupted run as `run_unlearn` would have. Raises as `train.unlearn.resume_unlearn`."""
    return training.resume_unlearn(path, progress, OwnersHooks())


def dry_run(
    options: UnlearnOptions, recipe: Recipe, progress: Progress | None = None, inputs: Inputs | None = None
) -> tuple[dict[str, Any], tuple[str, str]]:
    """Check everything that `run_unlearn` would, train nothing. Raises and returns as `train.dry_run.dry_run`."""
    return rehearsal.dry_run(options, recipe, progress, inputs, OwnersHooks())


def reach_verdict(
    options: VerifyOptions,
    recipe: Recipe | None = None,
    progress: Progress | None = None,
    files: GivenFiles | None = None,
) -> Verdict:
    """Verify, tell the register the verdict, and write it into the model's card.

    files: of `verify.reading.read`, where they were read before. Raises as `verify.verify.run_verify`; UsageError also
    for a request that the register does not know or has closed, RunError for a register that is gone.
    """
    return verification.run_verify(options, recipe, progress, files, OwnersHooks())


def run_verify(
    options: VerifyOptions,
    recipe: Recipe | None = None,
    progress: Progress | None = None,
    files: GivenFiles | None = None,
) -> dict[str, Any]:
    """`reach_verdict`, and return the content of verdict.json. Raises as it does."""
    return reach_verdict(options, recipe, progress, files).content()
