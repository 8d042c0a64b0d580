"""Uninformed answers for the objectives that teach one: the shipped refusals, or the owner's."""

from __future__ import annotations

import importlib.resources
from pathlib import Path

from ..errors import InputError
from ..files.outside import read_text
from ..files.writing import text_digest

SHIPPED = Path("shipped refusals")
"""What messages call the list that comes with forgetctl."""
LARGEST = 2**20
"""Bytes of the owner's list."""


def refusals_digest(refusals: list[str]) -> str:
    """SHA-256 of the list, hexadecimal."""
    return text_digest(f"{refusal}\n" for refusal in refusals)


def read_refusals(path: Path | None) -> list[str]:
    """One refusal a line, blank lines skipped; the shipped ones without `path`.

    Raises InputError if the file cannot be read or holds none.
    """
    if path is None:
        text = importlib.resources.files(__package__).joinpath("refusals.txt").read_text(encoding="utf-8")
    else:
        text = read_text(path, LARGEST)
    refusals = [line.strip() for line in text.splitlines() if line.strip()]
    if not refusals:
        raise InputError(path or SHIPPED, "holds no refusal")
    return refusals
