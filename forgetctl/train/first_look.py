"""What is wrong with the files of others, told before torch is imported: that takes seconds and half a gigabyte.

Nothing is kept. The jobs read everything again, from where it is used.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from ..files.outside import is_gguf
from ..rows.formats import Fields, RowFile, read_rows
from ..rows.refusals import read_refusals
from .options import UnlearnOptions, VerifyOptions

if TYPE_CHECKING:
    from ..model.scores import Role


def look_before_unlearning(options: UnlearnOptions) -> None:
    """Read the request and the refusals, and one row of the retain file. Raises InputError as their readers do."""
    if _launched():
        return
    _look([options.forget], options.fields)
    read_refusals(options.refusals)
    if options.retain is not None:
        RowFile(options.retain, options.fields)


def look_before_verifying(options: VerifyOptions) -> None:
    """Read every file of rows or scores that was given. Raises InputError as their readers do."""
    if _launched():
        return
    if options.scores is None:  # with scores, files of rows are refused whatever they hold
        _look([path for name, path in options.files if name != "retain"], options.fields)
        if options.retain is not None:
            RowFile(options.retain, options.fields)
    named: list[tuple[str | Path | None, Role]] = [(options.scores, "unlearned"), (options.start, "start")]
    named += [(name, "reference") for name in options.references]
    places = [(Path(name), role) for name, role in named if name is not None]
    files = [(path, role) for path, role in places if path.is_file() and not is_gguf(path)]
    if files:
        from ..model.score_files import read_scores  # which imports scipy

        for path, role in files:
            read_scores(path, role)


def _look(paths: Iterable[Path], fields: Fields) -> None:
    for path in paths:
        read_rows(path, fields)


def _launched() -> bool:
    """Whether a launcher started several processes, which agree on what is wrong before one of them says it."""
    return os.environ.get("WORLD_SIZE", "1") != "1"
