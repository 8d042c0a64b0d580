"""Scores the model while it is in training, so that the report can show the way and not only the end.

What is measured here stops nothing and chooses nothing: a run that was ended or picked by what the verdict measures
would be judged by data that it was fitted to.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from transformers import TrainerCallback, TrainerState

from ..model.scoring import evaluating


class Watch(TrainerCallback):
    """Every `every` steps shows `look` the step and the model, set to evaluation."""

    def __init__(self, every: int, look: Callable[[int, Any], None]) -> None:
        self.every, self.look = every, look

    def on_step_end(self, args: Any, state: TrainerState, control: Any, model: Any = None, **_: Any) -> None:
        """Runs before the step is saved, so that a run resumed after it has this point too."""
        if state.global_step % self.every:
            return
        with evaluating(model):
            self.look(state.global_step, model)
