"""How a run is computed on this machine, and what that costs: how much at once, in which precision, with activations
kept or computed again, how much memory and how much time it takes.

None of it changes what is computed but for rounding. It is chosen once a run and kept with it, so that a resumed run
rounds as before. Everything follows from the model's shapes and the rows' lengths alone, before a model is loaded.
"""

from __future__ import annotations

import itertools
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

import psutil
import torch

from ..errors import MemoryExceeded
from ..losses.methods import WeightedSum
from ..model.encoding import Encoded
from ..model.load import ModelFacts, frozen_dtype
from ..model.processes import Ranks
from ..model.protocol import Model
from ..model.weights import weight_shapes
from ..recipe.recipe import Lora, Recipe
from ._step_memory import MicroBatchShape, StepKind, model_packs, model_width, step_memory
from .schedule import MicroBatchLimits, PairedBatches, RowsByRole

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
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
USABLE = 0.9
"""The part of the free memory that is planned for; the rest is for what no estimate sees."""
HEAP_WASTE = 0.7
"""Gaps in a C library's heap for each byte of a step, since freed blocks stay in it, cut up by micro-batches of other
sizes; measured with glibc."""
NARROW = 512
"""Widths below which bfloat16 gains nothing on a CPU, since converting costs what the products save, and a micro-batch
of many tokens is still small."""
LOOKED_AT = 100
"""Steps in which the largest micro-batch is looked for."""
CONTROL_GROUP = Path("/sys/fs/cgroup")
GROUP_V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes")


@dataclass(frozen=True)
class MicroBatchTokens:
    """How many tokens a kind of device should compute at once.

    most: beyond them nothing is gained. fewest: below them products of matrices become slow, or a GPU waits for the
    processor that tells it what to do; activations are computed twice sooner than go below. overhead: what a
    micro-batch costs beside its tokens, in tokens.
    """

    most: int
    fewest: int
    overhead: int


TOKENS = {
    "cpu": MicroBatchTokens(1024, 512, 64),
    "cpu, bf16": MicroBatchTokens(2048, 512, 64),
    "cpu, narrow": MicroBatchTokens(4096, 512, 64),
    "gpu": MicroBatchTokens(32768, 4096, 1024),
}
"""Where products are fast, or small as in a narrow model, what a micro-batch costs beside them counts for more: copies
of the weights in bfloat16, gradients added up, calls."""


# What is planned, and what the plan says


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What is to be trained, where. rows: of the roles that the loss reads. holders: processes that the weights,
    gradients and optimizer are spread over. options: those of the command that asks, of which some may be proposed
    where memory does not suffice."""

    facts: ModelFacts
    rows: RowsByRole
    recipe: Recipe
    device: torch.device
    holders: int = 1
    options: frozenset[str] = frozenset({"--optimizer", "--set", "--max-length", "--lora", "--qlora"})

    @property
    def all_rows(self) -> list[Encoded]:
        """Those of all roles."""
        return [row for rows in self.rows.values() for row in rows]

    @property
    def static_bytes(self) -> int:
        """What a process holds for as long as it trains."""
        return static_bytes(self.facts, self.recipe, self.device) // self.holders


class OtherPlanError(Exception):
    """A training was begun by a version of forgetctl that computed it otherwise, so this one cannot go on with it."""


@dataclass(frozen=True, kw_only=True)
class ComputePlan:
    """limits: of what is computed at once. precision: fp32, bf16 or fp16, with float32 weights. checkpointing: of
    gradients: inner activations are computed again for the backward pass. step_bytes: estimated for a micro-batch,
    beside weights, gradients and optimizer. peak_bytes: what a process is estimated to take at most, all in all. why:
    in a few words, for the owner."""

    limits: MicroBatchLimits
    precision: str
    checkpointing: bool = False
    step_bytes: int = 0
    peak_bytes: int = 0
    why: str = ""

    @property
    def dtype(self) -> torch.dtype | None:
        """Autocast's, None for float32."""
        return DTYPES.get(self.precision)

    def autocast(self, device: torch.device) -> torch.autocast:
        """The precision that training computes in, for scores that training compares with."""
        return torch.autocast(device.type, dtype=self.dtype, enabled=self.dtype is not None)

    def repeats(self, device: torch.device) -> bool:
        """Whether the same run gives the same weights, bit for bit. A GPU's attention in half precision adds up the
        gradients of its keys in whatever order they come."""
        return device.type == "cpu" or (device.type == "cuda" and self.precision == "fp32")

    def as_json(self) -> dict[str, Any]:
        """Plain values for the run directory."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: object) -> ComputePlan:
        """Back from `as_json`. Raises OtherPlanError for what another version wrote."""
        limits = values.get("limits") if isinstance(values, dict) else None
        if not isinstance(values, dict) or not isinstance(limits, dict):
            raise OtherPlanError
        if (set(values), set(limits)) != (_names(cls), _names(MicroBatchLimits)):
            raise OtherPlanError
        return cls(**{**values, "limits": MicroBatchLimits(**limits)})


def _names(kind: type[ComputePlan] | type[MicroBatchLimits]) -> set[str]:
    return {field.name for field in fields(kind)}


@dataclass(frozen=True)
class MemoryLimit:
    """The most bytes that a process may take in all. refusal: that they do not suffice, in words. asked: what the
    owner allows, which may be more, None if nothing was said."""

    bytes: int
    refusal: str
    asked: int | None = None


@dataclass(frozen=True, kw_only=True)
class CostEstimate:
    """Peak memory in bytes and time in seconds, with what they rest on: parameters, steps, the longest row in tokens
    and how it is computed."""

    memory: int
    seconds: float
    parameters: int
    steps: int
    longest: int
    plan: ComputePlan


def asked_limit(most: int | None) -> MemoryLimit | None:
    """What the owner allows a process to take, if anything was said."""
    if most is None:
        return None
    return MemoryLimit(most, f"--max-memory {most / 2**30:.2f} GiB does not suffice", most)


def memory_limit(most: int | None, device: torch.device, ranks: Ranks) -> MemoryLimit:
    """The same, or what the device has for a process where that is less. most: bytes that the owner allows."""
    available = available_memory(device) // (ranks.neighbours if device.type == "cpu" else 1)
    asked = asked_limit(most)
    if asked is not None and asked.bytes <= available:
        return asked
    place = "of this machine" if device.type == "cpu" else f"of {device}"
    return MemoryLimit(available, f"the {available / 2**30:.2f} GiB of free memory {place} do not suffice", most)


def usable_memory(model: Model, ranks: Ranks) -> int:
    """Bytes that this process may use, the model's weights among them: they are counted in `static_bytes`."""
    return free_share(model.device, ranks) + int(model.get_memory_footprint())


def free_share(device: torch.device, ranks: Ranks) -> int:
    """Bytes that are free on the device for this process."""
    return free_memory(device) // (ranks.neighbours if device.type == "cpu" else 1)


def estimate_cost(work: Workload, *, free: int | None = None, limit: MemoryLimit | None = None) -> CostEstimate:
    """What a run will take. free, limit: as `make_plan`.

    Memory: weights, gradients and AdamW's two moments, and what a simulated step needs beside them.

    Time: 6 operations per parameter and token at the matrix-product rate measured now; 4 with adapters, whose
    weight gradients are negligible.
    """
    recipe, leading = work.recipe, len(next(iter(work.rows.values())))
    parameters = _count(weight_shapes(work.facts.path))
    plan = make_plan(work, free=free, limit=limit)
    tokens = leading * sum(map(_mean_length, work.rows.values())) * recipe.epochs
    return CostEstimate(
        memory=plan.peak_bytes,
        seconds=(4 if recipe.lora else 6) * parameters * tokens / product_rate(work.device, plan.dtype),
        parameters=parameters,
        steps=-(-leading // recipe.batch_size) * recipe.epochs,
        longest=max(len(row.ids) for row in work.all_rows),
        plan=plan,
    )


def make_plan(work: Workload, *, free: int | None = None, limit: MemoryLimit | None = None) -> ComputePlan:
    """The fastest plan that fits the memory; the smallest one if none is estimated to.

    free: bytes that may be used, those free now if None. limit: None to refuse nothing.
    Raises MemoryExceeded if no plan stays within the limit; it names the settings that would.
    """
    if limit is None:
        return _fastest(work, free)
    static = work.static_bytes
    # Where the weights alone are too much no plan is looked for; one simulation takes seconds.
    plan = _fastest(work, free, limit.bytes, least=static > limit.bytes)
    if plan.peak_bytes > limit.bytes:
        raise MemoryExceeded(
            f"{limit.refusal}: about {_gib(plan.peak_bytes)} are needed at least, {_gib(static)} of them for weights, "
            f"gradients and optimizer; {_smaller_settings(work, limit.bytes)}"
        )
    if limit.asked is not None:
        plan = replace(plan, why=f"{plan.why}, planned for at most {_gib(limit.asked)} (--max-memory)")
    return plan


def _fastest(work: Workload, free: int | None, most: int | None = None, *, least: bool = False) -> ComputePlan:
    """The fastest plan in `free` bytes whose peak is within `most`, else the smallest one. least: that one in any
    case."""
    facts, recipe, device = work.facts, work.recipe, work.device
    free = free_memory(device) if free is None else free
    static = work.static_bytes
    room = (int(USABLE * free) - static) / (1 + HEAP_WASTE if device.type == "cpu" else 1)
    precision, why = training_precision(recipe, facts, device)
    dtype = DTYPES.get(precision)
    whole = bool(WeightedSum(recipe.weighted_terms(), {}).needs_of_any() & {"logits", "start_logits", "hidden"})
    held = held_dtype(facts, recipe, precision)
    simulated = cache(lambda shape, kind: step_memory(facts.path, recipe.lora, shape, kind))
    padded = not model_packs(facts.path, device, dtype or torch.float32)
    options = list(_options(work.all_rows, recipe, _tokens_for(facts, device, precision), padded))
    plan = None
    for limits, checkpointing in options[-1:] if least else options:
        batches = PairedBatches(work.rows, batch_size=recipe.batch_size, limits=limits, seed=recipe.seed)
        kind = StepKind(dtype, held, checkpointing, whole)
        needed = simulated(largest_micro_batch(batches, recipe.epochs), kind)
        words = f"{limits.tokens} tokens at once, {precision} ({why})"
        words += ", activations computed twice to fit the memory" if checkpointing else ""
        plan = ComputePlan(
            limits=limits,
            precision=precision,
            checkpointing=checkpointing,
            step_bytes=needed,
            peak_bytes=static + needed + (_beside(needed, precision) if device.type == "cpu" else 0),
            why=words,
        )
        if needed <= room and (most is None or plan.peak_bytes <= most):
            break
    assert plan is not None  # noqa: S101  there is always one to try
    return plan


def _options(
    rows: Sequence[Encoded], recipe: Recipe, tokens: MicroBatchTokens, padded: bool
) -> Iterator[tuple[MicroBatchLimits, bool]]:
    """Limits with and without gradient checkpointing, the fastest first."""
    longest = max(len(row.ids) for row in rows)
    most_rows = recipe.micro_batch_size or 3 * recipe.batch_size
    most, fewest = max(tokens.most, longest), max(tokens.fewest, longest)
    halves = [most]
    while halves[-1] // 2 >= fewest:
        halves.append(halves[-1] // 2)
    for checkpointing, sizes in ((False, halves), (True, [*halves, longest])):
        for size in sizes:
            limits = MicroBatchLimits(rows=most_rows, tokens=size, padded=padded, overhead=tokens.overhead)
            yield limits, checkpointing


def _tokens_for(facts: ModelFacts, device: torch.device, precision: str) -> MicroBatchTokens:
    if device.type != "cpu":
        return TOKENS["gpu"]
    if model_width(facts.path) < NARROW:
        return TOKENS["cpu, narrow"]
    return TOKENS["cpu, bf16" if precision == "bf16" else "cpu"]


def largest_micro_batch(batches: PairedBatches, epochs: int) -> MicroBatchShape:
    """The largest one of the epochs' first steps: its rows and length, with as many scored tokens as any has."""
    computed = []
    for epoch in range(min(epochs, -(-LOOKED_AT // len(batches)))):
        batches.set_epoch(epoch)
        for step in itertools.islice(batches.steps(), LOOKED_AT):
            computed += [batches.rows_of(micro_batch) for micro_batch in batches.micro_batches(step)]
    taken = _padded if batches.limits.padded else _together
    largest = max(computed, key=taken)
    return MicroBatchShape(
        rows=len(largest),
        length=-(-taken(largest) // len(largest)),
        scored=max(sum(row.tokens for row in rows) for rows in computed),
    )


def _together(rows: list[Encoded]) -> int:
    return sum(len(row.ids) for row in rows)


def _padded(rows: list[Encoded]) -> int:
    return len(rows) * max(len(row.ids) for row in rows)


# Precision


def training_precision(recipe: Recipe, facts: ModelFacts, device: torch.device) -> tuple[str, str]:
    """fp32, bf16 or fp16, and why: the recipe's, where "auto" is bf16 wherever that is faster."""
    if recipe.precision != "auto":
        return recipe.precision, "as the recipe says"
    if recipe.weights == "bfloat16":
        return "bf16", "the weights are"
    if device.type == "cuda":
        return ("bf16", "the GPU has it") if torch.cuda.is_bf16_supported() else ("fp32", "the GPU has no bf16")
    if device.type != "cpu":
        return "fp32", "bf16 is not known to be faster here"
    if not (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()):
        return "fp32", "the processor has no fast bf16"
    if model_width(facts.path) < NARROW:
        return "fp32", f"bf16 gains nothing below a width of {NARROW}"
    return "bf16", "the processor is fast in it"


def training_dtype(recipe: Recipe, facts: ModelFacts, device: torch.device) -> torch.dtype:
    """What training computes in."""
    return DTYPES.get(training_precision(recipe, facts, device)[0], torch.float32)


def held_dtype(facts: ModelFacts, recipe: Recipe, precision: str) -> torch.dtype:
    """What the model's weights are held in; NF4 weights are made whole layer by layer, in what is computed in."""
    compute = DTYPES.get(precision, torch.float32)
    if recipe.lora is None:
        return torch.bfloat16 if recipe.weights == "bfloat16" else torch.float32
    return compute if recipe.lora.quantisation == "nf4" else frozen_dtype(facts, recipe, compute)


# Memory


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
    written (`checkpoints`), or two of them and the model that comes out, as large as the one that goes in.

    A checkpoint has what is trained, in four bytes a weight whether split or whole, and the optimizer's moments.
    """
    shapes = weight_shapes(facts.path)
    trained = _count(shapes) if recipe.lora is None else _lora_size(shapes, recipe.lora.rank)
    moments = 2 * FLOAT if recipe.optimizer == "adamw" else EIGHT_BIT_MOMENTS
    checkpoint = int(trained * (FLOAT + moments))
    return max(min(recipe.epochs, 3) * checkpoint, min(recipe.epochs, 2) * checkpoint + facts.bytes)


def _beside(step_bytes: int, precision: str) -> int:
    """What a process takes beside its tensors."""
    return RUNTIME + int(HEAP_WASTE * step_bytes) + (0 if precision == "fp32" else KERNELS)


def free_memory(device: torch.device) -> int:
    """Bytes that a run may take on the device beside what this process holds."""
    if device.type == "cuda":
        # What this process's allocator keeps and nobody uses is free, too, though not to others.
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + kept
    return min([int(psutil.virtual_memory().available), *left_to_group()])


def available_memory(device: torch.device) -> int:
    """Bytes that this process may take in all, what it holds now among them: as a peak is counted."""
    if device.type == "cuda":
        return free_memory(device) + torch.cuda.memory_allocated(device)
    return free_memory(device) + int(psutil.Process().memory_info().rss)


def left_to_group(root: Path = CONTROL_GROUP) -> list[int]:
    """What a container's limit leaves in bytes, if it has one: Linux's control groups, of either version. What is only
    a copy of files counts as left, since the system drops it when it needs to."""
    left = []
    for folder, limit, used in ((root, "memory.max", "memory.current"), (root / "memory", *GROUP_V1)):
        try:
            most, now, details = ((folder / name).read_text() for name in (limit, used, "memory.stat"))
        except OSError:  # of the other version, or a system without
            continue
        if most.strip().isdigit():  # else "max"
            files = sum(int(size) for size in re.findall(r"^inactive_file (\d+)$", details, re.MULTILINE))
            left.append(max(0, int(most) - int(now) + files))
    return left


# What would fit where the run does not


def _smaller_settings(work: Workload, most: int) -> str:
    """Which settings fit into `most` bytes, known from planning with each of them, in words."""
    fitting: list[tuple[int, str]] = []
    others: list[tuple[int, str]] = []
    longest = max(len(row.ids) for row in work.all_rows)
    for name, recipe, length in smaller(work.recipe, longest, work.holders > 1):
        if not work.options.issuperset(part for part in name.split() if part.startswith("--")):
            continue
        rows = {role: [_cut(row, length) for row in some] for role, some in work.rows.items()}
        other = replace(work, recipe=recipe, rows=rows)
        needed = other.static_bytes
        if needed <= most:
            needed = _fastest(other, None, least=True).peak_bytes
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
    return row.cut(length) if row.start < length else Encoded(row.ids[:length], length - 1)


# Figures


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


def _gib(count: int) -> str:
    return f"{count / 2**30:.2f} GiB"


def _count(shapes: Mapping[str, Sequence[int]]) -> int:
    return sum(prod(shape) for shape in shapes.values())


def _is_outer(name: str) -> bool:
    """Embeddings and head, which stay whole and without adapters."""
    return "embed" in name or "head" in name or "wte" in name or "wpe" in name


def _lora_size(shapes: dict[str, list[int]], rank: int) -> int:
    """Adapter weights on every linear layer but the embeddings and the head."""
    linear = [shape for name, shape in shapes.items() if len(shape) == 2 and not _is_outer(name)]
    return sum(rank * sum(shape) for shape in linear)


def _mean_length(rows: Sequence[Encoded]) -> float:
    return sum(len(row.ids) for row in rows) / len(rows) if rows else 0.0
