"""Stops a run that is destroying the model, before its state replaces the last good checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from transformers import TrainerCallback, TrainerState

from ..errors import DivergedError
from .states import AnswerStates

PROBES = 32
"""Retain rows that the guard looks at."""


class RetainGuard(TrainerCallback):
    """Every `every` steps compares the model with the start model on some retain rows.

    limit: largest KL(start || model) allowed, nats per answer token. note: receives each value with its name.
    """

    def __init__(self, states: AnswerStates, limit: float, every: int, note: Callable[[str, float], None]) -> None:
        self.states, self.limit, self.every, self.note = states, limit, every, note

    def on_step_end(self, args: Any, state: TrainerState, control: Any, model: Any = None, **_: Any) -> None:
        """Raises DivergedError above the limit. Runs before the step is saved."""
        if state.global_step % self.every:
            return
        divergence = self.states.divergence_to(model)
        if not divergence <= self.limit:
            raise DivergedError(
                f"stopped after step {state.global_step}: on the retain rows the model is {divergence:.1f} nats a "
                f"token from the start model (limit max_retain_kl = {self.limit:g}), so it is being destroyed"
            )
        self.note("retain_kl_from_start", divergence)


def probes(count: int) -> list[int]:
    """Positions of up to PROBES rows, spread evenly over `count`."""
    return [round(i * (count - 1) / max(min(PROBES, count) - 1, 1)) for i in range(min(PROBES, count))]
