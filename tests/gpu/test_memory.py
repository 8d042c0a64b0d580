"""The real end of a GPU's memory: a limit is kept, and a step that does not fit is begun again in halves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from forgetctl.errors import MemoryExceeded
from forgetctl.losses.methods import WeightedSum
from forgetctl.model.encoding import Encoded
from forgetctl.model.host import repeat_sums
from forgetctl.model.load import choose_device
from forgetctl.model.memory import memory_within
from forgetctl.model.scoring import score
from forgetctl.recipe.recipe import Recipe
from forgetctl.train.plan import ComputePlan
from forgetctl.train.schedule import MicroBatchLimits
from forgetctl.train.term_inputs import TermInputs
from forgetctl.train.trainer import ObjectiveTrainer, TrainingSetup, TrainingTask

RECIPE = Recipe.model_validate(
    {
        "method": "npo-rt",
        "learning_rate": 1e-3,
        "epochs": 2,
        "batch_size": 32,
        "warmup_epochs": 0.0,
        "precision": "fp32",
    }
)


@pytest.fixture(autouse=True, scope="module")
def gpu() -> torch.device:
    """As `load_for_training` leaves it for float32."""
    repeat_sums()
    return choose_device("cuda")


def test_more_than_the_limit_is_refused_and_given_again_afterwards(gpu: torch.device) -> None:
    torch.cuda.empty_cache()
    with pytest.raises(MemoryExceeded), memory_within(gpu, 2**30):
        torch.empty(2**31, dtype=torch.uint8, device=gpu)
    assert torch.empty(2**31, dtype=torch.uint8, device=gpu).numel() == 2**31


def wide(gpu: torch.device) -> Any:
    """Little weights with much to keep of every token: about 2 GB of a step at once."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 16_384, "num_hidden_layers": 2, "num_attention_heads": 4}
    return LlamaForCausalLM(LlamaConfig(vocab_size=64, max_position_embeddings=128, **sizes)).to(gpu)


def rows(seed: int) -> list[Encoded]:
    generator = torch.Generator().manual_seed(seed)
    return [Encoded(tuple(torch.randint(3, 64, (100,), generator=generator).tolist()), 40) for _ in range(64)]


def trainer_of(model: Any, limits: MicroBatchLimits, folder: Path) -> ObjectiveTrainer:
    forget, retain = rows(1), rows(2)
    loss = WeightedSum(RECIPE.weighted_terms(), RECIPE.all_hyperparameters())
    inputs = TermInputs(start_logp=score(model, forget))
    task = TrainingTask(loss=loss, rows={"forget": forget, "retain": retain}, inputs=inputs)
    plan = ComputePlan(limits=limits, precision="fp32")
    return ObjectiveTrainer(model, task, TrainingSetup(recipe=RECIPE, plan=plan, checkpoints=folder))


def test_a_step_too_large_is_begun_again_and_leaves_nothing(gpu: torch.device, tmp_path: Path) -> None:
    """The weights are those of a run that was cut so from the start."""
    heard: list[tuple[MicroBatchLimits, int]] = []
    cramped = trainer_of(wide(gpu), MicroBatchLimits(rows=64, tokens=10_000), tmp_path / "cramped")
    cramped.on_halved = lambda limits, step: heard.append((limits, step))
    torch.cuda.empty_cache()
    with memory_within(gpu, torch.cuda.memory_reserved() + 2**30):
        cramped.train()
    assert heard
    assert {step for _, step in heard} == {1}
    model = wide(gpu)
    trainer_of(model, heard[-1][0], tmp_path / "plain").train()
    for (name, one), other in zip(cramped.model.named_parameters(), model.parameters(), strict=True):
        assert torch.equal(one, other), name
