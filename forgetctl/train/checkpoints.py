"""What an interrupted run goes on from: checkpoints that are marked whole, with the digest of every file."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from accelerate import PartialState
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ..errors import InputError
from ..files.folders import saving
from ..files.strict_json import read_object
from ..files.writing import draft_prefix, file_digest, write_json

COMPLETE = "complete.json"


class MarkComplete(TrainerCallback):
    """Marks a checkpoint whose files are all written, with their SHA-256, and keeps one older beside it.

    Trainer's own `save_total_limit` goes by the folders' times: after a clock was set back it would remove the
    checkpoint just written, and it removes an older one before the new one is known to be whole.
    """

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Write the mark last, atomically. Raises RunError if the file system refuses."""
        PartialState().wait_for_everyone()  # each process writes files of its own
        if not state.is_world_process_zero:
            return
        folder = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
        with saving(folder):
            digests = {name: file_digest(folder / name) for name in _files(folder)}
            write_json(folder / COMPLETE, digests)
            _remove_others(folder)


def _remove_others(newest: Path) -> None:
    """Remove all checkpoints but this one and the whole one before it."""
    before = [path for path in _by_step(newest.parent) if checkpoint_step(path) < checkpoint_step(newest)]
    kept = {newest, *[path for path in before if (path / COMPLETE).is_file()][:1]}
    for path in _by_step(newest.parent):
        if path not in kept:
            shutil.rmtree(path)


def last_checkpoint(folder: Path, skipped: Callable[[str], None] = lambda _: None) -> Path | None:
    """The newest checkpoint that is as it was written. skipped: receives which newer ones are not, and why."""
    for checkpoint in _by_step(folder):
        fault = _fault(checkpoint)
        if fault is None:
            return checkpoint
        skipped(f"{checkpoint.name} is not used: {fault}.")
    return None


def _by_step(folder: Path) -> list[Path]:
    """Checkpoints, the newest first."""
    return sorted(folder.glob("checkpoint-*"), key=checkpoint_step, reverse=True)


def checkpoint_step(checkpoint: Path) -> int:
    """The optimizer step that a checkpoint was taken after."""
    return int(checkpoint.name.rpartition("-")[2])


def checkpoint_bytes(folder: Path) -> int:
    """Bytes that the checkpoints in a folder take, damaged ones too."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _fault(checkpoint: Path) -> str | None:
    """Why a checkpoint cannot be trusted, None if it can."""
    mark = checkpoint / COMPLETE
    if not mark.is_file():
        return "it was not written to the end"
    try:
        digests = read_object(mark)
    except InputError:  # a power cut can leave an empty mark
        return f"its {COMPLETE} is damaged"
    for name, digest in digests.items():
        if not (checkpoint / name).is_file():
            return f"{name} is missing"
        if file_digest(checkpoint / name) != digest:
            return f"{name} is damaged"
    return None


def _files(folder: Path) -> list[str]:
    """Names of all files in a checkpoint, those of folders in it too; not of a mark from an earlier attempt."""
    names = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in names if name != COMPLETE and not name.startswith(draft_prefix(folder / COMPLETE)))
