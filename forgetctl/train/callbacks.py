"""What listens to the trainer: the figures of every step, signals that ask it to stop, and scores in between."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import TrainerCallback, TrainerControl, TrainerState
from transformers.trainer_utils import SaveStrategy

from ..errors import DivergedError
from ..losses.methods import Role, Rows
from ..model.memory import give_back_freed
from ..model.processes import Ranks
from ..model.scoring import evaluating

Figures = dict[str, float]
LOGGED: tuple[Role, ...] = ("forget", "retain")
"""Roles whose log-probability is a figure of every step."""


class Meter(TrainerCallback):
    """Sums what a step's micro-batches report, over all processes, and hands the figures of each optimizer step on."""

    def __init__(self, on_step: Callable[[Figures], None], ranks: Ranks) -> None:
        self.on_step, self.ranks = on_step, ranks
        self.sums: dict[Role, tuple[Tensor, int]] = {}
        self.noted: Figures = {}

    def add(self, rows: Mapping[Role, Rows]) -> None:
        """Add the log-probabilities of one micro-batch."""
        for role in LOGGED:
            if scored := rows.get(role):
                logp, tokens = self.sums.get(role, (torch.zeros((), device=scored.logp.device), 0))
                self.sums[role] = (logp + scored.logp.detach().sum(), tokens + int(scored.tokens.sum()))

    def drop(self) -> None:
        """Forget the micro-batches of a step that is begun again."""
        self.sums = {}

    def note(self, name: str, value: float) -> None:
        """A figure to pass on with the current step's."""
        self.noted[name] = value

    def on_log(
        self, args: Any, state: TrainerState, control: TrainerControl, logs: Figures | None = None, **_: Any
    ) -> None:
        """Pass on the step's figures. Raises DivergedError if the gradient is not finite."""
        if not logs or "loss" not in logs:
            return
        # Under fp16 an infinite gradient only makes the loss scaler skip the step and lower its scale.
        if not args.fp16 and not torch.isfinite(torch.tensor(logs["grad_norm"])):
            raise DivergedError(f"the gradient is not finite at step {state.global_step}; lower the learning rate")
        figures = self._logp_per_token() | self.noted
        self.sums, self.noted = {}, {}
        kept = {name: logs[name] for name in ("loss", "learning_rate", "grad_norm")}
        self.on_step({"step": state.global_step, "epoch": round(state.epoch or 0.0, 4), **kept, **figures})

    def _logp_per_token(self) -> Figures:
        sums = [(float(logp), float(tokens)) for logp, tokens in (self.sums.get(role, (0, 0)) for role in LOGGED)]
        totals = self.ranks.totals([value for pair in sums for value in pair])
        roles = zip(LOGGED, totals[::2], totals[1::2], strict=True)
        return {f"{role}_logp_per_token": logp / tokens for role, logp, tokens in roles if tokens}


class StopOnSignal(TrainerCallback):
    """Turns SIGINT and SIGTERM into the end of the training after the current step, the same one in all processes, with
    a checkpoint where any are written; a second signal acts at once."""

    def __init__(self, ranks: Ranks) -> None:
        self.asked, self.ranks = False, ranks

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Take over the signals for as long as the context lasts; in a thread beside the main one there are none."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

        def restore() -> None:
            for number, handler in before.items():
                signal.signal(number, handler)

        def ask(number: int, _frame: object) -> None:
            self.asked = True
            restore()

        for number in before:
            signal.signal(number, ask)
        try:
            yield
        finally:
            restore()

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Save and stop if a signal came to any process."""
        if self.ranks.any(self.asked):
            control.should_training_stop = True
            control.should_save = args.save_strategy != SaveStrategy.NO


class GiveBack(TrainerCallback):
    """Gives freed memory back every few steps, on a processor.

    Micro-batches of ever other sizes cut what the C library keeps into ever smaller pieces: training a 135M model grew
    from 4.6 GB in its third step to 9.1 in its seventieth.
    """

    EVERY = 10
    """Steps. Each time costs as much as a tenth of a step, in which the system empties the pages anew."""

    def on_step_end(self, args: Any, state: TrainerState, control: Any, model: Any = None, **_: Any) -> None:
        """Nothing that is in use moves."""
        if state.global_step % self.EVERY == 0 and model.device.type == "cpu":
            give_back_freed()


class Watch(TrainerCallback):
    """Every `every` steps shows `look` the step and the model, set to evaluation, so that the report can show the
    way and not only the end.

    What is measured here stops nothing and chooses nothing: a run that was ended or picked by what the verdict measures
    would be judged by data that it was fitted to.
    """

    def __init__(self, every: int, look: Callable[[int, Any], None]) -> None:
        self.every, self.look = every, look

    def on_step_end(self, args: Any, state: TrainerState, control: Any, model: Any = None, **_: Any) -> None:
        """Runs before the step is saved, so that a run resumed after it has this point too."""
        if state.global_step % self.every:
            return
        with evaluating(model):
            self.look(state.global_step, model)
