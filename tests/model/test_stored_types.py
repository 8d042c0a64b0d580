"""Weights stored in float32 among others in bfloat16: loaded, trained and scored with the numbers that are stored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from forgetctl.model._stored_types import most_stored
from forgetctl.model.directories import ModelFacts
from forgetctl.model.export import save_model
from forgetctl.model.load import frozen_dtype, load_for_training, load_model
from forgetctl.model.split_weights import join, low_half
from forgetctl.recipe.recipe import Recipe
from tests.model.tiny_checkpoints import write_checkpoint

CPU = torch.device("cpu")
HALF, FULL = torch.bfloat16, torch.float32


def facts(path: Path) -> ModelFacts:
    return ModelFacts(path=path, bytes=0, context=None, layers=None, dtype=HALF)


def recipe(**changes: Any) -> Recipe:
    return Recipe.model_validate({"method": "npo-rt", **changes})


def checkpoint(path: Path, kind: str, *wide: str) -> Path:
    """A bfloat16 checkpoint that keeps some weights in float32, with numbers that bfloat16 does not have."""
    write_checkpoint(kind, path)
    weights = load_file(path / "model.safetensors")
    for name in weights:
        if name.endswith(wide):
            weights[name] = weights[name].float() + torch.rand(weights[name].shape) * 1e-2
    save_file(weights, path / "model.safetensors", {"format": "pt"})
    return path


@pytest.fixture
def linear(tmp_path: Path) -> Path:
    """With the decay of linear attention in float32, as Qwen3.5's checkpoints have it."""
    return checkpoint(tmp_path / "linear", "Qwen3.5", "A_log", "dt_bias")


def test_transformers_rounds_them(linear: Path) -> None:
    """Else there would be nothing to do."""
    import transformers

    plain = transformers.AutoModelForCausalLM.from_pretrained(str(linear), dtype=HALF)
    assert plain.model.layers[0].linear_attn.A_log.dtype == HALF


def test_what_a_model_can_compute_with_is_held_as_it_is_stored(linear: Path) -> None:
    model, stored = load_model(linear, CPU, HALF), load_file(linear / "model.safetensors")
    for name, weight in model.named_parameters():
        wide = name.endswith(("A_log", "dt_bias"))
        assert weight.dtype == (FULL if wide else HALF)
        assert torch.equal(weight.data, stored[name])


def test_what_it_cannot_compute_with_is_rounded_as_transformers_does(tmp_path: Path) -> None:
    """A weight of a linear layer in float32 meets states in bfloat16."""
    path = checkpoint(tmp_path / "start", "Llama", "up_proj.weight")
    model, stored = load_model(path, CPU, HALF), load_file(path / "model.safetensors")
    weight = model.model.layers[1].mlp.up_proj.weight
    assert weight.dtype == HALF
    assert torch.equal(weight.data, stored["model.layers.1.mlp.up_proj.weight"].to(HALF))
    model(input_ids=torch.arange(3, 8)[None])


@pytest.mark.parametrize("precision", ["bf16", None])
def test_a_precision_that_was_asked_for_is_one_of_all_weights(precision: str | None, linear: Path) -> None:
    model = load_model(linear, CPU, HALF, precision)
    assert ({weight.dtype for weight in model.parameters()} == {HALF}) == (precision == "bf16")


def test_split_weights_begin_with_the_stored_numbers(linear: Path, tmp_path: Path) -> None:
    model = load_for_training(facts(linear), CPU, recipe(weights="bfloat16"), HALF)
    stored = load_file(linear / "model.safetensors")
    for name, weight in model.named_parameters():
        assert torch.equal(join(weight.data, low_half(weight)), stored[name].float())
    save_model(model, facts(linear), tmp_path / "out")
    assert (tmp_path / "out/model.safetensors").read_bytes() == (linear / "model.safetensors").read_bytes()


@pytest.mark.parametrize(("dtype", "held"), [(HALF, HALF), (FULL, FULL), (torch.float16, FULL)])
def test_frozen_weights_are_rounded_only_if_they_are_stored_so(
    dtype: torch.dtype, held: torch.dtype, tmp_path: Path
) -> None:
    """Whatever the config says that they are."""
    write_checkpoint("Llama", tmp_path / "start", dtype)
    assert most_stored(tmp_path / "start") == dtype
    assert frozen_dtype(facts(tmp_path / "start"), recipe(lora={}), HALF) == held
