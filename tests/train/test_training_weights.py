"""Weights as training holds them: float32, split, bfloat16 or NF4; and what is saved of them."""

import copy
from pathlib import Path
from typing import Any

import bitsandbytes
import pytest
import torch
from bitsandbytes.functional import dequantize_4bit
from safetensors.torch import load_file
from torch import Tensor, nn

from forgetctl.demo.training import save
from forgetctl.errors import ModelError
from forgetctl.losses.methods import WeightedSum
from forgetctl.model.encoding import Encoded
from forgetctl.model.export import save_model
from forgetctl.model.load import (
    ModelFacts,
    add_lora,
    inspect_model,
    load_for_training,
    load_model,
)
from forgetctl.model.scoring import answer_logp, pad_rows, score
from forgetctl.model.split_weights import is_split, join, low_half
from forgetctl.recipe.recipe import Recipe
from forgetctl.train.fine_tuning import fine_tune, fine_tuning
from forgetctl.train.plan import ComputePlan
from forgetctl.train.schedule import MicroBatchLimits
from forgetctl.train.term_inputs import TermInputs
from forgetctl.train.trainer import ObjectiveTrainer, TrainingSetup, TrainingTask
from tests.world import encoded_rows, encoder_of, half_taught

CPU = torch.device("cpu")
HALF, FULL = torch.bfloat16, torch.float32
LORA = {"rank": 4, "alpha": 8}
QLORA = {**LORA, "quantisation": "nf4"}


def recipe(**changes: Any) -> Recipe:
    return Recipe.model_validate({"method": "npo-rt", "learning_rate": 1e-3, "warmup_epochs": 0.0, **changes})


@pytest.fixture(scope="module")
def rows(world: Path) -> list[Encoded]:
    return encoded_rows(world, "requests.jsonl")


@pytest.fixture(scope="module")
def retain(world: Path) -> list[Encoded]:
    return encoded_rows(world, "remaining.jsonl")


@pytest.fixture(scope="module")
def starts(world: Path, rows: list[Encoded], tmp_path_factory: pytest.TempPathFactory) -> dict[torch.dtype, ModelFacts]:
    """A model that half knows the rows, as wide as a block of NF4, stored in both types."""
    tokenizer, folder = encoder_of(world).tokenizer, tmp_path_factory.mktemp("starts")
    model = half_taught(tokenizer, rows, width=64, epochs=10)
    found = {}
    for dtype in (FULL, HALF):
        save(copy.deepcopy(model).to(dtype), tokenizer, folder / str(dtype))
        found[dtype] = inspect_model(folder / str(dtype))
    return found


def saved(model: Any, start: ModelFacts, folder: Path) -> dict[str, Tensor]:
    save_model(model, start, folder)
    return load_file(folder / "model.safetensors")


def stored(start: ModelFacts) -> dict[str, Tensor]:
    return load_file(start.path / "model.safetensors")


def gradients(model: Any, rows: list[Encoded]) -> dict[str, Tensor]:
    model.zero_grad()
    model.train()
    (-answer_logp(model, pad_rows(rows)).sum()).backward()
    return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}


def stirred(model: Any, size: float = 0.02) -> Any:
    """The model with adapters that change something, as training leaves them."""
    generator = torch.Generator().manual_seed(5)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            nn.init.normal_(weight, std=size, generator=generator)
    return model


# How weights are held


@pytest.mark.parametrize(
    ("changes", "at", "compute", "held"),
    [
        ({}, FULL, FULL, FULL),
        ({}, HALF, HALF, FULL),  # float32 masters, whatever is computed in
        ({"weights": "float32"}, HALF, HALF, FULL),
        ({"weights": "bfloat16"}, HALF, HALF, HALF),
        ({"weights": "bfloat16"}, FULL, HALF, HALF),
        ({"lora": LORA}, FULL, HALF, FULL),
        ({"lora": LORA}, HALF, FULL, FULL),
        ({"lora": LORA}, HALF, HALF, HALF),  # nothing is lost, since nothing of it is trained
        ({"lora": LORA, "weights": "float32"}, HALF, HALF, FULL),
        ({"lora": LORA, "weights": "bfloat16"}, FULL, HALF, HALF),
    ],
)
def test_weights_are_held_as_the_recipe_says(
    changes: dict[str, Any],
    at: torch.dtype,
    compute: torch.dtype,
    held: torch.dtype,
    starts: dict[torch.dtype, ModelFacts],
) -> None:
    model = load_for_training(starts[at], CPU, recipe(**changes), compute)
    assert {weight.dtype for weight in model.parameters()} == {held}
    split = changes.get("weights") == "bfloat16" and "lora" not in changes
    assert {is_split(weight) for weight in model.parameters()} == {split}


def test_split_weights_keep_all_bits_of_the_start(starts: dict[torch.dtype, ModelFacts]) -> None:
    chosen = recipe(weights="bfloat16")
    cut = load_for_training(starts[FULL], CPU, chosen, HALF)
    whole = load_model(starts[FULL].path, CPU, FULL)
    for ours, theirs in zip(cut.parameters(), whole.parameters(), strict=True):
        assert torch.equal(join(ours.data, low_half(ours)), theirs)
    exact = load_for_training(starts[HALF], CPU, chosen, HALF)
    assert all(not low_half(weight).any() for weight in exact.parameters())


@pytest.mark.parametrize("compute", [FULL, HALF])
def test_qlora_holds_nothing_in_more_than_it_computes_in(
    compute: torch.dtype, starts: dict[torch.dtype, ModelFacts]
) -> None:
    """Embeddings, norms and head are held as computed; layers in half a byte a weight; only adapters are float32."""
    chosen = recipe(lora=QLORA)
    assert chosen.lora is not None
    model = load_for_training(starts[HALF], CPU, chosen, compute)
    layers = [part for part in model.modules() if isinstance(part, bitsandbytes.nn.Linear4bit)]
    assert len(layers) == 2 * 7
    for layer in layers:
        assert layer.weight.quant_type == "nf4"
        assert layer.weight.quant_state.nested
        assert layer.weight.nbytes == layer.in_features * layer.out_features / 2
        assert layer.compute_dtype == compute
    assert {weight.dtype for weight in model.parameters()} == {torch.uint8, compute}
    adapted = add_lora(model, chosen.lora)
    trained = {name: weight for name, weight in adapted.named_parameters() if weight.requires_grad}
    assert all("lora_" in name and weight.dtype == FULL for name, weight in trained.items())
    assert len(trained) == 2 * len(layers)


def test_a_layer_too_narrow_for_nf4_is_refused(world: Path) -> None:
    with pytest.raises(ModelError, match="has a layer of 32 inputs, nf4 needs 64"):
        load_for_training(inspect_model(world / "model"), CPU, recipe(lora=QLORA), FULL)


# Training on NF4


def plain_twin(model: Any) -> Any:
    """The same model with its quantised layers as ordinary ones of the values that they stand for."""
    twin = copy.deepcopy(model)
    for name, layer in list(twin.named_modules()):
        if isinstance(layer, bitsandbytes.nn.Linear4bit):
            plain = nn.Linear(layer.in_features, layer.out_features, bias=False)
            plain.weight.data = dequantize_4bit(layer.weight.data, layer.weight.quant_state).float()
            parent, _, own = name.rpartition(".")
            setattr(twin.get_submodule(parent), own, plain.requires_grad_(False))
    return twin


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("evaluated", [False, True], ids=["at-once", "after-an-evaluation"])
def test_gradients_are_those_of_the_dequantised_model(
    evaluated: bool, checkpointing: bool, starts: dict[torch.dtype, ModelFacts], rows: list[Encoded]
) -> None:
    """Also after an evaluation, which makes bitsandbytes repack weights for a kernel without a backward pass."""
    chosen = recipe(lora=QLORA)
    assert chosen.lora is not None
    model = load_for_training(starts[FULL], CPU, chosen, FULL)
    twin = stirred(add_lora(plain_twin(model), chosen.lora))
    if evaluated:
        score(model, rows)
    adapted = stirred(add_lora(model, chosen.lora))
    adapted.load_state_dict({name: value for name, value in twin.state_dict().items() if "lora_" in name}, strict=False)
    if checkpointing:
        adapted.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    ours, theirs = gradients(adapted, rows[:4]), gradients(twin, rows[:4])
    assert ours.keys() == theirs.keys()
    for name, expected in theirs.items():
        assert torch.allclose(ours[name], expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max())), name


def test_without_its_adapters_it_is_the_start(starts: dict[torch.dtype, ModelFacts], rows: list[Encoded]) -> None:
    chosen = recipe(lora=QLORA)
    assert chosen.lora is not None
    model = load_for_training(starts[FULL], CPU, chosen, FULL)
    before = score(model, rows)
    adapted = stirred(add_lora(model, chosen.lora), 0.2)
    assert score(adapted, rows) != before
    with adapted.disable_adapter():
        assert score(adapted, rows) == before


# What is saved


@pytest.mark.parametrize(("at", "changes"), [(FULL, {}), (HALF, {}), (FULL, {"lora": QLORA}), (HALF, {"lora": LORA})])
def test_an_untouched_model_comes_out_as_it_went_in(
    at: torch.dtype, changes: dict[str, Any], starts: dict[torch.dtype, ModelFacts], tmp_path: Path
) -> None:
    """Bit by bit: no rounding and no quantisation of training ships."""
    chosen = recipe(**(changes or {"weights": "bfloat16"}))
    model = load_for_training(starts[at], CPU, chosen, HALF)
    model = add_lora(model, chosen.lora) if chosen.lora else model
    before, after = stored(starts[at]), saved(model, starts[at], tmp_path / "out")
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)


@pytest.mark.parametrize(
    ("at", "changes"),
    [(FULL, {"lora": QLORA}), (HALF, {"lora": QLORA}), (HALF, {"lora": LORA})],
    ids=["nf4-float32", "nf4-bfloat16", "bfloat16"],
)
def test_adapters_are_added_to_the_starts_own_weights(
    at: torch.dtype, changes: dict[str, Any], starts: dict[torch.dtype, ModelFacts], tmp_path: Path
) -> None:
    """W + (alpha / rank) B A in float32, rounded once to what the start is stored in."""
    chosen = recipe(**changes)
    assert chosen.lora is not None
    model = stirred(add_lora(load_for_training(starts[at], CPU, chosen, HALF), chosen.lora))
    parts = {name: weight.detach().clone() for name, weight in model.named_parameters() if "lora_" in name}
    after = saved(model, starts[at], tmp_path / "out")
    for name, weight in stored(starts[at]).items():
        inner = f"base_model.model.{name.removesuffix('.weight')}"
        if f"{inner}.lora_A.default.weight" in parts:
            change = 2 * parts[f"{inner}.lora_B.default.weight"] @ parts[f"{inner}.lora_A.default.weight"]
            expected = (weight.float() + change).to(at)
            assert not torch.equal(expected, weight)
            close = torch.isclose(after[name].float(), expected.float(), rtol=2**-7 if at == HALF else 1e-5, atol=1e-7)
            assert bool(close.all())
            assert float((after[name] == expected).float().mean()) > 0.99
        else:
            assert torch.equal(after[name], weight)


def test_what_qlora_learned_ships(starts: dict[torch.dtype, ModelFacts], rows: list[Encoded], tmp_path: Path) -> None:
    """Adapters learned over NF4 do on the full weights what they did in training, but for NF4's own error."""
    chosen, start = recipe(lora=QLORA), starts[FULL]
    assert chosen.lora is not None
    model = load_for_training(start, CPU, chosen, FULL)
    before = torch.tensor(score(model, rows))
    adapted = add_lora(model, chosen.lora)
    fine_tune(adapted, rows, fine_tuning(epochs=40, learning_rate=1e-2, seed=0))
    trained = torch.tensor(score(adapted, rows))
    saved(adapted, start, tmp_path / "out")
    shipped = load_model(tmp_path / "out", CPU, FULL)
    assert not any(isinstance(part, bitsandbytes.nn.Linear4bit) for part in shipped.modules())
    loaded = torch.tensor(score(shipped, rows))
    gained, apart = (trained - before).mean(), (loaded - trained).abs().mean()
    assert gained > 1
    assert apart < 0.1 * gained


# In the trainer


def trainer_of(
    start: ModelFacts, chosen: Recipe, rows: list[Encoded], retain: list[Encoded], folder: Path, precision: str
) -> ObjectiveTrainer:
    compute = HALF if precision == "bf16" else FULL
    plan = ComputePlan(limits=MicroBatchLimits(rows=8, tokens=1000), precision=precision)
    model = load_for_training(start, CPU, chosen, compute)
    with plan.autocast(CPU):
        before = score(model, rows)
    torch.manual_seed(0)
    model = add_lora(model, chosen.lora) if chosen.lora else model
    loss = WeightedSum(chosen.weighted_terms(), chosen.all_hyperparameters())
    task = TrainingTask(loss=loss, rows={"forget": rows, "retain": retain}, inputs=TermInputs(start_logp=before))
    return ObjectiveTrainer(model, task, TrainingSetup(recipe=chosen, plan=plan, checkpoints=folder))


@pytest.mark.parametrize(
    ("changes", "precision"),
    [
        ({"weights": "bfloat16", "optimizer": "adamw8bit"}, "bf16"),
        ({"lora": QLORA, "optimizer": "adamw8bit"}, "fp32"),
    ],
    ids=["split-8-bit", "qlora-8-bit"],
)
def test_training_resumes_exactly(
    changes: dict[str, Any],
    precision: str,
    starts: dict[torch.dtype, ModelFacts],
    rows: list[Encoded],
    retain: list[Encoded],
    tmp_path: Path,
) -> None:
    chosen = recipe(epochs=2, batch_size=8, **changes)

    def make(name: str) -> ObjectiveTrainer:
        return trainer_of(starts[FULL], chosen, rows[:8], retain, tmp_path / name, precision)

    straight = make("straight")
    begin = {name: weight.detach().clone() for name, weight in straight.model.named_parameters()}
    straight.train()
    resumed = make("resumed")
    resumed.train(resume_from_checkpoint=str(tmp_path / "straight" / "checkpoint-1"))
    ours, theirs = dict(resumed.model.named_parameters()), dict(straight.model.named_parameters())
    assert any(not torch.equal(theirs[name], begin[name]) for name in begin)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    if "weights" in changes:
        assert all(torch.equal(low_half(ours[name]), low_half(theirs[name])) for name in theirs)


def test_a_tiny_rate_still_moves_bfloat16_weights(
    starts: dict[torch.dtype, ModelFacts], rows: list[Encoded], retain: list[Encoded], tmp_path: Path
) -> None:
    """At 1e-6 a step, most bfloat16 weights stay, and yet every float32 weight that has a gradient has moved."""
    chosen = recipe(epochs=2, learning_rate=1e-6, weights="bfloat16")
    made = trainer_of(starts[HALF], chosen, rows[:8], retain, tmp_path, "bf16")
    made.train()
    after = load_model(starts[HALF].path, CPU, HALF)
    name = "model.layers.0.mlp.up_proj.weight"
    weight, start = made.model.get_parameter(name), after.get_parameter(name)
    assert float((weight == start).float().mean()) > 0.9
    moved = join(weight.data, low_half(weight)) != start.float()
    assert float(moved.float().mean()) > 0.99
