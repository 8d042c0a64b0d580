"""What the commands are asked to do: the options of `unlearn` and `verify` as values."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..stages.request import Fields


@dataclass(frozen=True)
class UnlearnOptions:
    """What to unlearn from what. Paths are kept as given; `retain` None lets the start model make the sample."""

    model: str
    forget: Path
    retain: Path | None = None
    refusals: Path | None = None
    fields: Fields = field(default_factory=Fields)
    out: Path | None = None
    device: str = "auto"
    allow_download: bool = False
    argv: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Plain values, enough to start again."""
        values = {**asdict(self), "argv": list(self.argv)}
        model = Path(self.model)
        places = {"forget": self.forget, "retain": self.retain, "refusals": self.refusals}
        return {
            **values,
            **{name: str(path.resolve()) if path else None for name, path in places.items()},
            "model": str(model.resolve()) if model.is_dir() else self.model,
            "out": None,
        }

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> UnlearnOptions:
        """Back from `as_json`."""
        retain = values["retain"]
        return cls(
            **{
                **values,
                "forget": Path(values["forget"]),
                "retain": Path(retain) if retain else None,
                "refusals": Path(values["refusals"]) if values["refusals"] else None,
                "fields": Fields(**values["fields"]),
                "argv": tuple(values["argv"]),
            }
        )


@dataclass(frozen=True)
class VerifyOptions:
    """What to verify against what.

    Either `run`, or `model` with `forget` for a model that no run made, or `scores` of one. references, start: model
    directories, score files or TOFU evaluation logs; the first reference is compared with, further ones show the
    noise floor; a run knows its start. holdout: rows that no model saw. retain: rows that must be kept, scored as
    they are; a run brings its own. real_authors, world_facts: TOFU's, for model utility. rephrased: the request in
    other words or languages. precisions: of `engine.models.PRECISIONS`. deep: also the relearning attack.
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
    precisions: tuple[str, ...] = ()
    deep: bool = False
    fields: Fields = field(default_factory=Fields)
    out: Path | None = None
    device: str = "auto"
    allow_download: bool = False
    force: bool = False
    argv: tuple[str, ...] = ()

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file of rows that was given."""
        named = (self.forget, self.retain, self.holdout, self.real_authors, self.world_facts)
        return (*(path for path in named if path is not None), *self.rephrased)
