"""How much memory and time a run will take, from the model's shapes and the rows' lengths alone."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

import torch

from ..errors import MemoryExceeded
from ..recipe import Recipe
from .encoding import Encoded
from .fit import DTYPES, HEAP_WASTE, Fit, choose_fit, held_dtype, training_precision
from .models import ModelFacts, weight_shapes

FLOAT, HALF = 4, 2
KERNELS = 300 * 2**20
"""Bytes of oneDNN's kernels for bfloat16 of many sizes, measured."""
EIGHT_BIT_MOMENTS = 2 * (1 + FLOAT / 256)
"""Bytes a weight of two moments in 8 bits, with a scale for every 256."""
NF4 = 0.5 + 1 / 64 + FLOAT / (64 * 256)
"""Bytes a weight of NF4 with double quantisation: a byte of scale for every 64, and a scale for 256 of those."""
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
    limit: int | None = None,
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


def plan(
    facts: ModelFacts,
    forget: Sequence[Encoded],
    retain: Sequence[Encoded],
    recipe: Recipe,
    device: torch.device,
    *,
    unseen: Sequence[Encoded] = (),
    free: int | None = None,
    limit: int | None = None,
    holders: int = 1,
) -> tuple[Fit, int]:
    """How a run is computed, and the bytes that a process of it is estimated to take at most.

    limit: the most bytes that the owner allows a process, None for all that are free. holders: processes that the
    weights, gradients and optimizer are spread over. Raises MemoryExceeded if no way stays within the limit.
    """
    static = static_bytes(facts, recipe, device) // holders

    def peak(fit: Fit) -> int:
        return static + fit.step_bytes + (_beside(fit) if device.type == "cpu" else 0)

    if limit is None:
        fit = choose_fit(facts, forget, retain, recipe, device, unseen=unseen, static=static, free=free)
        return fit, peak(fit)
    fit = choose_fit(
        *(facts, forget, retain, recipe, device),
        unseen=unseen,
        static=static,
        free=free,
        allowed=lambda way: peak(way) <= limit,
    )
    if peak(fit) > limit:
        raise MemoryExceeded(
            f"--max-memory {_gib(limit)} does not suffice: about {_gib(peak(fit))} are needed at least, "
            f"{_gib(static)} of them for weights, gradients and optimizer; {_smaller(recipe)}"
        )
    return replace(fit, why=f"{fit.why}, planned for at most {_gib(limit)} (--max-memory)"), peak(fit)


def _smaller(recipe: Recipe) -> str:
    """What would take less memory, of what the recipe does not do already."""
    quantised = recipe.lora is not None and recipe.lora.quantisation != "none"
    unused = {
        "--lora": recipe.lora is None,
        "--qlora": not quantised,
        "--optimizer adamw8bit": recipe.lora is None and recipe.optimizer != "adamw8bit",
        "a smaller --max-length": True,
    }
    return f"less would do with {' or '.join(name for name, given in unused.items() if given)}"


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
