"""Weights that are stored in another type than most of their model: a few in float32 in a checkpoint of bfloat16.

Published checkpoints have them where rounding would do harm (the decay of Qwen3.5's linear attention, the correction
of DeepSeek-V3's router). Loading in bfloat16 rounds them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from .export import start_weights
from .gguf import is_gguf
from .memory import out_of_memory
from .placement import Placement
from .protocol import Model
from .weights import FLOATS, stored_weights

HALF = (torch.bfloat16, torch.float16)


def most_stored(path: Path) -> torch.dtype | None:
    """The type that most numbers of a model are stored in; None if that is none that can be trained."""
    counts: Counter[str] = Counter()
    for stored in stored_weights(path).values():
        counts[stored.dtype] += stored.end - stored.begin
    return FLOATS.get(counts.most_common(1)[0][0]) if counts else None


@torch.no_grad()
def restore_stored(model: Model, path: Path) -> None:
    """Give a model's parameters that were rounded in loading the numbers that are stored, in float32."""
    own = dict(model.named_parameters())
    for name, weight in _wider(own, path).items():
        own[name].data = weight


@torch.no_grad()
def hold_stored_types(model: Model, path: Path) -> None:
    """Hold in float32 what is stored in float32 in a checkpoint of half precision, where the model's own code computes
    with it: transformers leaves some such weights to be added to or multiplied with wider numbers. What it cannot
    compute with, as with norms before layers of half precision, stays rounded, as transformers loads it."""
    if model.dtype not in HALF or most_stored(path) not in HALF:
        return
    own = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    kinds: dict[str, list[tuple[Tensor, Tensor]]] = {}
    for name, weight in _wider(own, path).items():
        kinds.setdefault(_kind(name), []).append((own[name], weight))
    for pairs in kinds.values():
        rounded = [held.data for held, _ in pairs]
        for held, weight in pairs:
            held.data = weight
        if not _computes(model):
            for (held, _), data in zip(pairs, rounded, strict=True):
                held.data = data


def _wider(own: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The stored numbers of those weights that were narrowed, float32, on the model's device."""
    # Norms of a GGUF file of half precision are in float32 as the format's writers store them, not as they were.
    if is_gguf(path) or not any(stored.dtype in ("F32", "F64") for stored in stored_weights(path).values()):
        return {}
    placement = Placement(path)
    narrowed = {name for name, held in own.items() if held.dtype in HALF}
    return {
        name: weight.to(own[name].device)
        for part in placement.parts
        if narrowed.intersection(part.weights) and placement.stored[part.stored[0]].dtype in ("F32", "F64")
        for name, weight in start_weights(placement, part).items()
    }


def _kind(name: str) -> str:
    """A weight's name without the numbers of layers."""
    return ".".join(part for part in name.split(".") if not part.isdecimal())


def _computes(model: Model) -> bool:
    ids = torch.arange(3, 8, device=model.device)[None] % model.config.get_text_config().vocab_size
    try:
        model(input_ids=ids, use_cache=False)
    except (RuntimeError, TypeError) as error:
        if out_of_memory(error):
            raise
        return False
    return True
