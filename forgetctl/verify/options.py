"""What `verify` is asked to do: its options as values."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ..model.sampling import Sampling
from ..people.extent import Extent
from ..rows.formats import Fields


@dataclass(frozen=True, kw_only=True)
class VerifyOptions:
    """What to verify against what.

    Either `run`, or `model` with `forget` for a model that no run made, or `scores` of one. references, start: model
    directories, score files or TOFU evaluation logs; the first reference is compared with, further ones show the
    noise floor; a run knows its start. holdout: rows that no model saw. retain: rows that must be kept, scored as
    they are; a run brings its own. real_authors, world_facts: TOFU's, for model utility. rephrased: the request in
    other words or languages. attacks: how much is asked in forgetctl's own other words. sampling: how the owner draws
    answers, None as the model's own settings say. also: earlier runs, whose rows
    must stay forgotten. precisions: of `model.load.PRECISIONS`. deep: also the relearning attack. requests: ids in the
    register whose rows these are, for a model that no run made. register: where the verdict is written, or None for
    the run's own or the default one.
    """

    run: Path | None = None
    model: str | None = None
    scores: Path | None = None
    forget: Path | None = None
    start: str | None = None
    references: tuple[str, ...] = ()
    holdout: Path | None = None
    retain: Path | None = None
    real_authors: Path | None = None
    world_facts: Path | None = None
    rephrased: tuple[Path, ...] = ()
    attacks: Extent = "quick"
    sampling: Sampling | None = None
    also: tuple[Path, ...] = ()
    precisions: tuple[str, ...] = ()
    deep: bool = False
    fields: Fields = field(default_factory=Fields)
    out: Path | None = None
    device: str = "auto"
    allow_download: bool = False
    force: bool = False
    requests: tuple[str, ...] = ()
    register: Path | None = None
    argv: tuple[str, ...] = ()

    @property
    def files(self) -> tuple[tuple[str, Path], ...]:
        """Every file of rows that was given, with what it was given as."""
        names = ("forget", "retain", "holdout", "real_authors", "world_facts")
        named = ((name, getattr(self, name)) for name in names)
        return (*((name, path) for name, path in named if path), *(("rephrased", path) for path in self.rephrased))
