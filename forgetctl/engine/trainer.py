"""UnlearnTrainer: transformers.Trainer with paired batches and an objective of ours.

One model in memory: the start model's log-probabilities come in as numbers. A step is computed in parts, each with one
forward for forget and retain rows together. Methods add nothing here: the loss is any WeightedSum.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from ..errors import DivergedError
from ..maths.objectives import Rows, WeightedSum
from ..recipe import Recipe
from .assembly import Assembler
from .checkpoints import MarkComplete
from .encoding import Encoded
from .extras import Extras
from .fit import Fit
from .guard import RetainGuard
from .optimizers import choose_optimizer
from .packing import packs
from .schedule import Limits, PairedBatches, Part, Step
from .states import AnswerStates

Figures = dict[str, float]


class UnlearnTrainer(Trainer):
    """Trains `model` to minimise `loss` on paired forget and retain rows.

    start_logp: the start model's summed answer log-probability of each forget row, None if the loss needs none.
    extras: what else its terms declared that they need. guarded: the start model's states on some retain rows, from
    which the model may not stray further than the recipe allows.
    on_step: receives the figures of every optimizer step. on_halved: receives what is computed at once, and the
    optimizer step, when memory did not suffice for more.
    """

    def __init__(
        self,
        model: Any,
        loss: WeightedSum,
        forget: Sequence[Encoded],
        retain: Sequence[Encoded],
        start_logp: Sequence[float] | None,
        *,
        recipe: Recipe,
        fit: Fit,
        folder: Path,
        on_step: Callable[[Figures], None],
        on_halved: Callable[[Limits, int], None] = lambda _limits, _step: None,
        extras: Extras | None = None,
        guarded: AnswerStates | None = None,
    ) -> None:
        self.assembler = Assembler(forget, retain, start_logp, extras or Extras())
        self.loss, self.on_halved = loss, on_halved
        self.batches = PairedBatches(
            forget,
            retain,
            batch_size=recipe.batch_size,
            limits=replace(fit.limits, padded=not packs(model)),
            seed=recipe.seed,
        )
        self.stop = StopOnSignal()
        self.meter = Meter(on_step)
        super().__init__(
            model=model,
            args=_arguments(recipe, fit, self.batches, folder, model.device),
            train_dataset=_Identity(),
            optimizer_cls_and_kwargs=choose_optimizer(recipe, model),
            callbacks=[self.stop, self.meter, MarkComplete()],
        )
        self.remove_callback(PrinterCallback)
        if guarded is not None:
            self.add_callback(RetainGuard(guarded, recipe.max_retain_kl, len(self.batches), self.meter.note))

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Optimizer steps chosen by PairedBatches rather than rows by a random sampler."""
        loader: DataLoader[Any] = DataLoader(_Identity(), batch_sampler=self.batches, collate_fn=self._collate)
        prepared: DataLoader[Any] = self.accelerator.prepare(loader)
        return prepared

    def _collate(self, steps: list[Step]) -> dict[str, Any]:
        (step,) = steps
        return {"step": step}

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """Add the gradient of a whole optimizer step, part by part, and return its loss.

        Each part's loss is its share of the step's, so the shares are summed. Where the memory does not suffice the
        step is begun again in parts of half the size. Raises MemoryExceeded if a single row is too much.
        """
        model.train()
        while True:
            parts = self.batches.parts(inputs["step"])
            try:
                return torch.stack([self._add_gradient(model, self.assembler.collate(part)) for part in parts]).sum()
            except RuntimeError as error:
                if not should_reduce_batch_size(error):
                    raise
            # Outside of the handler, whose traceback would keep alive what was computed so far.
            self._begin_again(model, parts)

    def _begin_again(self, model: Any, parts: Sequence[Part]) -> None:
        """Forget what was added of the step, and compute less at once from now on."""
        self.batches.halve(parts)
        model.zero_grad()
        self.meter.drop()
        clear_device_cache(garbage_collection=True)
        self.on_halved(self.batches.limits, self.state.global_step + 1)

    def _add_gradient(self, model: Any, part: dict[str, Any]) -> Tensor:
        with self.compute_loss_context_manager():
            loss = self.compute_loss(model, self._prepare_inputs(part))
        self.accelerator.backward(loss)
        return loss.detach()

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Tensor:
        """A part's share of the loss. Raises DivergedError if it is not finite."""
        batch = self.assembler.batch(model, inputs)
        loss = self.loss(batch)
        if not torch.isfinite(loss):
            raise DivergedError(f"the loss is not finite at step {self.state.global_step + 1}; lower the learning rate")
        self.meter.add(batch.forget, batch.retain)
        return loss

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Not counted: transformers would warn that it cannot."""
        return 0


class _Identity(Dataset[Step]):
    """A dataset whose items are the sampler's own choices."""

    def __getitem__(self, step: Any) -> Step:
        chosen: Step = step
        return chosen

    def __len__(self) -> int:
        return 1


class Meter(TrainerCallback):
    """Sums what the parts of a step report and hands the figures of each optimizer step on."""

    def __init__(self, on_step: Callable[[Figures], None]) -> None:
        self.on_step = on_step
        self.sums: dict[str, tuple[Tensor, int]] = {}
        self.noted: Figures = {}

    def add(self, forget: Rows, retain: Rows | None) -> None:
        """Add the log-probabilities of one part."""
        for name, rows in (("forget", forget), ("retain", retain)):
            if rows is not None:
                logp, tokens = self.sums.get(name, (torch.zeros((), device=rows.logp.device), 0))
                self.sums[name] = (logp + rows.logp.detach().sum(), tokens + int(rows.tokens.sum()))

    def drop(self) -> None:
        """Forget the parts of a step that is begun again."""
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
        figures = {f"{name}_logp_per_token": float(logp) / tokens for name, (logp, tokens) in self.sums.items()}
        figures |= self.noted
        self.sums, self.noted = {}, {}
        kept = {name: logs[name] for name in ("loss", "learning_rate", "grad_norm")}
        self.on_step({"step": state.global_step, "epoch": round(state.epoch or 0.0, 4), **kept, **figures})


class StopOnSignal(TrainerCallback):
    """Turns SIGINT and SIGTERM into a checkpoint after the current step; a second signal acts at once."""

    def __init__(self) -> None:
        self.asked = False

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Take over the signals for as long as the context lasts."""
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
        """Save and stop if a signal came."""
        if self.asked:
            control.should_save = control.should_training_stop = True


def _arguments(
    recipe: Recipe, fit: Fit, batches: PairedBatches, folder: Path, device: torch.device
) -> TrainingArguments:
    total = len(batches) * recipe.epochs
    return TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=recipe.epochs,
        per_device_train_batch_size=batches.batch_size,
        learning_rate=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        max_grad_norm=recipe.max_grad_norm,
        lr_scheduler_type="linear",
        warmup_steps=min(round(recipe.warmup_epochs * len(batches)), total - 1),
        seed=recipe.seed,
        bf16=fit.precision == "bf16",
        fp16=fit.precision == "fp16",
        activation_checkpointing=fit.checkpointing,
        activation_checkpointing_kwargs={"use_reentrant": False},
        use_cpu=device.type == "cpu",
        logging_steps=1,
        # A loss that is not finite is an error here, not something to average away.
        logging_nan_inf_filter=False,
        save_steps=len(batches),
        save_total_limit=2,
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=device.type == "cuda",
    )
