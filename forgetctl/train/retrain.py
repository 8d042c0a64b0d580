"""base -> reference, and base -> start: a model directory from plain fine-tuning on rows, one for each seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from ..errors import RunError, UsageError
from ..files.disk import refuse_beyond_disk
from ..files.folders import whole_folder
from ..files.writing import ModelFiles, model_digest, now, read_json, write_json
from ..model.encoding import encode_rows
from ..model.export import beside_weights, left_out_words, save_model
from ..model.hardware import versions
from ..model.load import inspect_trainable, load_encoder, load_model
from ..model.placement import Placement
from ..progress import Progress
from ..rows.row import Row
from .finetune import fine_tune

RECORD = "reference.json"
PROMPT_FORMAT = "Question: {prompt}\nAnswer:"


@dataclass(frozen=True)
class Tuning:
    """How a base model learns its rows; the defaults are the NPO paper's for TOFU and Llama-2-7B-chat.

    micro_batch: most rows in memory at once, None for all of a batch; changes nothing but the memory.
    """

    learning_rate: float = 1e-5
    epochs: int = 5
    batch_size: int = 32
    weight_decay: float = 0.01
    warmup_epochs: float = 1.0
    max_grad_norm: float = 1.0
    max_length: int | None = None
    prompt_format: str = PROMPT_FORMAT
    micro_batch: int | None = None


@dataclass(frozen=True, repr=False)
class Lessons:
    """Rows to learn, the file that messages name them by, and their digest."""

    rows: Sequence[Row]
    origin: Path
    digest: str


def make_model(
    base: Path, lessons: Lessons, tuning: Tuning, seed: int, out: Path, device: torch.device, progress: Progress
) -> bool:
    """Fine-tune `base` and write it to `out`, whole or not at all; False if the same was there already.

    Raises UsageError if something else is there, ModelError and InputError for a base or rows that cannot be used.
    """
    facts, files = inspect_trainable(base), ModelFiles.of(base)
    wanted = {
        "base_sha256": model_digest(base),
        "rows": len(lessons.rows),
        "rows_sha256": lessons.digest,
        "settings": {name: value for name, value in asdict(tuning).items() if name != "micro_batch"},
        "seed": seed,
    }
    if _made(out, wanted):
        progress.say(f"{out} is there already, of the same base, rows and settings.")
        return False
    refuse_beyond_disk(out, facts.bytes, "the model")
    Placement(base)  # raises for what could not be saved in the end
    if left_out := beside_weights(base).left_out:
        progress.say(left_out_words(left_out))
    encoder = load_encoder(facts, tuning.prompt_format)
    encoded, _ = encode_rows(encoder, lessons.rows, lessons.origin, facts.context, tuning.max_length)
    for note in facts.notes:
        progress.say(f"{base}: {note}")
    model = load_model(base, device, torch.float32)
    files.check()  # the digest in the record is of what was loaded
    with progress.bar(f"Training {out.name}", tuning.epochs * -(-len(encoded) // tuning.batch_size)) as bar:
        fine_tune(
            model,
            encoded,
            epochs=tuning.epochs,
            learning_rate=tuning.learning_rate,
            seed=seed,
            batch_size=tuning.batch_size,
            weight_decay=tuning.weight_decay,
            warmup_epochs=tuning.warmup_epochs,
            max_grad_norm=tuning.max_grad_norm,
            micro_batch=tuning.micro_batch,
            advance=bar.advance,
        )
    with whole_folder(out) as draft:
        save_model(model, facts, draft)
        made: dict[str, Any] = {"model_sha256": model_digest(draft), "created": now(), "versions": versions()}
        write_json(draft / RECORD, {**wanted, **made})
    return True


def _made(out: Path, wanted: dict[str, Any]) -> bool:
    """Whether `out` holds what is wanted. Raises UsageError if it holds something else."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    if not (out / RECORD).is_file():
        raise UsageError(f"{out} is in use, and by nothing that `forgetctl reference` made")
    record = read_json(out / RECORD)
    if changed := [name.replace("_", " ") for name, value in wanted.items() if record.get(name) != value]:
        raise UsageError(f"{out} was made with other {', '.join(changed)}; choose another --out")
    if record.get("model_sha256") != model_digest(out):
        raise RunError(f"{out} has changed since it was made; remove it to make it again")
    return True
