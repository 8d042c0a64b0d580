"""A checked request: everything that can be known before the model is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..model.encoding import Encoded, Encoder, encode_rows
from ..model.load import ModelFacts
from ..model.rests import unmarked
from ..recipe.recipe import Recipe
from ..rows.pairing import Pairing
from ..rows.row import Row
from ._start import Start
from .inputs import Inputs
from .options import UnlearnOptions
from .term_inputs import RoleRows


@dataclass(frozen=True, repr=False)
class RowEncoder:
    """Rows -> token ids, for one model and one recipe. context: tokens that the model takes, None for any number."""

    encoder: Encoder
    context: int | None
    recipe: Recipe

    def __call__(self, rows: Sequence[Row], origin: Path) -> list[Encoded]:
        """Token ids of rows from the file `origin`; a passage that is longer than a window is several.

        Raises InputError for a row that does not fit the model.
        """
        return self.counting_cuts(rows, origin)[0]

    def counting_cuts(self, rows: Sequence[Row], origin: Path) -> tuple[list[Encoded], int]:
        """The same, and how many rows were cut at the recipe's `max_length`."""
        recipe = self.recipe
        return encode_rows(self.encoder, rows, origin, self.context, recipe.max_length, recipe.passages)

    def rests(self, rows: Sequence[Row], origin: Path) -> list[Encoded]:
        """Token ids of what no span of the rows marks, of rows with spans: see `rests.unmarked`."""
        if not any(row.spans for row in rows):
            return []
        recipe = self.recipe
        return encode_rows(self.encoder, rows, origin, self.context, recipe.max_length, recipe.passages, unmarked)[0]


@dataclass(frozen=True, repr=False)
class EncodedRows:
    """Rows and their token ids, (windows,)."""

    rows: Sequence[Row] = ()
    encoded: Sequence[Encoded] = ()


@dataclass(frozen=True, repr=False)
class Sample:
    """The retain rows, which of them were chosen, and the token ids of those, (windows,).

    train: of those that are trained on; check: of those that damage is measured on.
    """

    rows: Sequence[Row]
    pairing: Pairing
    train: Sequence[Encoded]
    check: Sequence[Encoded]


@dataclass(frozen=True, kw_only=True, repr=False)
class Job:
    """A request that `prepare` has checked.

    start: the model to begin with, and the runs that made it. encoded: the forget rows, (windows,); cut: how many of
    them were cut. rests: what rows with spans leave of their responses, which is to be kept. unseen: holdout rows that
    calibrate; stand_ins: what is made of them, if the loss reads it. sample: None where the start model has yet to make
    it. notes: what to tell the user of the model and of rows that were cut.
    """

    options: UnlearnOptions
    recipe: Recipe
    inputs: Inputs
    start: Start
    facts: ModelFacts
    encode: RowEncoder
    encoded: list[Encoded]
    cut: int
    rests: list[Encoded]
    unseen: EncodedRows
    stand_ins: RoleRows
    sample: Sample | None
    notes: tuple[str, ...]

    @property
    def forget(self) -> list[Row]:
        """The rows to forget."""
        return self.inputs.forget.rows
