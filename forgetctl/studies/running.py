"""Run a study and write what it hands back: NAME.json, its figures, and of the study of TOFU a page."""

from __future__ import annotations

import importlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..files.disk import unmade
from ..files.writing import refuse_in_bundle
from ..progress import Progress
from ..runs.layout import PROGRESS_LOG
from ._outcome import Outcome

if TYPE_CHECKING:
    from .tofu.options import TofuOptions


@dataclass(frozen=True)
class Written:
    """A study's outcome and the files that hold it."""

    outcome: Outcome
    files: tuple[Path, ...]


def run_study(name: str, out: Path, progress: Progress) -> Written:
    """Run the study `name`, one of STUDIES, and write NAME.json and its figures (PNG and SVG) to `out`.

    Raises InputError if `out` cannot be written to, before the study starts.
    """
    from ..model.host import undisturbed

    _check_writable(name, out)
    with progress.logged(out / PROGRESS_LOG), undisturbed():
        outcome: Outcome = importlib.import_module(f"{__package__}.{name}").study(progress)
    return Written(outcome, write_outcome(name, outcome, out))


def run_tofu_study(options: TofuOptions, out: Path, progress: Progress) -> Written:
    """The same of the study of TOFU, which continues what is in `out`. Raises as `tofu.study.run_tofu`."""
    from .tofu.page import write_page
    from .tofu.study import run_tofu

    _check_writable("tofu", out)
    with progress.logged(out / PROGRESS_LOG):
        outcome = run_tofu(options, progress)
    files = write_outcome("tofu", outcome, out)
    return Written(outcome, (*files, write_page(outcome, out)))


def _check_writable(name: str, out: Path) -> None:
    refuse_in_bundle(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / f"{name}.json").touch()
    except OSError as error:
        raise unmade(out, error, "cannot be written to") from None


def write_outcome(name: str, outcome: Outcome, out: Path) -> tuple[Path, ...]:
    """Write the data and the figures of an outcome; the files written."""
    from ._figures import save

    data = out / f"{name}.json"
    data.write_text(json.dumps(outcome.data, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return (data, *(path for stem, figure in outcome.figures.items() for path in save(figure, out / stem)))
