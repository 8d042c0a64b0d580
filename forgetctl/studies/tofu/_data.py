"""TOFU's files as rows: what is forgotten, what is kept in training, and the questions that are asked.

TOFU is a public data set about people who do not exist, so here, and nowhere else, its text may be shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from ...errors import InputError, UsageError
from ...files.writing import file_digest
from ...rows.reading import read_rows
from ...rows.row import Key, Row

PERTURBED = ("forget01", "forget05", "forget10", "retain")
"""The sets whose rows come with wrong answers of the same form."""
OTHERS = {"real_authors": "real_authors_perturbed", "world_facts": "world_facts_perturbed"}


@dataclass(frozen=True, kw_only=True, repr=False)
class SplitRows:
    """One split. forget and retain: to train on. asked: by the name of a set, the rows that are scored, with wrong
    answers. missing: forget rows that no file has wrong answers for, so that they are not scored. files: the sets'."""

    forget: Sequence[Row]
    retain: Sequence[Row]
    asked: Mapping[str, Sequence[Row]]
    missing: int
    files: Mapping[str, Path]
    digest: str


@dataclass(frozen=True)
class TofuData:
    """A directory of TOFU's JSON files. retain_file: rows to train on beside the forget rows, without them; None for
    TOFU's own retain split. questions, kept_questions: most forget rows, and most rows of each other set, that are
    scored: the first ones, as in TOFU's code."""

    folder: Path
    retain_file: Path | None
    questions: int
    kept_questions: int

    def split(self, name: str) -> SplitRows:
        """The rows of a split such as "05". Raises InputError naming the file that is missing or wrong."""
        forget_file = self.folder / f"forget{name}.json"
        forget = read_rows(forget_file)
        gone = {row.key for row in forget}
        retain_file = self.retain_file or self.folder / f"retain{100 - int(name):02d}.json"
        retain = [row for row in read_rows(retain_file) if row.key not in gone]
        if not retain:
            raise InputError(retain_file, f"holds nothing but the rows of {forget_file.name}")
        answers = self._answers(name)
        scored = [_with_answers(row, answers[row.key]) for row in forget if row.key in answers]
        if not scored:
            raise InputError(forget_file, "has no row that a file of this directory has perturbed answers for")
        kept = [row for row in self._perturbed("retain") if row.key not in gone]
        if not kept:
            raise UsageError(f"{self.folder}: every row of retain_perturbed.json is to be forgotten")
        asked = {"forget": scored, "retain": kept, **{key: self._perturbed(key) for key in OTHERS}}
        files = {"forget": forget_file, **{key: self._file(key) for key in asked if key != "forget"}}
        return SplitRows(
            forget=forget,
            retain=retain,
            asked={
                key: rows[: self.questions if key == "forget" else self.kept_questions] for key, rows in asked.items()
            },
            missing=len(forget) - len(scored),
            files=files,
            digest=" ".join(file_digest(path) for path in (retain_file, *files.values())),
        )

    def _answers(self, name: str) -> dict[Key, Row]:
        """Rows with wrong answers by their text: of the split's own file, or where TOFU has none, of all there are."""
        own = self._file(f"forget{name}")
        if own.is_file():
            return {row.key: row for row in self._perturbed(f"forget{name}")}
        there = [key for key in PERTURBED if self._file(key).is_file()]
        return {row.key: row for key in there for row in self._perturbed(key)}

    def _file(self, name: str) -> Path:
        return self.folder / f"{OTHERS.get(name, f'{name}_perturbed')}.json"

    def _perturbed(self, name: str) -> list[Row]:
        return read_perturbed(self._file(name))


@cache
def read_perturbed(path: Path) -> list[Row]:
    """Rows with wrong answers. Raises InputError naming file and line where there are none."""
    rows = read_rows(path)
    for row in rows:
        if not row.perturbed_responses:
            raise InputError(path, "has no 'perturbed_answer'", row.line)
    return rows


def _with_answers(row: Row, answers: Row) -> Row:
    return replace(
        row,
        paraphrased_response=answers.paraphrased_response,
        perturbed_responses=answers.perturbed_responses,
    )


def find_data(name: str, *, allow_download: bool) -> Path:
    """The directory of TOFU's files: `name` itself, or a snapshot of that data set of the hub.

    Raises UsageError if there is none.
    """
    folder = Path(name)
    if folder.is_dir():
        return folder
    if not allow_download:
        raise UsageError(f"{name}: no such directory (a data set of the hub needs --allow-download)")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        return Path(snapshot_download(name, repo_type="dataset", allow_patterns=["*.json"]))
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise UsageError(f"{name}: could not be downloaded ({type(error).__name__})") from None
