"""Rows one after another in one sequence, instead of padded to one length: nothing is computed but for a token.

Attention stays within each row, without the block-diagonal mask that would cost what padding costs and more: on a GPU
by torch's kernel for rows of any length, which computes in half precision; elsewhere row by row, rows of one length
together. transformers hands a four-dimensional mask on as it is; here it carries the rows' lengths, so that it reaches
every layer of every architecture, also when activation checkpointing computes a layer again, and is refused by any
attention that is not ours.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from inspect import signature
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from ..protocol import Model
from .decoding import keeps_plain_states

ATTENTION = "forgetctl_rows"
STAYS_IN_ROW = {"full_attention", "sliding_attention"}
"""Kinds of layers in which only attention moves anything between tokens."""
HALF = (torch.bfloat16, torch.float16)
CLOSER = 0.1
"""A model packs if its logits differ by no more than this share of what they would if rows saw each other."""


def packed(lengths: Sequence[int], device: torch.device) -> dict[str, Tensor]:
    """What a model takes beside the ids (1, tokens) of rows of these lengths, one after another, on its device.

    The lengths stay in the memory of the processor: attention on a GPU asks for them before it begins.
    """
    positions = torch.cat([torch.arange(length) for length in lengths])[None]
    mask = torch.tensor(lengths, dtype=torch.int32)[None, None, None]
    return {"position_ids": positions.to(device), "attention_mask": mask}


def packs(model: Model) -> bool:
    """Whether the model's rows are packed as it computes now: `enable_packing` found that they can be, and on a GPU it
    computes in half precision."""
    ours = model.config.get_text_config()._attn_implementation == ATTENTION
    return bool(ours and (model.device.type == "cpu" or computing_dtype(model.device, model.dtype) in HALF))


def computing_dtype(device: torch.device, dtype: torch.dtype) -> torch.dtype:
    """What products of matrices are computed in: autocast's precision if it is on, else that of the values."""
    return torch.get_autocast_dtype(device.type) if torch.is_autocast_enabled(device.type) else dtype


def could_pack(model: Model, device: torch.device, dtype: torch.dtype) -> bool:
    """Whether the model's parts are such that its rows may be packed when it computes in `dtype` on the device; its
    weights are not looked at.

    Not in float32 on a GPU, for which torch has no kernel: a row at a time would leave the GPU waiting.
    """
    config = model.config.get_text_config()
    return (
        (device.type == "cpu" or (device.type == "cuda" and dtype in HALF and _any_length()[0] is not None))
        and config._attn_implementation == "sdpa"
        and bool(model._supports_attention_backend)
        and keeps_plain_states(model.config)
        and set(getattr(config, "layer_types", None) or ()) <= STAYS_IN_ROW
    )


def enable_packing(model: Model) -> None:
    """Let the model take packed rows, if it gives the same with them, found out by what it does."""
    device = model.device
    half = model.dtype if model.dtype in HALF else torch.bfloat16
    if not could_pack(model, device, half):
        return
    with torch.autocast(device.type, dtype=half, enabled=device.type == "cuda"):
        expected = _tried(model)
        model.set_attn_implementation(ATTENTION)
        same = _same_when_packed(model, expected)
    if not same:
        model.set_attn_implementation("sdpa")


def _windows(model: Model) -> Counter[int]:
    """How many layers have which sliding window, by the model's config."""
    config = model.config.get_text_config()
    window = getattr(config, "sliding_window", None)
    if window is None or getattr(config, "use_sliding_window", True) is False:
        return Counter()
    kinds = getattr(config, "layer_types", None) or ["sliding_attention"] * config.num_hidden_layers
    return Counter(window for kind in kinds if kind == "sliding_attention")


@torch.no_grad()
def _tried(model: Model, **inputs: Tensor) -> Tensor:
    """Logits of two short rows behind each other, (tokens, vocabulary)."""
    ids = torch.tensor([*range(3, 8), *range(5, 9)], device=model.device) % model.config.get_text_config().vocab_size
    logits: Tensor = model(input_ids=ids[None], use_cache=False, **inputs).logits[0]
    return logits


@torch.no_grad()
def _same_when_packed(model: Model, seen: Tensor) -> bool:
    """Compares a row's logits behind another row, alone, and behind the other as if both were one row. seen: the last
    by the attention that transformers chose, since some architectures do less for one that they do not know.

    These rows are shorter than a sliding window, so it is also looked at whether layers ask for theirs: some
    architectures keep to it by the mask alone, which packed rows do without.
    """
    ids = torch.arange(5, 9, device=model.device)[None] % model.config.get_text_config().vocab_size
    alone = model(input_ids=ids, use_cache=False).logits[0]
    windows: list[int] = []
    inputs = packed([5, 4], model.device)
    inputs["attention_mask"].windows = windows  # type: ignore[attr-defined]
    try:
        behind = _tried(model, **inputs)[5:]
    except (RuntimeError, TypeError, ValueError):  # whatever a model does that expects another mask, it is not packed
        return False
    most = CLOSER * (seen[5:] - alone).abs().max()
    apart = max((behind - alone).abs().max(), (_tried(model) - seen).abs().max())
    return bool(apart <= most) and Counter(windows) == _windows(model)


def _attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, None]:
    """`sdpa`, but within each row where the mask holds lengths. Takes (1, heads, tokens, width), gives (1, tokens,
    heads, width)."""
    if attention_mask is None or attention_mask.dtype != torch.int32:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    if options.get("sliding_window") is not None and hasattr(attention_mask, "windows"):
        attention_mask.windows.append(options["sliding_window"])
    if query.device.type == "cuda" and not options.get("dropout"):
        return _at_once(query, key, value, attention_mask, options)
    outputs = []
    for length, *rows in _by_length(attention_mask.flatten().tolist(), query, key, value):
        mask = _window(length, options.get("sliding_window"), query.device)
        query, key, value = rows
        output, _ = sdpa_attention_forward(module, query, key, value, mask, **options)
        outputs.append(output.flatten(0, 1))
    return torch.cat(outputs)[None], None


def _at_once(
    query: Tensor, key: Tensor, value: Tensor, lengths: Tensor, options: dict[str, Any]
) -> tuple[Tensor, None]:
    """All rows in one call of a GPU's kernel, in autocast's precision if it is on."""
    dtype = computing_dtype(query.device, value.dtype)
    states = [state[0].transpose(0, 1).to(dtype) for state in (query, key, value)]
    ends, longest = _ends(lengths, query.device), int(lengths.max())
    window = (options.get("sliding_window") or 0) - 1  # -1 is none
    kernel, grouped = _any_length()
    output = kernel(
        *states, ends, ends, longest, longest, scale=options.get("scaling"), window_size=(window, 0), **grouped
    )
    return output[None], None


def _ends(lengths: Tensor, device: torch.device) -> Tensor:
    """Where each row ends, after a zero; made once for all layers, which are given the same lengths."""
    ends: Tensor | None = getattr(lengths, "ends", None)
    if ends is None:
        ends = pad(lengths.flatten().cumsum(0, dtype=torch.int32), (1, 0)).to(device)
        lengths.ends = ends  # type: ignore[attr-defined]
    return ends


@cache
def _any_length() -> tuple[Any, dict[str, bool]]:
    """torch's attention for rows of any length, and how it is told of heads that share keys; None where torch is too
    old to have it with a window, which is how it is made causal."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None, {}
    known = signature(varlen_attn).parameters
    return varlen_attn if "window_size" in known else None, {"enable_gqa": True} if "enable_gqa" in known else {}


def _by_length(lengths: Sequence[int], *states: Tensor) -> Iterator[tuple[Any, ...]]:
    """Runs of rows of one length: the length, and each state as (rows, heads, length, width)."""
    runs = [(length, len(list(run))) for length, run in groupby(lengths)]
    # A split's backward pass joins the gradients once; that of slices would add up as many whole ones as there are.
    parts = [torch.split(state[0], [length * count for length, count in runs], dim=1) for state in states]
    for (length, count), *pieces in zip(runs, *parts, strict=True):
        yield length, *(piece.unflatten(1, (count, length)).transpose(0, 1) for piece in pieces)


def _window(length: int, window: int | None, device: torch.device) -> Tensor | None:
    """Mask of a sliding window that is shorter than the row; none is needed otherwise."""
    if window is None or length <= window:
        return None
    place = torch.arange(length, device=device)
    distance = place[:, None] - place
    return ((distance >= 0) & (distance < window))[None, None]


AttentionInterface.register(ATTENTION, _attention)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)
