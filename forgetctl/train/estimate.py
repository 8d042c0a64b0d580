"""How much memory and time a run will take, from the model's shapes and the rows' lengths alone."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import torch

from ..errors import MemoryExceeded
from ..model.encoding import Encoded
from ..model.load import ModelFacts, weight_shapes
from ..recipe.recipe import Lora, Recipe
from .fit import DTYPES, HEAP_WASTE, Fit, choose_fit, held_dtype, training_precision

FLOAT, HALF = 4, 2
KERNELS = 300 * 2**20
"""Bytes of oneDNN's kernels for bfloat16 of many sizes, measured."""
EIGHT_BIT_MOMENTS = 2 * (1 + FLOAT / 256)
"""Bytes a weight of two moments in 8 bits, with a scale for every 256."""
NF4 = 0.5 + 1 / 64 + FLOAT / (64 * 256)
"""Bytes a weight of NF4 with double quantisation: a byte of scale for every 64, and a scale for 256 of those."""
PROPOSED = 3
"""Settings that are named at most where a run does not fit."""
SHORTEST = 128
"""Tokens below which no shorter rows are proposed."""
RUNTIME = 450 * 2**20
"""Bytes that the interpreter takes with torch, transformers and peft loaded, measured on Linux."""


@dataclass(frozen=True)
class Estimate:
    """Peak memory in bytes and time in seconds, with what they rest on: parameters, steps, the longest row in tokens
    and how it is computed."""

    memory: int
    seconds: float
    parameters: int
    steps: int
    longest: int
    fit: Fit


def estimate(
    facts: ModelFacts,
    forget: Sequence[Encoded],
    retain: Sequence[Encoded],
    recipe: Recipe,
    device: torch.device,
    *,
    unseen: Sequence[Encoded] = (),
    free: int | None = None,
    limit: Limit | None = None,
) -> Estimate:
    """Estimate a run; `retain` and `unseen` are empty for a loss that does not read them. free: as `choose_fit`.
    limit: as `plan`.

    Memory: weights, gradients and AdamW's two moments, and what a simulated step needs beside them.

    Time: 6 operations per parameter and token at the matrix-product rate measured now; 4 with adapters, whose
    weight gradients are negligible.
    """
    parameters = _count(weight_shapes(facts.path))
    fit, memory = plan(facts, forget, retain, recipe, device, unseen=unseen, free=free, limit=limit)
    steps = -(-len(forget) // recipe.batch_size) * recipe.epochs
    longest = max(len(row.ids) for row in (*forget, *retain, *unseen))
    tokens = len(forget) * sum(map(_mean, (forget, retain, unseen))) * recipe.epochs
    seconds = (4 if recipe.lora else 6) * parameters * tokens / product_rate(device, DTYPES.get(fit.precision))
    return Estimate(memory, seconds, parameters, steps, longest, fit)


@dataclass(frozen=True)
class Limit:
    """The most bytes that a process may take in all. refusal: that they do not suffice, in words. asked: what the
    owner allows, which may be more, None if nothing was said."""

    bytes: int
    refusal: str
    asked: int | None = None


def plan(
    facts: ModelFacts,
    forget: Sequence[Encoded],
    retain: Sequence[Encoded],
    recipe: Recipe,
    device: torch.device,
    *,
    unseen: Sequence[Encoded] = (),
    free: int | None = None,
    limit: Limit | None = None,
    holders: int = 1,
) -> tuple[Fit, int]:
    """How a run is computed, and the bytes that a process of it is estimated to take at most.

    limit: None to refuse nothing. holders: processes that the weights, gradients and optimizer are spread over.
    Raises MemoryExceeded if no way stays within the limit; it names the settings that would.
    """

    rows = (forget, retain, unseen)
    if limit is None:
        return _plan(facts, rows, recipe, device, free, holders)
    static = static_bytes(facts, recipe, device) // holders
    # Where the weights alone are too much no way is looked for; one simulation takes seconds.
    fit, peak = _plan(facts, rows, recipe, device, free, holders, limit.bytes, least=static > limit.bytes)
    if peak > limit.bytes:
        found = _fitting(facts, rows, recipe, device, limit.bytes, holders)
        raise MemoryExceeded(
            f"{limit.refusal}: about {_gib(peak)} are needed at least, {_gib(static)} of them for weights, gradients "
            f"and optimizer; {found}"
        )
    if limit.asked is not None:
        fit = replace(fit, why=f"{fit.why}, planned for at most {_gib(limit.asked)} (--max-memory)")
    return fit, peak


def _plan(
    facts: ModelFacts,
    rows: Sequence[Sequence[Encoded]],
    recipe: Recipe,
    device: torch.device,
    free: int | None,
    holders: int,
    most: int | None = None,
    *,
    least: bool = False,
) -> tuple[Fit, int]:
    """The fastest way within `most` bytes, else the smallest one, with its peak. rows: forget, retain, unseen. least:
    the smallest one in any case."""
    static = static_bytes(facts, recipe, device) // holders

    def peak(fit: Fit) -> int:
        return static + fit.step_bytes + (_beside(fit) if device.type == "cpu" else 0)

    forget, retain, unseen = rows
    fit = choose_fit(
        *(facts, forget, retain, recipe, device),
        unseen=unseen,
        static=static,
        free=free,
        allowed=lambda way: most is None or peak(way) <= most,
        least=least,
    )
    return fit, peak(fit)


def _fitting(
    facts: ModelFacts,
    rows: Sequence[Sequence[Encoded]],
    recipe: Recipe,
    device: torch.device,
    most: int,
    holders: int,
) -> str:
    """Which settings fit into `most` bytes, found by planning with each of them, in words."""
    fitting: list[tuple[int, str]] = []
    others: list[tuple[int, str]] = []
    for name, other, length in smaller(recipe, max(len(row.ids) for role in rows for row in role), holders > 1):
        needed = static_bytes(facts, other, device) // holders
        if needed <= most:
            cut = [[_cut(row, length) for row in role] for role in rows]
            _, needed = _plan(facts, cut, other, device, None, holders, least=True)
        (fitting if needed <= most else others).append((needed, name))
        if len(fitting) == PROPOSED:
            break
    if fitting:
        return f"what fits: {' or '.join(f'{name} (from {_gib(needed)})' for needed, name in fitting)}"
    if not others:
        return "no setting takes less"
    needed, name = min(others)
    return f"no setting is known to fit; {name} takes the least, {_gib(needed)} or more"


def smaller(recipe: Recipe, longest: int, sharded: bool) -> Iterator[tuple[str, Recipe, int | None]]:
    """Settings that take less memory than the recipe, those that change least first: as options of the command line,
    as a recipe, and as the length that rows are cut at. longest: tokens of the longest row now."""
    whole, quantised = recipe.lora is None, recipe.lora is not None and recipe.lora.quantisation != "none"
    eight, half = {"optimizer": "adamw8bit"}, {"weights": "bfloat16"}
    lora = recipe.lora.model_dump() if recipe.lora else Lora().model_dump()
    qlora = {"lora": {**lora, "quantisation": "nf4"}}
    can_split = not sharded and recipe.weights != "bfloat16" and recipe.precision in ("auto", "bf16")
    can_eight = not sharded and whole and recipe.optimizer != "adamw8bit"
    shorter = max(longest // 2, SHORTEST)
    asked: list[tuple[bool, str, dict[str, Any], int | None]] = [
        (can_eight, "--optimizer adamw8bit", eight, None),
        (can_split and not quantised, "--set weights=bfloat16", half, None),
        (can_eight and can_split, "--optimizer adamw8bit --set weights=bfloat16", {**eight, **half}, None),
        (shorter < longest, f"--max-length {shorter}", {}, shorter),
        (whole, "--lora", {"lora": lora}, None),
        (not sharded and not quantised, "--qlora", qlora, None),
        (not sharded and not quantised and shorter < longest, f"--qlora --max-length {shorter}", qlora, shorter),
    ]
    for possible, name, changes, length in asked:
        if possible:
            yield name, Recipe.model_validate({**recipe.model_dump(), **changes}), length


def _cut(row: Encoded, length: int | None) -> Encoded:
    if length is None or len(row.ids) <= length:
        return row
    return replace(row, ids=row.ids[:length], start=min(row.start, length - 1))


def _gib(count: int) -> str:
    return f"{count / 2**30:.2f} GiB"


def static_bytes(facts: ModelFacts, recipe: Recipe, device: torch.device) -> int:
    """Weights, gradients, AdamW's two moments, the copy of the start model's head that guards the retain rows, and that
    of all weights where they are anchored, which lies in the memory of the processor."""
    shapes = weight_shapes(facts.path)
    moments = 2 * FLOAT if recipe.optimizer == "adamw" else EIGHT_BIT_MOMENTS
    if recipe.lora is None:
        # Split weights have two bytes for the model and two for the optimizer.
        gradient = head_value = HALF if recipe.weights == "bfloat16" else FLOAT
        head = max((prod(shape) for name, shape in shapes.items() if _is_outer(name)), default=0)
        anchor = FLOAT if recipe.anchor and device.type == "cpu" else 0
        return int(_count(shapes) * (FLOAT + gradient + moments + anchor)) + head_value * head
    held = held_dtype(facts, recipe, training_precision(recipe, facts, device)[0])
    adapters = _lora_size(shapes, recipe.lora.rank) * (2 * FLOAT + moments)
    if recipe.lora.quantisation == "nf4":
        outer = _count({name: shape for name, shape in shapes.items() if _is_outer(name) or len(shape) != 2})
        return int(adapters + outer * held.itemsize + (_count(shapes) - outer) * NF4)
    return int(adapters) + _count(shapes) * held.itemsize


def disk_bytes(facts: ModelFacts, recipe: Recipe) -> int:
    """Bytes that a run takes on its disk at the most: its checkpoints, of which there are three where a third is being
    written (`engine.checkpoints`), or two of them and the model that comes out, as large as the one that goes in.

    A checkpoint has what is trained, in four bytes a weight whether split or whole, and the optimizer's moments.
    """
    shapes = weight_shapes(facts.path)
    trained = _count(shapes) if recipe.lora is None else _lora_size(shapes, recipe.lora.rank)
    moments = 2 * FLOAT if recipe.optimizer == "adamw" else EIGHT_BIT_MOMENTS
    checkpoint = int(trained * (FLOAT + moments))
    return max(min(recipe.epochs, 3) * checkpoint, min(recipe.epochs, 2) * checkpoint + facts.bytes)


def _beside(fit: Fit) -> int:
    """What a process takes beside its tensors."""
    return RUNTIME + int(HEAP_WASTE * fit.step_bytes) + (0 if fit.precision == "fp32" else KERNELS)


def _count(shapes: Mapping[str, Sequence[int]]) -> int:
    return sum(prod(shape) for shape in shapes.values())


def _is_outer(name: str) -> bool:
    """Embeddings and head, which stay whole and without adapters."""
    return "embed" in name or "head" in name or "wte" in name or "wpe" in name


def _lora_size(shapes: dict[str, list[int]], rank: int) -> int:
    """Adapter weights on every linear layer but the embeddings and the head."""
    linear = [shape for name, shape in shapes.items() if len(shape) == 2 and not _is_outer(name)]
    return sum(rank * sum(shape) for shape in linear)


def _mean(rows: Sequence[Encoded]) -> float:
    return sum(len(row.ids) for row in rows) / len(rows) if rows else 0.0


def product_rate(device: torch.device, dtype: torch.dtype | None, repeats: int = 5) -> float:
    """Operations a second of a product of matrices in `dtype`, float32 if None, here and now."""
    size = 1024 if device.type == "cpu" else 8192  # anything smaller a GPU ends before the next is asked of it
    matrix = torch.randn(size, size, device=device, dtype=dtype)
    matrix = (matrix @ matrix).clamp_(-1, 1)
    float(matrix[0, 0])  # waits for an accelerator
    started = time.perf_counter()
    for _ in range(repeats):
        matrix = (matrix @ matrix).clamp_(-1, 1)
    float(matrix[0, 0])
    return 2 * size**3 * repeats / (time.perf_counter() - started)
