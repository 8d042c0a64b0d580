"""The model card beside the weights: what was done to the model and what was found, with no word of the request."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..document.card import card
from ..document.records import read_records
from ..files import write_bytes
from ..run import Run


def write_card(run: Run) -> None:
    """Write, or write anew, the card of a run's model. Does nothing for a model that no run made."""
    if not run.model_dir.is_dir():
        return
    options: dict[str, Any] = run.record["options"]
    start = Path(options["model"])
    base_model = None if start.is_dir() else options["model"]
    write_bytes(run.card_file, card(read_records(run.path), base_model=base_model, license=_license(start)).encode())


def _license(start: Path) -> str | None:
    """The licence that the start model's own card states, if it has one."""
    file = start / "README.md"
    if not file.is_file():
        return None
    from huggingface_hub import ModelCard

    try:
        named = ModelCard(file.read_text(encoding="utf-8"), ignore_metadata_errors=True).data.get("license")
    except ValueError:  # a card that is not UTF-8 or has no readable metadata states none
        return None
    return named if isinstance(named, str) else None
