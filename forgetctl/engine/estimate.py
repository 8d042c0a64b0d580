"""How much memory and time a run will take, from the model's shapes and the rows' lengths alone."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..recipe import Recipe
from .encoding import Encoded
from .models import ModelFacts, weight_shapes
from .schedule import PairedBatches

FLOAT = 4
RUNTIME = 450 * 2**20
"""Bytes that the interpreter takes with torch and transformers loaded, measured on Linux."""


@dataclass(frozen=True)
class Estimate:
    """Peak memory in bytes and time in seconds, with the parameters, steps and longest row they rest on."""

    memory: int
    seconds: float
    parameters: int
    steps: int
    longest: int


def estimate(
    facts: ModelFacts,
    forget: Sequence[Encoded],
    retain: Sequence[Encoded],
    recipe: Recipe,
    device: torch.device,
) -> Estimate:
    """Estimate a run; `retain` is empty for a loss that does not read it.

    Memory: weights, gradients, AdamW's two moments, activations of the largest micro-batch.

    Time: 6 operations per parameter and token at the matrix-product rate measured now; 4 with adapters, whose
    weight gradients are negligible.
    """
    shapes = weight_shapes(facts.path)
    parameters = sum(_size(shape) for shape in shapes.values())
    batches = PairedBatches(
        forget,
        retain,
        batch_size=recipe.batch_size,
        micro_batch_size=recipe.micro_batch_size,
        seed=recipe.seed,
    )
    trained = _lora_size(shapes, recipe.lora.rank) if recipe.lora else parameters
    rows = (2 if retain else 1) * min(batches.micro_size, len(forget))
    longest = max(len(row.ids) for row in (*forget, *retain))
    memory = FLOAT * (parameters + 3 * trained) + _activations(facts.path, forget, retain, rows, longest)
    tokens = len(forget) * (_mean(forget) + _mean(retain)) * recipe.epochs
    seconds = (4 if recipe.lora else 6) * parameters * tokens / _rate(device)
    runtime = RUNTIME if device.type == "cpu" else 0
    return Estimate(int(memory + runtime), seconds, parameters, batches.updates * recipe.epochs, longest)


def _size(shape: list[int]) -> int:
    size = 1
    for length in shape:
        size *= length
    return size


def _lora_size(shapes: dict[str, list[int]], rank: int) -> int:
    """Adapter weights on every linear layer but the embeddings and the head."""
    linear = [shape for name, shape in shapes.items() if len(shape) == 2 and "embed" not in name and "head" not in name]
    return sum(rank * sum(shape) for shape in linear)


def _activations(path: Path, forget: Sequence[Encoded], retain: Sequence[Encoded], rows: int, longest: int) -> int:
    """Values kept for the backward pass: about 16 hidden and 4 feed-forward vectors a token and layer (a decoder
    block with fused attention), and three copies of the answer logits (float32, softmax, gradient)."""
    config: dict[str, Any] = json.loads((path / "config.json").read_text(encoding="utf-8"))
    config = config.get("text_config", config)
    hidden = config.get("hidden_size") or config.get("n_embd") or 0
    inner = config.get("intermediate_size") or config.get("n_inner") or 4 * hidden
    layers = config.get("num_hidden_layers") or config.get("n_layer") or 0
    vocabulary: int = config.get("vocab_size", 0)
    answers = max(row.tokens for row in (*forget, *retain))
    per_token = layers * (16 * hidden + 4 * inner)
    return FLOAT * rows * (longest * per_token + 3 * answers * vocabulary)


def _mean(rows: Sequence[Encoded]) -> float:
    return sum(len(row.ids) for row in rows) / len(rows) if rows else 0.0


def _rate(device: torch.device, size: int = 1024, repeats: int = 5) -> float:
    """Operations a second of a float32 matrix product, here and now."""
    matrix = torch.randn(size, size, device=device)
    matrix @ matrix
    started = time.perf_counter()
    for _ in range(repeats):
        matrix = (matrix @ matrix).clamp_(-1, 1)
    float(matrix.sum())  # waits for an accelerator
    return 2 * size**3 * repeats / (time.perf_counter() - started)
