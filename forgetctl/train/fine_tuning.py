"""Plain fine-tuning: what made a model know its rows, and what an attacker could do to make it know them again.

It is training with one term, the token-mean cross-entropy `rt`, on the rows: the trainer, the plans and the optimizer
are those of `unlearn`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from ..losses.methods import WeightedSum
from ..model.encoding import Encoded
from ..model.host import undisturbed
from ..model.processes import Ranks
from ..model.protocol import Model
from ..recipe.recipe import Recipe
from .callbacks import Figures
from .plan import ComputePlan
from .schedule import MicroBatchLimits
from .trainer import ObjectiveTrainer, TrainingHooks, TrainingSetup, TrainingTask

TERMS = {"rt": 1.0}
BATCH_ROWS = 32
TOKENS = 2048
"""Most tokens computed at once where nothing is planned."""


def fine_tuning(**settings: Any) -> Recipe:
    """The recipe of plain fine-tuning: `rt` and nothing else, without warm-up, but for other settings."""
    return Recipe.model_validate({"terms": TERMS, "warmup_epochs": 0.0, "batch_size": BATCH_ROWS, **settings})


def fine_tuning_task(rows: Sequence[Encoded]) -> TrainingTask:
    """Cross-entropy on the answers, mean over the tokens of a step."""
    return TrainingTask(loss=WeightedSum(TERMS, {}), rows={"retain": rows})


def unplanned(recipe: Recipe) -> ComputePlan:
    """A plan for small models, which needs no look at the memory: float32, `TOKENS` at once."""
    rows = recipe.micro_batch_size or recipe.batch_size
    return ComputePlan(limits=MicroBatchLimits(rows=rows, tokens=TOKENS), precision="fp32", why="small")


def fine_tune(
    model: Model,
    rows: Sequence[Encoded],
    recipe: Recipe,
    *,
    plan: ComputePlan | None = None,
    advance: Callable[[int, str], None] = lambda _steps, _note: None,
    ranks: Ranks | None = None,
) -> dict[str, Tensor] | None:
    """Train the model on the answers, without checkpoints; no row is no training. It comes back in evaluation, and
    the process is as it was, random numbers too.

    recipe: of `fine_tuning`. plan: `unplanned` if None. advance: called after every optimizer step. ranks: the
    processes that do it together. Returns all weights by name, in the first of them, where each holds a part of the
    model (`put_together`). Raises DivergedError if the loss stops being finite.
    """
    if not rows:
        return None
    ranks = ranks or Ranks()

    def show(figures: Figures) -> None:
        advance(1, f"loss {figures['loss']:.3f}")

    setup = TrainingSetup(recipe=recipe, plan=plan or unplanned(recipe), checkpoints=None, ranks=ranks)
    with undisturbed():
        trainer = ObjectiveTrainer(model, fine_tuning_task(rows), setup, TrainingHooks(on_step=show))
        trainer.train()
        weights = trainer.whole_weights() if ranks.sharded else None
    model.eval()
    return weights
