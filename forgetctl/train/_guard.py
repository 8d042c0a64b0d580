"""Stops a run that is destroying the model, before its state replaces the last good checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any

from transformers import TrainerCallback, TrainerState

from ..errors import DivergedError
from ..model.scoring import evaluating
from ..model.states import AnswerStates

PROBES, PROBED_TOKENS = 32, 4096
"""Retain rows that the guard looks at, and about how many tokens: it must not cost more than the training."""


class RetainGuard(TrainerCallback):
    """Every `every` steps compares the model with the start model on some retain rows.

    limit: largest KL(start || model) allowed, nats per answer token. precision: what the start model's states were
    computed in: in another one rounding would count as divergence. note: receives each value with its name.
    """

    def __init__(
        self,
        states: AnswerStates,
        limit: float,
        every: int,
        precision: Callable[[], AbstractContextManager[Any]],
        note: Callable[[str, float], None],
    ) -> None:
        self.states, self.limit, self.every, self.precision, self.note = states, limit, every, precision, note

    def on_step_end(self, args: Any, state: TrainerState, control: Any, model: Any = None, **_: Any) -> None:
        """Raises DivergedError above the limit. Runs before the step is saved."""
        if state.global_step % self.every:
            return
        with evaluating(model), self.precision():
            divergence = self.states.divergence_to(model)
        if not divergence <= self.limit:
            raise DivergedError(
                f"stopped after step {state.global_step}: on the retain rows the model is {divergence:.1f} nats a "
                f"token from the start model (limit max_retain_kl = {self.limit:g}), so it is being destroyed"
            )
        self.note("retain_kl_from_start", divergence)


def probes(lengths: Sequence[int]) -> list[int]:
    """Positions of some rows, spread evenly over all. lengths: tokens of each row."""
    fitting = PROBED_TOKENS * len(lengths) // max(sum(lengths), 1)
    wanted = max(1, min(PROBES, fitting, len(lengths)))
    return [round(i * (len(lengths) - 1) / max(wanted - 1, 1)) for i in range(wanted)]
