"""What `unlearn` is asked to do: its options as values."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..errors import source_name
from ..rows.formats import Fields
from ..rows.sources import absolute_source


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
            **{name: source_name(absolute_source(path)) if path else None for name, path in places.items()},
            "model": str(_resolved(model)) if model.exists() else self.model,
            "out": None,
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> UnlearnOptions:
        """Back from `as_json`."""
        lists: dict[str, Any] = {name: tuple(values[name]) for name in _LISTS if name in values}
        places = {name: Path(values[name]) for name in _PLACES if values.get(name)}
        given: dict[str, Any] = {**values, **places, **lists, "fields": Fields.from_json(values["fields"])}
        return cls(**given)


def _resolved(model: Path) -> Path:
    """A file keeps its own name, by which it is known for a GGUF file: in the hub's cache it is a link to another."""
    return model.resolve() if model.is_dir() else model.parent.resolve() / model.name


_PLACES = ("forget", "retain", "holdout", "refusals", "register")
_LISTS = ("requests", "approve", "argv")
