"""The guard against runs that destroy the model."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from forgetctl.errors import DivergedError
from forgetctl.losses.methods import WeightedSum
from forgetctl.model.states import AnswerStates
from forgetctl.recipe.recipe import Recipe
from forgetctl.train._guard import RetainGuard, probes
from forgetctl.train.plan import ComputePlan
from forgetctl.train.schedule import MicroBatchLimits
from forgetctl.train.trainer import ObjectiveTrainer, TrainingHooks, TrainingSetup, TrainingTask
from tests.model.oracles import random_model, random_rows

ROWS = random_rows(9, seed=1)


def trained(precision: str, folder: Path, rate: float = 1e-4, limit: float = 5.0) -> dict[str, float]:
    """The figures of the last of two steps, each of which the guard looks at."""
    model, seen = random_model("Llama", spread=3.0), []  # logits so large that bfloat16 rounds them visibly
    recipe = Recipe.model_validate(
        {"method": "ga-rt", "learning_rate": rate, "epochs": 2, "warmup_epochs": 0.0, "batch_size": len(ROWS)}
        | {"max_retain_kl": limit}
    )
    plan = ComputePlan(limits=MicroBatchLimits(rows=64, tokens=1000), precision=precision)
    with plan.autocast(model.device):
        guarded = AnswerStates(model, ROWS, copy_head=True)
    loss = WeightedSum(recipe.weighted_terms(), recipe.all_hyperparameters())
    task = TrainingTask(loss=loss, rows={"forget": ROWS, "retain": ROWS}, guarded=guarded)
    setup = TrainingSetup(recipe=recipe, plan=plan, checkpoints=folder)
    ObjectiveTrainer(model, task, setup, TrainingHooks(on_step=seen.append)).train()
    return dict(seen[-1])


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_model_that_has_hardly_moved_is_near_its_start_in_every_precision(precision: str, tmp_path: Path) -> None:
    """Rounding alone must neither count as divergence nor look like a head that does more than its product."""
    assert 0 < trained(precision, tmp_path)["retain_kl_from_start"] < 0.02


def test_a_model_that_is_being_destroyed_is_stopped(tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match=r"stopped after step \d: on the retain rows .* .limit max_retain_kl = 0.1"):
        trained("fp32", tmp_path, rate=0.3, limit=0.1)


def test_it_looks_once_every_so_many_steps() -> None:
    model, noted = random_model("Llama"), []
    guard = RetainGuard(
        AnswerStates(model, ROWS),
        1.0,
        3,
        partial(torch.autocast, "cpu", enabled=False),
        lambda *note: noted.append(note),
    )
    for step in range(1, 7):
        guard.on_step_end(None, state(step), None, model=model)
    assert noted == [("retain_kl_from_start", pytest.approx(0, abs=1e-6))] * 2


def state(step: int) -> Any:
    return SimpleNamespace(global_step=step)


@pytest.mark.parametrize("lengths", [[5], [5] * 31, [700] * 40, [9000] * 3, list(range(2, 900))])
def test_probes_are_a_few_rows_spread_over_all(lengths: list[int]) -> None:
    found = probes(lengths)
    assert found == sorted(set(found))
    assert 1 <= len(found) <= min(32, len(lengths))
    assert found[0] == 0
    assert len(found) == 1 or found[-1] == len(lengths) - 1
