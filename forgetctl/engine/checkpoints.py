"""What an interrupted run goes on from: checkpoints that are marked whole, with the digest of every file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

COMPLETE = "complete.json"


class MarkComplete(TrainerCallback):
    """Marks a checkpoint whose files are all written, with their SHA-256."""

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Write the mark last, atomically."""
        folder = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
        digests = {path.name: _digest(path) for path in sorted(folder.iterdir())}
        draft = folder / f".{COMPLETE}"
        draft.write_text(json.dumps(digests))
        draft.replace(folder / COMPLETE)


def last_checkpoint(folder: Path, skipped: Callable[[str], None] = lambda _: None) -> Path | None:
    """The newest checkpoint that is as it was written. skipped: receives which newer ones are not, and why."""
    found = sorted(folder.glob("checkpoint-*"), key=checkpoint_step, reverse=True)
    for checkpoint in found:
        fault = _fault(checkpoint)
        if fault is None:
            return checkpoint
        skipped(f"{checkpoint.name} is not used: {fault}.")
    return None


def checkpoint_step(checkpoint: Path) -> int:
    """The optimizer step that a checkpoint was taken after."""
    return int(checkpoint.name.rpartition("-")[2])


def _fault(checkpoint: Path) -> str | None:
    """Why a checkpoint cannot be trusted, None if it can."""
    mark = checkpoint / COMPLETE
    if not mark.is_file():
        return "it was not written to the end"
    try:
        digests = json.loads(mark.read_text())
    except ValueError:  # a power cut can leave an empty mark
        return f"its {COMPLETE} is damaged"
    for name, digest in digests.items():
        if not (checkpoint / name).is_file():
            return f"{name} is missing"
        if _digest(checkpoint / name) != digest:
            return f"{name} is damaged"
    return None


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
