"""`forgetctl merge`: a base model and its LoRA adapter as one model directory."""

from __future__ import annotations

from pathlib import Path

import torch

from ..errors import UsageError
from ..files.disk import refuse_beyond_disk
from ..files.folders import whole_folder
from ..files.writing import file_digest, model_digest, refuse_in_bundle
from ..progress import Progress, Silent
from .directories import ADAPTER_WEIGHTS, inspect_base, trainable
from .export import left_out_words
from .memory import memory_within
from .merging import check_adapter, merge_adapter


@memory_within(torch.device("cpu"))
def run_merge(base: Path, adapter: Path, out: Path, progress: Progress | None = None) -> dict[str, str]:
    """Merge and return the SHA-256 digests of the model, as runs record it, and of the adapter's weights.

    The directory is either whole or not there. Raises UsageError if its place is in use, ModelError for what cannot be
    merged.
    """
    refuse_in_bundle(out)
    if out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise UsageError(f"{out} is in use; choose another --out")
    facts = trainable(inspect_base(base))  # before anything is loaded or made
    progress = progress or Silent()
    base = facts.path
    for note in facts.notes:
        progress.say(note)
    check_adapter(adapter)
    refuse_beyond_disk(out, facts.bytes, "the merged model")
    with whole_folder(out) as draft:
        shipped = merge_adapter(base, adapter, draft)
    if shipped.left_out:
        progress.say(left_out_words(shipped.left_out))
    return {"sha256": model_digest(out), "adapter_sha256": file_digest(adapter / ADAPTER_WEIGHTS)}
