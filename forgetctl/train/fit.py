"""How a run is computed on this machine: how much at once, in which precision, keeping activations or not.

None of it changes what is computed but for rounding. It is chosen once a run and kept with it, so that a resumed run
rounds as before.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import psutil
import torch

from ..losses.methods import WeightedSum
from ..model.encoding import Encoded
from ..model.load import ModelFacts, frozen_dtype
from ..recipe.recipe import Recipe
from .schedule import Limits, PairedBatches
from .simulation import Load, Way, model_packs, model_width, step_memory


@dataclass(frozen=True)
class Worth:
    """What is worth to be computed at once on a kind of device, in tokens.

    most: beyond them nothing is gained. fewest: below them products of matrices become slow, or a GPU waits for the
    processor that tells it what to do; activations are computed twice sooner than go below. part: what a part costs
    beside its tokens.
    """

    most: int
    fewest: int
    part: int


WORTH = {
    "cpu": Worth(1024, 512, 64),
    "cpu, bf16": Worth(2048, 512, 64),
    "cpu, narrow": Worth(4096, 512, 64),
    "gpu": Worth(32768, 4096, 1024),
}
"""Where products are fast, or small as in a narrow model, what a part costs beside them counts for more: copies of the
weights in bfloat16, gradients added up, calls."""
USABLE = 0.9
"""The part of the free memory that is planned for; the rest is for what no estimate sees."""
HEAP_WASTE = 0.7
"""Gaps in a C library's heap for each byte of a step, since freed blocks stay in it, cut up by parts of other sizes;
measured with glibc."""
NARROW = 512
"""Widths below which bfloat16 gains nothing on a CPU, since converting costs what the products save, and a part of
many tokens is still small."""
LOOKED_AT = 100
"""Steps in which the largest part is looked for."""
CONTROL_GROUP = Path("/sys/fs/cgroup")
GROUP_V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes")
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Fit:
    """limits: of what is computed at once. precision: fp32, bf16 or fp16, with float32 weights. checkpointing: inner
    activations are computed again for the backward pass. step_bytes: estimated for a part of a step, beside weights,
    gradients and optimizer. why: in a few words, for the owner."""

    limits: Limits
    precision: str
    checkpointing: bool
    step_bytes: int
    why: str

    def autocast(self, device: torch.device) -> torch.autocast:
        """The precision that training computes in, for scores that training compares with."""
        return torch.autocast(device.type, dtype=DTYPES.get(self.precision), enabled=self.precision in DTYPES)

    def repeats(self, device: torch.device) -> bool:
        """Whether the same run gives the same weights, bit for bit. A GPU's attention in half precision adds up the
        gradients of its keys in whatever order they come."""
        return device.type == "cpu" or (device.type == "cuda" and self.precision == "fp32")

    def as_json(self) -> dict[str, Any]:
        """Plain values for the run directory."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Fit:
        """Back from `as_json`."""
        return cls(**{**values, "limits": Limits(**values["limits"])})


def choose_fit(
    facts: ModelFacts,
    forget: Sequence[Encoded],
    retain: Sequence[Encoded],
    recipe: Recipe,
    device: torch.device,
    *,
    unseen: Sequence[Encoded] = (),
    static: int,
    free: int | None = None,
    allowed: Callable[[Fit], bool] = lambda _: True,
    least: bool = False,
) -> Fit:
    """The fastest way that fits the memory; the smallest way if none is estimated to.

    static: bytes of weights, gradients and optimizer. free: bytes that may be used, those free now if None. allowed:
    whether a way is one that the owner allows. least: look at the smallest way alone.
    """
    free = free_memory(device) if free is None else free
    precision, why = training_precision(recipe, facts, device)
    loss = WeightedSum(recipe.weighted_terms(), {})
    needs = loss.needs("forget") | loss.needs("retain") | loss.needs("unseen")
    whole = bool(needs & {"logits", "start_logits", "hidden"})
    room = (int(USABLE * free) - static) / (1 + HEAP_WASTE if device.type == "cpu" else 1)
    fit = None
    simulated = cache(lambda load, way: step_memory(facts.path, recipe.lora, load, way))
    padded = not model_packs(facts.path, device, DTYPES.get(precision, torch.float32))
    worth = _worth(facts, device, precision)
    ways = list(_ways([*forget, *retain, *unseen], recipe, worth, padded))
    for limits, checkpointing in ways[-1:] if least else ways:
        batches = PairedBatches(
            forget, retain, unseen=unseen, batch_size=recipe.batch_size, limits=limits, seed=recipe.seed
        )
        load = heaviest(batches, recipe.epochs)
        way = Way(DTYPES.get(precision), held_dtype(facts, recipe, precision), checkpointing, whole)
        needed = simulated(load, way)
        words = f"{limits.tokens} tokens at once, {precision} ({why})"
        words += ", activations computed twice to fit the memory" if checkpointing else ""
        fit = Fit(limits, precision, checkpointing, needed, words)
        if needed <= room and allowed(fit):
            break
    assert fit is not None  # noqa: S101  there is always a way to try
    return fit


def held_dtype(facts: ModelFacts, recipe: Recipe, precision: str) -> torch.dtype:
    """What the model's weights are held in; NF4 weights are made whole layer by layer, in what is computed in."""
    compute = DTYPES.get(precision, torch.float32)
    if recipe.lora is None:
        return torch.bfloat16 if recipe.weights == "bfloat16" else torch.float32
    return compute if recipe.lora.quantisation == "nf4" else frozen_dtype(facts, recipe, compute)


def _worth(facts: ModelFacts, device: torch.device, precision: str) -> Worth:
    if device.type != "cpu":
        return WORTH["gpu"]
    if model_width(facts.path) < NARROW:
        return WORTH["cpu, narrow"]
    return WORTH["cpu, bf16" if precision == "bf16" else "cpu"]


def _ways(rows: Sequence[Encoded], recipe: Recipe, worth: Worth, padded: bool) -> Iterator[tuple[Limits, bool]]:
    """Limits with and without checkpointing, the fastest first."""
    longest = max(len(row.ids) for row in rows)
    most_rows = recipe.micro_batch_size or 3 * recipe.batch_size
    most, fewest = max(worth.most, longest), max(worth.fewest, longest)
    halves = [most]
    while halves[-1] // 2 >= fewest:
        halves.append(halves[-1] // 2)
    yield from ((Limits(most_rows, tokens, padded, worth.part), False) for tokens in halves)
    yield from ((Limits(most_rows, tokens, padded, worth.part), True) for tokens in (*halves, longest))


def heaviest(batches: PairedBatches, epochs: int) -> Load:
    """The largest part of the epochs' first steps: its rows and length, with as many scored tokens as any part has."""
    parts = []
    for epoch in range(min(epochs, -(-LOOKED_AT // len(batches)))):
        batches.set_epoch(epoch)
        for step in itertools.islice(batches.steps(), LOOKED_AT):
            parts += [batches.of(part) for part in batches.parts(step)]
    taken = _padded if batches.limits.padded else _together
    largest = max(parts, key=taken)
    return Load(
        len(largest), -(-taken(largest) // len(largest)), max(sum(row.tokens for row in part) for part in parts)
    )


def _together(part: list[Encoded]) -> int:
    return sum(len(row.ids) for row in part)


def _padded(part: list[Encoded]) -> int:
    return len(part) * max(len(row.ids) for row in part)


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
            files = sum(int(found) for found in re.findall(r"^inactive_file (\d+)$", details, re.MULTILINE))
            left.append(max(0, int(most) - int(now) + files))
    return left


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
