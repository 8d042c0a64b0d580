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

    Either `run`, or `model` with `forget` for a model that no run made. reference: a model directory, a score file
    or a TOFU evaluation log. holdout: rows that no model saw. start: the model before, known for a run.
    retain: rows that must be kept, scored as they are; a run brings its own.
    """

    run: Path | None = None
    model: str | None = None
    forget: Path | None = None
    start: str | None = None
    reference: str | None = None
    holdout: Path | None = None
    retain: Path | None = None
    fields: Fields = field(default_factory=Fields)
    out: Path | None = None
    device: str = "auto"
    allow_download: bool = False
    force: bool = False
    argv: tuple[str, ...] = ()
