"""Rows one after another in one sequence, instead of padded to one length: nothing is computed but for a token.

Attention stays within each row: it is computed row by row, rows of one length together, without any mask, where the
usual block-diagonal mask would cost what padding costs and more. transformers hands a four-dimensional mask on as it
is; here it carries the rows' lengths, so that it reaches every layer of every architecture, also when activation
checkpointing computes a layer again, and is refused by any attention that is not ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

ATTENTION = "forgetctl_rows"
STAYS_IN_ROW = {"full_attention", "sliding_attention"}
"""Kinds of layers in which only attention moves anything between tokens."""
CLOSER = 0.1
"""A model packs if its logits differ by no more than this share of what they would if rows saw each other."""


def packed(lengths: Sequence[int]) -> dict[str, Tensor]:
    """What a model takes beside the ids (1, tokens) of rows of these lengths, one after another."""
    positions = torch.cat([torch.arange(length) for length in lengths])[None]
    return {"position_ids": positions, "attention_mask": torch.tensor(lengths, dtype=torch.int32)[None, None, None]}


def packs(model: Any) -> bool:
    """Whether `enable_packing` found that the model's rows can be packed."""
    return bool(model.config.get_text_config()._attn_implementation == ATTENTION)


def could_pack(model: Any, device: torch.device) -> bool:
    """Whether the model's parts are such that its rows may be packed; its weights are not looked at.

    Only on a CPU, where it was measured: elsewhere a row at a time would leave a device waiting.
    """
    config = model.config.get_text_config()
    return (
        device.type == "cpu"
        and config._attn_implementation == "sdpa"
        and bool(model._supports_attention_backend)
        and set(getattr(config, "layer_types", None) or ()) <= STAYS_IN_ROW
    )


def enable_packing(model: Any) -> None:
    """Let the model take packed rows, if it gives the same with them, found out by what it does."""
    if not could_pack(model, model.device):
        return
    model.set_attn_implementation(ATTENTION)
    if not _same_when_packed(model):
        model.set_attn_implementation("sdpa")


@torch.no_grad()
def _same_when_packed(model: Any) -> bool:
    """Compares a row's logits behind another row, alone, and behind the other as if both were one row."""
    first, second = torch.arange(3, 8)[None], torch.arange(5, 9)[None]
    both = torch.cat([first, second], dim=1) % model.config.get_text_config().vocab_size
    alone = model(input_ids=both[:, 5:], use_cache=False).logits
    seen = model(input_ids=both, use_cache=False).logits[:, 5:]
    try:
        behind = model(input_ids=both, use_cache=False, **packed([5, 4])).logits[:, 5:]
    except (RuntimeError, TypeError, ValueError):  # whatever a model does that expects another mask, it is not packed
        return False
    return bool((behind - alone).abs().max() <= CLOSER * (seen - alone).abs().max())


def _attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, None]:
    """`sdpa`, but within each row where the mask holds lengths. Takes (1, heads, tokens, width), gives (1, tokens,
    heads, width)."""
    if attention_mask is None or attention_mask.dtype != torch.int32:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    outputs = []
    for length, *rows in _by_length(attention_mask.flatten().tolist(), query, key, value):
        mask = _window(length, options.get("sliding_window"), query.device)
        query, key, value = rows
        output, _ = sdpa_attention_forward(module, query, key, value, mask, **options)
        outputs.append(output.flatten(0, 1))
    return torch.cat(outputs)[None], None


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
