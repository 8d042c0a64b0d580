"""Who the people of a verdict are: known while the request is at hand, and written into no record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..rows.row import Row, subjects_of
from ..runs.run import DEFAULT_RUNS, LATEST, Run
from ..train.options import UnlearnOptions
from .options import VerifyOptions
from .reading import GivenFiles
from .record import Verdict


def subject_ids(options: VerifyOptions, files: GivenFiles) -> tuple[str | None, ...]:
    """The `subject_id` of each person in the order of their numbers, None for rows that name nobody.

    Empty where scores were verified, which bring no request. Raises InputError if the request cannot be read.
    """
    if options.scores is not None:
        return ()
    return subjects_of(_request(options, files))


def _request(options: VerifyOptions, files: GivenFiles) -> Sequence[Row]:
    if options.forget is not None:
        return files.read(options.forget, options.fields).rows
    made = UnlearnOptions.from_json(Run.open(options.run or DEFAULT_RUNS / LATEST).record["options"])
    return files.read(made.forget, made.fields).rows


def content_with_ids(verdict: Verdict, ids: Sequence[str | None]) -> dict[str, Any]:
    """The content of verdict.json with the id of each person, null where it is not known: for whoever asked, never for
    a file of ours."""
    content = verdict.content()
    content["subjects"] = [
        {"subject": one["subject"], "subject_id": ids[one["subject"] - 1] if ids else None, **one}
        for one in content["subjects"]
    ]
    return content
