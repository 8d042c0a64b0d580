"""`forgetctl reference`: models that never saw the forget rows, or the start model that saw all."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ..errors import InputError, UsageError
from ..files.disk import unmade
from ..files.writing import refuse_in_bundle, text_digest
from ..model.load import choose_device, resolve_model
from ..model.processes import Ranks
from ..progress import Progress
from ..rows.formats import Fields, RowFile, read_rows
from ..runs.layout import PROGRESS_LOG
from .distributed import main_progress
from .retrain import Lessons, Tuning, make_model


@dataclass(frozen=True)
class ReferenceOptions:
    """What to train on what: the rows of `retain` and `also`, however many, less those of `without`, for seeds 1 to
    `seeds`. fields: its limits are of `without`."""

    base: str
    retain: Path
    out: Path
    also: tuple[Path, ...] = ()
    without: tuple[Path, ...] = ()
    seeds: int = 1
    fields: Fields = field(default_factory=Fields)
    device: str = "auto"
    allow_download: bool = False


def run_reference(options: ReferenceOptions, tuning: Tuning, progress: Progress | None = None) -> list[Path]:
    """The model directories OUT/seed-1, OUT/seed-2 ..., made where they are missing.

    Raises UsageError for inputs that cannot be used, or where OUT holds models of other inputs.
    """
    refuse_in_bundle(options.out)
    base, device = resolve_model(options.base, allow_download=options.allow_download), choose_device(options.device)
    progress = main_progress(Ranks(), progress, device)
    rows = lessons(options)
    progress.say(f"{len(rows.rows)} rows to learn.")
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unmade(options.out, error) from None
    made = [options.out / f"seed-{seed}" for seed in range(1, options.seeds + 1)]
    with progress.logged(options.out / PROGRESS_LOG):
        for seed, out in enumerate(made, start=1):
            make_model(base, rows, tuning, seed, out, device, progress)
    return made


def lessons(options: ReferenceOptions) -> Lessons:
    """The rows to learn.

    Raises InputError for a file of `without` of which no row is among them: nothing would be left out.
    """
    rows = [row for path in (options.retain, *options.also) for row in RowFile(path, options.fields)]
    for path in options.without:
        unwanted = {row.key for row in read_rows(path, options.fields)}
        kept = [row for row in rows if row.key not in unwanted]
        if len(kept) == len(rows):
            raise InputError(path, "holds none of the rows to learn, so leaving them out changes nothing")
        rows = kept
    if not rows:
        raise UsageError("no row is left to learn")
    digest = text_digest(f"{row.context!r} {row.response!r}\n" for row in rows)
    return Lessons(rows, options.retain, digest)
