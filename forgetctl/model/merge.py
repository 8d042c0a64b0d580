"""`forgetctl merge`: a base model and its LoRA adapter -> one model whose scores are those of both, or a refusal."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from ..errors import ModelError, UsageError
from ..files.disk import refuse_beyond_disk
from ..files.folders import whole_folder
from ..files.writing import file_digest, model_digest, refuse_in_bundle
from ..progress import Progress, Silent
from .directories import ADAPTER_CONFIG, ADAPTER_WEIGHTS, inspect_base, read_config, trainable
from .export import Shipped, left_out_words, round_as_stored, save_model
from .load import load_model, load_tokenizer, merged, put_on
from .memory import memory_within
from .protocol import Model
from .weights import opened

ALIKE = 1e-3
"""Largest difference of logits, in their own standard deviations, between models that compute the same."""
PROBED, STRIDE = 16, 7919
"""Tokens of the sequence that models are compared on, and how far apart they are in the vocabulary."""
FOREIGN_CODE = ("auto_map", "megatron_config")
"""Keys of an adapter's config for which peft would import what they name."""
TOKENIZER = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json")


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


def check_adapter(path: Path) -> None:
    """Raise ModelError unless a directory holds a LoRA adapter whose weights are in safetensors."""
    config = read_config(path / ADAPTER_CONFIG)
    if asking := [name for name in FOREIGN_CODE if config.get(name)]:
        raise ModelError(f"{path}: its config asks for code of others ({asking[0]}), which forgetctl never runs")
    kind = config.get("peft_type")
    if kind != "LORA":
        raise ModelError(f"{path}: is no LoRA adapter, but {kind if isinstance(kind, str) else 'of no kind'}")
    if not (path / ADAPTER_WEIGHTS).is_file():
        raise ModelError(f"{path}: has no {ADAPTER_WEIGHTS}; forgetctl reads safetensors only")
    with opened(path / ADAPTER_WEIGHTS):
        pass


def merge_adapter(base: Path, adapter: Path, out: Path) -> Shipped:
    """Write the merged model to a directory that is not there yet, in the base model's precision. Returns what of the
    base is in it.

    The tokenizer is the adapter's where that brings one: it is what the adapter was trained with. base may carry the
    adapter itself. Raises ModelError for what cannot be merged: an adapter of another model, one whose merged weights
    would not compute the same, as where it changes weights that are shared, or a model that does not load again.
    """
    check_adapter(adapter)
    with _alone(base) as start:
        facts = inspect_base(start)
        own = adapter if any((adapter / name).is_file() for name in TOKENIZER) else None
        tokenizer = load_tokenizer(own or start)
        adapted = put_on(load_model(start, torch.device("cpu"), torch.float32), adapter)
        expected = _logits(adapted)
        model = merged(adapted)
        if not _alike(_logits(model), expected):
            raise ModelError(f"{adapter}: cannot be merged into {base}: the merged weights do not compute the same")
        if own is not None and len(tokenizer) > expected.shape[-1]:
            raise ModelError(f"{adapter}: its tokenizer has more tokens than {base}")
        shipped = save_model(model, replace(facts, path=base), out, own)
        round_as_stored(model, start)
        rounded = _logits(model)
    del adapted, model  # two large models need not be in the memory together
    if not _alike(_logits(load_model(out, torch.device("cpu"), torch.float32)), rounded):
        raise ModelError(
            f"{adapter}: cannot be merged into {base}: saved and loaded again it does not compute the same"
        )
    return shipped


@torch.no_grad()
def _logits(model: Model) -> Tensor:
    """Logits of a fixed sequence, (tokens, vocabulary)."""
    vocabulary = model.get_input_embeddings().weight.shape[0]
    ids = torch.arange(PROBED)[None] * STRIDE % vocabulary
    logits: Tensor = model(input_ids=ids, use_cache=False).logits[0]
    return logits


def _alike(given: Tensor, expected: Tensor) -> bool:
    return given.shape == expected.shape and bool((given - expected).abs().max() <= ALIKE * expected.std())


@contextmanager
def _alone(base: Path) -> Iterator[Path]:
    """The base model without an adapter that lies beside its weights, which transformers would put on by itself."""
    if not (base / ADAPTER_CONFIG).exists():
        yield base
        return
    with tempfile.TemporaryDirectory() as folder:
        for file in base.iterdir():
            if file.name not in (ADAPTER_CONFIG, ADAPTER_WEIGHTS):
                (Path(folder) / file.name).symlink_to(file.resolve())
        yield Path(folder)
