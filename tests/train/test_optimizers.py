"""Updates of split weights against float32's own; 8-bit moments; optimizers that continue where they stopped."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from bitsandbytes.optim import AdamW8bit
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from forgetctl.model.split_weights import join, low_half, split, split_weights
from forgetctl.recipe.recipe import Recipe
from forgetctl.train._eight_bits import EightBitAdamW
from forgetctl.train._optimizers import SplitOptimizer, choose_optimizer

RATE = 1e-5
KINDS = ["adamw", "adamw8bit"]
SHAPES = ((64, 80), (33, 7), (5,))  # more than 4096 values, fewer, and a vector


def recipe(**changes: Any) -> Recipe:
    return Recipe.model_validate({"method": "npo", "learning_rate": RATE, **changes})


def layers(seed: int = 0) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    return nn.ParameterList([torch.randn(shape, generator=generator) for shape in SHAPES])


def optimizer_of(model: nn.Module, kind: str) -> Optimizer:
    """As transformers.Trainer makes it: matrices in a group with weight decay, the rest without."""
    cls, options = choose_optimizer(recipe(optimizer=kind), model)
    weights = list(model.parameters())
    groups = [
        {"params": [weight for weight in weights if weight.ndim > 1], "weight_decay": 0.01},
        {"params": [weight for weight in weights if weight.ndim == 1], "weight_decay": 0.0},
    ]
    return cls(groups, **options)  # type: ignore[call-arg]


def gradients(steps: int, seed: int = 1) -> Iterator[list[Tensor]]:
    """Gradients that bfloat16 holds exactly, so that both sides can be given the same."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        yield [torch.randn(shape, generator=generator).bfloat16() for shape in SHAPES]


def train(model: nn.Module, optimizer: Optimizer, steps: int, seed: int = 1) -> None:
    """With a rate that falls, as schedules do."""
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.1, steps)
    for step in gradients(steps, seed):
        for weight, gradient in zip(model.parameters(), step, strict=True):
            weight.grad = gradient.to(weight.dtype)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()


def joined(model: nn.Module) -> list[Tensor]:
    return [join(weight.data, low_half(weight)) for weight in model.parameters()]


# Updates


@pytest.mark.parametrize("kind", KINDS)
def test_split_weights_are_updated_as_float32_ones(kind: str) -> None:
    """Bit by bit, over 50 steps, in both kinds of moments."""
    whole, cut = layers(), layers()
    split_weights(cut)
    train(whole, optimizer_of(whole, kind), 50)
    train(cut, optimizer_of(cut, kind), 50)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(joined(cut), whole.parameters(), strict=True))
    assert all(torch.equal(w.data, split(m)[0]) for w, m in zip(cut.parameters(), joined(cut), strict=True))


def test_without_low_halves_the_updates_are_lost() -> None:
    """Else the test above would show nothing: a step of 1e-5 is far below bfloat16's near 1."""
    whole, rounded, start = layers(), layers(), layers()
    rounded.to(torch.bfloat16)
    start.to(torch.bfloat16)
    train(whole, optimizer_of(whole, "adamw"), 50)
    train(rounded, optimizer_of(rounded, "adamw"), 50)
    large = [weight.abs() > 0.1 for weight in start.parameters()]
    pairs = list(zip(rounded.parameters(), start.parameters(), large, strict=True))
    assert all(torch.equal(now[where], then[where]) for now, then, where in pairs)
    assert all(bool((now != then).any()) for now, then in zip(whole.parameters(), layers().parameters(), strict=True))


def test_a_weight_without_gradient_stays() -> None:
    model = layers()
    split_weights(model)
    optimizer = optimizer_of(model, "adamw")
    before = joined(model)
    first = next(model.parameters())
    first.grad = torch.ones_like(first)
    optimizer.step()
    after = joined(model)
    assert not torch.equal(before[0], after[0])
    assert torch.equal(before[1], after[1])


def test_nothing_stays_in_float32_between_steps() -> None:
    model = layers()
    split_weights(model)
    optimizer = optimizer_of(model, "adamw8bit")
    train(model, optimizer, 2)
    assert isinstance(optimizer, SplitOptimizer)
    assert all(update.master.numel() == 0 and update.master.grad is None for update in optimizer.updates.values())


def test_a_closure_is_refused() -> None:
    model = layers()
    split_weights(model)
    with pytest.raises(ValueError, match="gradients that are there already"):
        optimizer_of(model, "adamw").step(lambda: 0.0)


# 8 bits


@pytest.mark.parametrize("cut", [False, True], ids=["whole", "split"])
def test_moments_take_one_byte_a_value(cut: bool) -> None:
    """Of tensors of 4096 values and more; smaller ones are left in float32."""
    model = layers()
    if cut:
        split_weights(model)
    optimizer = optimizer_of(model, "adamw8bit")
    train(model, optimizer, 1)
    states = [moments(optimizer, weight) for weight in model.parameters()]
    sizes = [{name: state[name].element_size() for name in ("state1", "state2")} for state in states]
    assert sizes == [{"state1": 1, "state2": 1}, {"state1": 4, "state2": 4}, {"state1": 4, "state2": 4}]
    assert [state["state1"].numel() for state in states] == [weight.numel() for weight in model.parameters()]


def moments(optimizer: Optimizer, weight: nn.Parameter) -> dict[str, Tensor]:
    if isinstance(optimizer, SplitOptimizer):
        (state,) = optimizer.updates[weight].optimizer.state.values()
        return state  # type: ignore[no-any-return]
    return optimizer.state[weight]  # type: ignore[no-any-return]


def test_8_bit_updates_are_near_those_of_float32() -> None:
    """Adam's steps are of the size of the rate; 8 bits may blur them but not double them."""
    whole, small = layers(), layers()
    train(whole, optimizer_of(whole, "adamw"), 20)
    train(small, optimizer_of(small, "adamw8bit"), 20)
    for ours, theirs, start in zip(small.parameters(), whole.parameters(), layers().parameters(), strict=True):
        assert (ours - theirs).norm() < 0.1 * (theirs - start).norm()


# What is chosen


def test_what_the_recipe_names_is_chosen() -> None:
    model = layers()
    cls, options = choose_optimizer(recipe(), model)
    assert (cls, options) == (AdamW, {"lr": RATE, "betas": (0.9, 0.999), "eps": 1e-8, "fused": True})
    cls, options = choose_optimizer(recipe(optimizer="adamw8bit"), model)
    assert (cls, options) == (EightBitAdamW, {"lr": RATE, "betas": (0.9, 0.999), "eps": 1e-8})
    split_weights(model)
    cls, options = choose_optimizer(recipe(optimizer="adamw8bit"), model)
    assert (cls, options["kind"]) == (SplitOptimizer, EightBitAdamW)


def test_moments_in_8_bits_are_bitsandbytes_own() -> None:
    """Bit by bit; only its waiting for a GPU is left out."""
    found = []
    for kind in (EightBitAdamW, AdamW8bit):
        model = layers()
        train(model, kind(model.parameters(), lr=RATE), 5)
        found.append([weight.detach() for weight in model.parameters()])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))
    assert not torch.equal(found[0][0], layers()[0])  # type: ignore[index]


# Continuing


@pytest.mark.parametrize("move", [lambda state: state, None], ids=["in-memory", "through-a-file"])
@pytest.mark.parametrize("cut", [False, True], ids=["whole", "split"])
@pytest.mark.parametrize("kind", KINDS)
def test_it_continues_exactly(kind: str, cut: bool, move: Callable[[Any], Any] | None, tmp_path: Any) -> None:
    """As the trainer does it: weights and optimizer state are saved apart, and loaded into fresh ones."""
    straight, stopped, resumed = layers(), layers(), layers(seed=9)
    if cut:
        for model in (straight, stopped, resumed):
            split_weights(model)
    one, two, three = (optimizer_of(model, kind) for model in (straight, stopped, resumed))
    for model, optimizer in ((straight, one), (stopped, two)):
        train(model, optimizer, 7)
    saved = {"model": stopped.state_dict(), "optimizer": two.state_dict()}
    if move is None:
        torch.save(saved, tmp_path / "saved.pt")
        saved = torch.load(tmp_path / "saved.pt", weights_only=True)
    resumed.load_state_dict(saved["model"])
    three.load_state_dict(saved["optimizer"])
    for model, optimizer in ((straight, one), (resumed, three)):
        train(model, optimizer, 7, seed=2)
    for ours, theirs in zip(resumed.parameters(), straight.parameters(), strict=True):
        assert torch.equal(ours, theirs)
        assert not cut or torch.equal(low_half(ours), low_half(theirs))


def test_without_the_state_it_does_not() -> None:
    """Else the test above would show nothing."""
    straight, resumed = layers(), layers()
    for model in (straight, resumed):
        split_weights(model)
    one, fresh = optimizer_of(straight, "adamw"), optimizer_of(resumed, "adamw")
    train(straight, one, 7)
    resumed.load_state_dict(straight.state_dict())
    train(straight, one, 7, seed=2)
    train(resumed, fresh, 7, seed=2)
    assert not all(torch.equal(a, b) for a, b in zip(joined(resumed), joined(straight), strict=True))
