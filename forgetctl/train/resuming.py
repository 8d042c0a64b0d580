"""What every training that can be interrupted has in common: where it goes on, and what its owner is told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import Interrupted
from ..model.processes import Ranks
from ..progress import Bar, Progress
from .checkpoints import checkpoint_step, last_checkpoint
from .schedule import MicroBatchLimits
from .trainer import ObjectiveTrainer


@dataclass(frozen=True)
class Resumption:
    """Where a training goes on: its last whole checkpoint, None to begin, and the optimizer step that it was taken
    after."""

    checkpoint: Path | None
    step: int

    @classmethod
    def find(cls, checkpoints: Path, ranks: Ranks, progress: Progress, name: str = "") -> Resumption:
        """The same in every process, all of which must ask. name: what goes on, where the owner may have several."""
        checkpoint = ranks.from_first(lambda: last_checkpoint(checkpoints, progress.say))
        if checkpoint is None:
            return cls(None, 0)
        step = checkpoint_step(checkpoint)
        progress.say(f"Continuing {name} after step {step}." if name else f"Continuing after step {step}.")
        return cls(checkpoint, step)

    def train(self, trainer: ObjectiveTrainer, bar: Bar, remedy: str, name: str = "") -> None:
        """Train to the end.

        Raises DivergedError, and Interrupted after a signal, which ends with the remedy: how the owner goes on.
        """
        total = trainer.total_steps
        bar.resize(total, self.step)
        reached = trainer.train_from(self.checkpoint)
        if reached < total:
            where = f"step {reached} of {total}" + (f" of {name}" if name else "")
            raise Interrupted(f"stopped after {where}; {remedy}")


def say_halved(progress: Progress, limits: MicroBatchLimits, step: int) -> None:
    """Tell that less is computed at once from this optimizer step on."""
    progress.say(f"Step {step} did not fit into the memory: going on with {limits.tokens} tokens at once.")
