"""The files that a verification is given: rows and scores, read and checked once, and handed on.

Without torch, whose import takes seconds and half a gigabyte: what is wrong with a file is said before that.
"""

from __future__ import annotations

from pathlib import Path

from ..files.outside import is_gguf
from ..model.score_files import FileKind, read_scores
from ..model.scores import Role, Scores
from ..rows.reading import FileRows, RowFile, RowReader
from .options import VerifyOptions


class GivenFiles(RowReader):
    """Reads files of rows and of scores, each of them once however often it is asked for in the same way."""

    def __init__(self) -> None:
        super().__init__()
        self._scores: dict[tuple[Path, Role], tuple[Scores, FileKind]] = {}

    def scores(self, path: Path, role: Role) -> tuple[Scores, FileKind]:
        """As `read_scores`."""
        key = (path.absolute(), role)
        if key not in self._scores:
            self._scores[key] = read_scores(path, role)
        return self._scores[key]

    def given(self, name: str, path: Path, options: VerifyOptions) -> FileRows | RowFile:
        """A file of rows that was given as `name`."""
        if name == "retain":
            return self.retain(path, options.fields, options.fields.max_rows)
        return self.read(path, options.fields)


def read(options: VerifyOptions) -> GivenFiles:
    """Read every file of rows or scores that was given. Raises InputError as their readers do."""
    files = GivenFiles()
    if options.scores is None:  # with scores, files of rows are refused whatever they hold
        for name, path in options.files:
            files.given(name, path, options)
    named: list[tuple[str | Path | None, Role]] = [(options.scores, "unlearned"), (options.start, "start")]
    named += [(name, "reference") for name in options.references]
    for given, role in named:
        if given is not None and Path(given).is_file() and not is_gguf(Path(given)):
            files.scores(Path(given), role)
    return files
