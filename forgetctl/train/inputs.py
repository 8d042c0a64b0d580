"""What the owner's files hold: read and checked once, by whoever comes first, and handed on.

Without torch, whose import takes seconds and half a gigabyte: what is wrong with a file is said before that.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from ..people.mentions import Mentions
from ..rows.holdout import check_apart, check_marked, check_unseen
from ..rows.pairing import check_rests
from ..rows.reading import FileRows, RowFile, read_file
from ..rows.refusals import SHIPPED, read_refusals
from ..runs.commitments import Part, split_requests
from .options import UnlearnOptions


@dataclass(frozen=True, kw_only=True, repr=False)
class Inputs:
    """The rows of a request and what came with them.

    parts: the forget rows by the request that they belong to. retain: None where the start model makes the sample.
    holdout: rows that no model saw, if there are any. refusals_file: what messages call the list of `refusals`.
    """

    forget: FileRows
    parts: list[Part]
    retain: RowFile | None
    holdout: FileRows | None
    refusals: list[str]
    refusals_file: Path


def read(options: UnlearnOptions) -> Inputs:
    """Read every file of rows, and the refusals. Raises InputError naming file and line, UsageError for ids of requests
    that no row belongs to."""
    forget = read_file(options.forget, options.fields)
    forget.check_names()
    parts = split_requests(forget.rows, options.requests, options.forget)
    check_rests(options.forget, forget.rows, Mentions.of_rows(forget.rows).among)
    refusals = read_refusals(options.refusals)
    retain = None if options.retain is None else RowFile(options.retain, options.fields)
    holdout = None if options.holdout is None else read_file(options.holdout, options.fields)
    if holdout is not None:
        check_unseen(holdout.path, holdout.rows, chain(forget.rows, retain or ()))
        check_apart(holdout.path, holdout.rows, forget.rows)
        check_marked(holdout.path, holdout.rows, forget.rows)
    return Inputs(
        forget=forget,
        parts=parts,
        retain=retain,
        holdout=holdout,
        refusals=refusals,
        refusals_file=options.refusals or SHIPPED,
    )
