"""What `forgetctl study tofu` is asked to do, and the checks that need neither models nor data."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from ...errors import UsageError
from ...recipe.recipe import Recipe

SPLITS = ("01", "05", "10", "20", "30", "50", "90")
PAPER_METHODS = (
    "ga", "ga-rt", "ga-kl", "idk-rt", "dpo", "dpo-rt", "dpo-kl", "kto", "kto-rt", "npo", "npo-rt", "npo-kl",
)  # fmt: skip
CALIBRATED = "+level"
"""What is appended to a method's name that ends at levels, with the settings of the recipe npo-rt-calibrated."""
SWEPT = "npo-rt"
"""The method whose retain weight is swept."""
Value = TypeVar("Value")


def _nothing() -> None:
    pass


@dataclass(frozen=True, kw_only=True)
class TofuOptions:
    """What the study is to do.

    references: a directory with forgetNN/ for each split; reference: single ones by split. holdout: rows that no model
    saw, for methods that end at levels. retain_weights: those of a sweep with NPO+RT on the first split. questions:
    most forget rows that are scored; kept_questions: most rows of each of the other sets. every: epochs from one
    measurement to the next. rouge: generate answers at each and not only at the last. workers: processes of one thread
    each; with one the thread count is left alone. set_up_worker: called first in each of them, so it must be picklable.
    """

    model: str
    data: str
    recipe: Recipe
    out: Path
    references: Path | None = None
    reference: Mapping[str, str] = field(default_factory=dict)
    retain: Path | None = None
    holdout: Path | None = None
    splits: tuple[str, ...] = ("01", "05", "10")
    methods: tuple[str, ...] = PAPER_METHODS
    retain_weights: tuple[float, ...] = ()
    seeds: int = 1
    questions: int = 300
    kept_questions: int | None = None
    every: int = 1
    rouge: bool = False
    workers: int = 1
    device: str = "auto"
    allow_download: bool = False
    set_up_worker: Callable[[], None] = _nothing


def parse_splits(text: str) -> tuple[str, ...]:
    """The splits of --splits. Raises UsageError for one that TOFU does not have."""
    return _listed("--splits", text, lambda part: _one_of("split", part, SPLITS))


def parse_methods(text: str) -> tuple[str, ...]:
    """The methods of --methods, with or without CALIBRATED behind them. Raises UsageError for an unknown one."""
    from ...losses.methods import METHODS

    def method(part: str) -> str:
        _one_of("method", part.removesuffix(CALIBRATED), METHODS)
        return part

    return _listed("--methods", text, method)


def parse_weights(text: str) -> tuple[float, ...]:
    """The weights of --retain-weights. Raises UsageError for what is no number from 0 on."""
    return _listed("--retain-weights", text, _weight)


def parse_references(texts: Sequence[str]) -> dict[str, str]:
    """Directories by split, of SPLIT=DIR. Raises UsageError for what is none."""
    return dict(_pair(text) for text in texts)


def _listed(option: str, text: str, parse: Callable[[str], Value]) -> tuple[Value, ...]:
    """Comma-separated values, each once, in the order given."""
    values = tuple(dict.fromkeys(parse(part.strip()) for part in text.split(",") if part.strip()))
    if not values:
        raise UsageError(f"{option} names nothing")
    return values


def _one_of(kind: str, text: str, known: Collection[str]) -> str:
    if text not in known:
        raise UsageError(f"no {kind} {text}; there is {', '.join(known)}")
    return text


def _weight(text: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = -1.0
    if not 0 <= weight < float("inf"):
        raise UsageError(f"--retain-weights: {text} is not a number from 0 on")
    return weight


def _pair(text: str) -> tuple[str, str]:
    split, equals, directory = text.partition("=")
    if not equals or not directory:
        raise UsageError(f"--reference needs SPLIT=DIR, such as 05=references/forget05, got {text}")
    return _one_of("split", split, SPLITS), directory
