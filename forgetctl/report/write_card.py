"""The model card beside the weights: what was done to the model and what was found, with no word of the request."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from ..errors import InputError
from ..files.outside import is_gguf, read_text
from ..files.writing import write_bytes
from ..recipe.recipe import load_yaml
from ..runs.run import Run
from .card import card
from .records import read_records

LARGEST_CARD = 2**20
"""Bytes of the start model's own card; a larger one states no licence here."""


def write_card(run: Run) -> None:
    """Write, or write anew, the card of a run's model. Does nothing for a model that no run made."""
    if not run.model_dir.is_dir():
        return
    options: dict[str, Any] = run.record["options"]
    base_model = None if Path(options["model"]).exists() else options["model"]
    license = _license(Path(run.record["inputs"]["model"]["path"]))
    write_bytes(run.card_file, card(read_records(run.path), base_model=base_model, license=license).encode())


def _license(start: Path) -> str | None:
    """The licence that the start model's own card states, or its GGUF file, if there is one."""
    if is_gguf(start):
        from ..model.gguf import licence  # imports torch, which no other card needs

        return licence(start)
    file = start / "README.md"
    if not file.is_file():
        return None
    try:
        front = re.match(r"---\r?\n(.*?)\n---", read_text(file, LARGEST_CARD), re.DOTALL)
        values = load_yaml(front[1]) if front else None
    except (InputError, ValueError, yaml.YAMLError):  # a card that cannot be read states none
        return None
    named = values.get("license") if isinstance(values, dict) else None
    return named if isinstance(named, str) else None
