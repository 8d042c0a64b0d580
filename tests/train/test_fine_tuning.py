"""Plain fine-tuning against a loop that takes one row at a time."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from forgetctl.demo.training import learn
from forgetctl.model.adapters import add_lora
from forgetctl.model.encoding import Encoded
from forgetctl.model.load import load_model
from forgetctl.model.scoring import score
from forgetctl.progress import Silent
from forgetctl.recipe.recipe import Lora, Recipe
from forgetctl.train.fine_tuning import BATCH_ROWS, fine_tune, fine_tuning
from forgetctl.train.schedule import MicroBatchLimits, PairedBatches
from tests.model.oracles import plain_logp, random_model, random_rows
from tests.world import encoded_rows

CPU = torch.device("cpu")
RATE = 1e-3


def weights(model: Any) -> dict[str, torch.Tensor]:
    return {name: weight.detach().clone() for name, weight in model.named_parameters()}


def furthest(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    return max(float((one[name] - other[name]).abs().max()) for name in one)


def tuned(rows: list[Encoded], epochs: int = 2, advance: Any = lambda *_: None, seed: int = 3, **changes: Any) -> Any:
    """A random model after fine-tuning on the rows."""
    model = random_model("Llama")
    fine_tune(model, rows, recipe(epochs=epochs, seed=seed, **changes), advance=advance)
    return model


def recipe(**changes: Any) -> Recipe:
    return fine_tuning(**{"learning_rate": RATE, "seed": 3, **changes})


def plain_adamw(model: Any, decay: float) -> torch.optim.AdamW:
    """As transformers groups weights: norms do not decay."""
    named = list(model.named_parameters())
    groups = [
        {"params": [weight for name, weight in named if ("norm" in name) is norms], "weight_decay": decay * (not norms)}
        for norms in (False, True)
    ]
    return torch.optim.AdamW(groups, lr=RATE)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate


@pytest.fixture(scope="module")
def rows() -> list[Encoded]:
    """Of very different lengths, in three batches of which the last is smaller."""
    return random_rows(2 * BATCH_ROWS + 5, seed=1)


def test_every_step_is_the_plain_one() -> None:
    """One batch an epoch: loss over its tokens, gradient clipped at 1, AdamW, a rate falling to nothing in 4 steps."""
    some, epochs = random_rows(11, seed=2), 4
    model = random_model("Llama")
    optimizer = plain_adamw(model, 0.01)
    losses = []
    for epoch in range(epochs):
        set_rate(optimizer, RATE * (1 - epoch / epochs))
        loss = -plain_logp(model, some).sum() / sum(row.tokens for row in some)
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        assert norm > 1  # else clipping would not be seen
        optimizer.step()
        losses.append(f"loss {loss.item():.3f}")
    notes: list[tuple[int, str]] = []
    found = tuned(some, epochs, advance=lambda steps, note: notes.append((steps, note)), batch_size=32)
    assert furthest(weights(found), weights(random_model("Llama"))) > 1e-3
    assert furthest(weights(found), weights(model)) < 1e-5
    assert notes == [(1, loss) for loss in losses]


def test_the_rate_rises_before_it_falls() -> None:
    """Three batches of 4 rows an epoch, one epoch of warm-up: 0, 1/3, 2/3 of the rate, then down from it to nothing."""
    some = random_rows(11, seed=2)
    model = random_model("Llama")
    optimizer = plain_adamw(model, 0.1)
    rates = iter([0, 1 / 3, 2 / 3, *(1 - step / 6 for step in range(6))])
    limits = MicroBatchLimits(rows=99, tokens=999)
    batches = PairedBatches({"retain": some}, batch_size=4, limits=limits, seed=3)
    for epoch in range(3):
        batches.set_epoch(epoch)
        for step in batches.steps():
            batch = batches.rows_of(step)
            set_rate(optimizer, RATE * next(rates))
            loss = -plain_logp(model, batch).sum() / sum(row.tokens for row in batch)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            optimizer.step()
    found = tuned(some, 3, batch_size=4, warmup_epochs=1.0, weight_decay=0.1, max_grad_norm=0.5)
    assert furthest(weights(found), weights(random_model("Llama"))) > 1e-3
    assert furthest(weights(found), weights(model)) < 1e-5


@pytest.mark.parametrize("micro_batch", [1, 7, 31, 1000])
def test_the_micro_batch_changes_nothing(micro_batch: int, rows: list[Encoded]) -> None:
    expected, notes, others = weights(tuned(rows)), [], []
    tuned(rows, advance=lambda _, note: notes.append(note))
    found = weights(tuned(rows, micro_batch_size=micro_batch, advance=lambda _, note: others.append(note)))
    assert furthest(found, weights(random_model("Llama"))) > 1e-3
    assert furthest(found, expected) < 2e-5
    assert len(others) == len(notes) == 6
    for one, other in zip(notes, others, strict=True):
        assert float(one.split()[1]) == pytest.approx(float(other.split()[1]), abs=2e-3)


def test_every_row_is_seen_once_an_epoch(rows: list[Encoded], monkeypatch: pytest.MonkeyPatch) -> None:
    import forgetctl.train._assembly as module

    seen: list[list[Encoded]] = []
    pad = module.pad_rows
    monkeypatch.setattr(module, "pad_rows", lambda batch: (seen.append(list(batch)), pad(batch))[1])
    tuned(rows, epochs=2)
    assert sum(len(batch) for batch in seen) == 2 * len(rows) == 2 * 69
    order = [id(row) for batch in seen for row in batch]
    epochs = [order[:69], order[69:]]
    assert sorted(epochs[0]) == sorted(epochs[1]) == sorted(id(row) for row in rows)
    assert epochs[0] != epochs[1] != [id(row) for row in rows]  # in another order every time


def test_it_lowers_the_loss(world: Path) -> None:
    """Rows that the reference was not taught are known afterwards."""
    model = load_model(world / "reference", CPU, torch.float32)
    some = encoded_rows(world, "requests.jsonl")
    before = score(model, some)
    fine_tune(model, some, recipe(epochs=10, learning_rate=1e-2))
    after = score(model, some)
    assert sum(after) > 0.5 * sum(before)
    assert sum(new > old for new, old in zip(after, before, strict=True)) >= 0.9 * len(some)


# Determinism


def test_the_seed_decides_and_nothing_else(rows: list[Encoded]) -> None:
    torch.manual_seed(1)
    first = weights(tuned(rows, seed=3))
    torch.manual_seed(2)
    torch.rand(9)
    again, other = weights(tuned(rows, seed=3)), weights(tuned(rows, seed=4))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert furthest(first, other) > 1e-6


def test_no_random_number_is_taken_from_others(rows: list[Encoded]) -> None:
    model = random_model("Llama")
    before = torch.random.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    fine_tune(model, rows[:3], recipe(epochs=1))
    assert torch.equal(torch.random.get_rng_state(), before[0])
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before[1:]


# What is trained


def test_frozen_parameters_stay(rows: list[Encoded]) -> None:
    model = random_model("Llama")
    frozen = {name for name, _ in model.named_parameters() if "layers.0" in name or "embed" in name}
    for name, weight in model.named_parameters():
        weight.requires_grad_(name not in frozen)
    before = weights(model)
    fine_tune(model, rows[:9], recipe(epochs=2))
    after = weights(model)
    assert frozen
    assert {name for name in before if torch.equal(before[name], after[name])} == frozen
    assert {name for name, weight in model.named_parameters() if not weight.requires_grad} == frozen


def test_only_adapters_train(rows: list[Encoded]) -> None:
    """Also where the model is called by itself and not by the wrapper, which puts the adapters into it."""
    model = random_model("Llama")
    before = score(model, rows[:5])
    add_lora(model, Lora(rank=2, alpha=4))
    old = weights(model)
    fine_tune(model, rows[:5], recipe(epochs=3, learning_rate=1e-2))
    changed = {name for name, weight in weights(model).items() if not torch.equal(weight, old[name])}
    assert changed == {name for name in old if "lora_" in name}
    assert sum(score(model, rows[:5])) > sum(before) + 0.1


def test_adapters_train_with_their_dropout_and_come_back_in_evaluation(rows: list[Encoded]) -> None:
    model = add_lora(random_model("Llama"), Lora(rank=2, alpha=4, dropout=0.5))
    dropouts, modes = [module for module in model.modules() if isinstance(module, torch.nn.Dropout)], []
    fine_tune(model, rows[:2], recipe(epochs=2), advance=lambda *_: modes.append(dropouts[0].training))
    assert modes == [True, True]
    assert not any(module.training for module in model.modules())


def test_a_single_row_and_none(rows: list[Encoded]) -> None:
    assert furthest(weights(tuned(rows[:1], epochs=1)), weights(random_model("Llama"))) > 1e-4
    assert furthest(weights(tuned([])), weights(random_model("Llama"))) == 0


# The demo


def test_the_demo_learns_the_same_way(rows: list[Encoded]) -> None:
    class Counting(Silent):
        total = done = 0

        def bar(self, title: str, total: int) -> Any:
            self.total = total
            return super().bar(title, total)

        def advance(self, steps: int = 1, note: str = "") -> None:
            assert note.startswith("loss ")
            self.done += steps

    progress, model = Counting(), random_model("Llama")
    learn(model, rows, epochs=2, learning_rate=RATE, seed=3, progress=progress, title="")
    expected = weights(tuned(rows))
    assert all(torch.equal(weight, expected[name]) for name, weight in weights(model).items())
    assert progress.done == progress.total == 6
