"""What the commands are asked to do: the options of `unlearn` and `verify` as values."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..rows.formats import Fields


@dataclass(frozen=True, kw_only=True)
class UnlearnOptions:
    """What to unlearn from what. Paths are kept as given; `retain` None lets the start model make the sample.

    model: a directory, a hub id, or an earlier run, whose unlearned model is then the start. holdout: rows that no
    model saw, which show what the start model knows and where forgetting ends.
    requests: ids in the register that the run serves. register: the owner's, or None for the default one. track: score
    the model after every epoch, for the report's curve. approve: rules of `rows.abuse` that may flag the request
    without stopping it. max_memory: bytes that each process is planned to take at most, and that a GPU gives it at
    most; None for all that are free. keep_adapter: write the adapter, too, beside the model that it is merged into.
    """

    model: str
    forget: Path
    retain: Path | None = None
    holdout: Path | None = None
    refusals: Path | None = None
    fields: Fields = field(default_factory=Fields)
    out: Path | None = None
    device: str = "auto"
    allow_download: bool = False
    requests: tuple[str, ...] = ()
    register: Path | None = None
    track: bool = False
    approve: tuple[str, ...] = ()
    max_memory: int | None = None
    keep_adapter: bool = False
    argv: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Plain values, enough to start again."""
        values = {**asdict(self), **{name: list(getattr(self, name)) for name in _LISTS}}
        model = Path(self.model)
        places = {name: getattr(self, name) for name in _PLACES}
        return {
            **values,
            **{name: str(path.resolve()) if path else None for name, path in places.items()},
            "model": str(_resolved(model)) if model.exists() else self.model,
            "out": None,
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> UnlearnOptions:
        """Back from `as_json`."""
        lists: dict[str, Any] = {name: tuple(values[name]) for name in _LISTS if name in values}
        places = {name: Path(values[name]) for name in _PLACES if values.get(name)}
        given: dict[str, Any] = {**values, **places, **lists, "fields": Fields(**values["fields"])}
        return cls(**given)


def _resolved(model: Path) -> Path:
    """A file keeps its own name, by which it is known for a GGUF file: in the hub's cache it is a link to another."""
    return model.resolve() if model.is_dir() else model.parent.resolve() / model.name


_PLACES = ("forget", "retain", "holdout", "refusals", "register")
_LISTS = ("requests", "approve", "argv")


@dataclass(frozen=True, kw_only=True)
class VerifyOptions:
    """What to verify against what.

    Either `run`, or `model` with `forget` for a model that no run made, or `scores` of one. references, start: model
    directories, score files or TOFU evaluation logs; the first reference is compared with, further ones show the
    noise floor; a run knows its start. holdout: rows that no model saw. retain: rows that must be kept, scored as
    they are; a run brings its own. real_authors, world_facts: TOFU's, for model utility. rephrased: the request in
    other words or languages. also: earlier runs, whose rows must stay forgotten. precisions: of
    `model.load.PRECISIONS`. deep: also the relearning attack. requests: ids in the register whose rows these are,
    for a model that no run made. register: where the verdict is written, or None for the run's own or the default one.
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
