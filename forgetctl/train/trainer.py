"""ObjectiveTrainer: transformers.Trainer with an objective of ours on rows of several roles.

One model in memory: the start model's log-probabilities come in as numbers. A step is computed in micro-batches, each
with one forward for the rows of all roles together. Methods add nothing here: the loss is any WeightedSum, that of
plain fine-tuning among them. Several processes compute a share of every step each; the engines of accelerate average
their gradients, so each counts its own times their number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import torch
from accelerate.data_loader import prepare_data_loader
from accelerate.utils import set_seed
from accelerate.utils.memory import clear_device_cache
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from transformers import Trainer, TrainingArguments
from transformers.trainer_callback import PrinterCallback
from transformers.training_args import ParallelMode

from ..errors import DivergedError, MemoryExceeded, RecipeError
from ..files.folders import saving
from ..losses.methods import WeightedSum
from ..model.adapters import add_lora
from ..model.fast.packing import packs
from ..model.memory import REFUSALS, out_of_memory
from ..model.processes import Ranks, shard_on_cpu
from ..model.protocol import Model
from ..model.scoring import short_input
from ..model.states import AnswerStates
from ..recipe.recipe import Recipe
from ._anchor import Anchor
from ._assembly import Assembler
from ._guard import RetainGuard
from ._modes import set_training
from ._optimizers import choose_optimizer
from ._wrapping import Through, WithinForward
from .callbacks import Figures, GiveBack, Meter, StopOnSignal
from .checkpoints import MarkComplete
from .plan import ComputePlan
from .schedule import MicroBatch, MicroBatchLimits, PairedBatches, RowsByRole, Step
from .term_inputs import TermInputs


@dataclass(frozen=True, kw_only=True)
class TrainingTask:
    """What is minimised on what.

    rows: of the roles that the loss reads. inputs: what else its terms declared that they need. guarded: the start
    model's states on some retain rows, from which the model may not stray further than the recipe allows.
    """

    loss: WeightedSum
    rows: RowsByRole
    inputs: TermInputs = field(default_factory=TermInputs)
    guarded: AnswerStates | None = None


@dataclass(frozen=True, kw_only=True)
class TrainingSetup:
    """How it is trained: by which settings, computed by which plan, by which processes together.

    checkpoints: the folder that they are written to after every epoch; None to write none. remedy: what the owner can
    do where that many rows at once do not fit and the processes cannot begin the step again; None if nothing.
    """

    recipe: Recipe
    plan: ComputePlan
    checkpoints: Path | None
    ranks: Ranks = field(default_factory=Ranks)
    remedy: Callable[[int], str] | None = None


@dataclass(frozen=True, kw_only=True)
class TrainingHooks:
    """Who receives what. on_step: the figures of every optimizer step, the same in every process. on_halved: what is
    computed at once, and the optimizer step, when memory did not suffice for more."""

    on_step: Callable[[Figures], None] = lambda _figures: None
    on_halved: Callable[[MicroBatchLimits, int], None] = lambda _limits, _step: None


class ObjectiveTrainer(Trainer):
    """Trains a model to minimise a loss on rows that are drawn together, step by step."""

    def __init__(
        self, model: Any, task: TrainingTask, setup: TrainingSetup, hooks: TrainingHooks | None = None
    ) -> None:
        hooks = hooks or TrainingHooks()
        recipe, plan = setup.recipe, setup.plan
        self.ranks, self.loss, self.on_halved, self.remedy = setup.ranks, task.loss, hooks.on_halved, setup.remedy
        self.assembler = Assembler(task.rows, task.inputs)
        self.precision = partial(plan.autocast, model.device)
        with self.precision():
            packed = packs(model)
        self.batches = PairedBatches(
            task.rows,
            batch_size=recipe.batch_size,
            limits=replace(plan.limits, padded=not packed, apart=short_input(model)),
            seed=recipe.seed,
            process=self.ranks.index,
            processes=self.ranks.count,
        )
        self.stop = StopOnSignal(self.ranks)
        self.meter = Meter(hooks.on_step, self.ranks)
        folder = setup.checkpoints
        if folder is None:  # transformers makes one in any case
            self._scratch = TemporaryDirectory()
            folder = Path(self._scratch.name)
        arguments = _arguments(setup, self.batches, folder, model.device)
        # Above an inner layer that a term steers, weights get no gradient.
        arguments.ddp_find_unused_parameters = "hidden" in task.loss.needs_of_any()
        shard_on_cpu()
        super().__init__(
            model=model,
            args=arguments,
            train_dataset=_Identity(),
            optimizer_cls_and_kwargs=choose_optimizer(recipe, model),
            callbacks=[self.stop, self.meter, MarkComplete(), GiveBack()],
        )
        self.remove_callback(PrinterCallback)
        if self.is_fsdp_enabled:
            # Whole, whatever the launcher says: checkpoints are then the same for any number of processes.
            self.accelerator.state.fsdp_plugin.set_state_dict_type("FULL_STATE_DICT")
        if self.ranks.count > 1:
            set_seed(recipe.seed, device_specific=True)  # the processes' rows differ, and so must their dropout
        if recipe.anchor:
            self.add_callback(Anchor(model, recipe.anchor, recipe.learning_rate))
        if task.guarded is not None:
            states: Any = WithinForward(task.guarded) if self.ranks.sharded else task.guarded
            every = len(self.batches)
            self.add_callback(RetainGuard(states, recipe.max_retain_kl, every, self.precision, self.meter.note))

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Optimizer steps chosen by PairedBatches rather than rows by a random sampler."""
        loader: DataLoader[Any] = DataLoader(_Identity(), batch_sampler=self.batches, collate_fn=_collate)
        # As for one process, also where there are more: each of them computes its share of every step.
        prepared: DataLoader[Any] = prepare_data_loader(loader, num_processes=1, process_index=0)
        return prepared

    def train(self, *args: Any, **options: Any) -> Any:
        """As transformers', but the model ends with its own forward: what accelerate puts around it for autocast is a
        bound method in the model's dict, which would keep the model in the memory."""
        try:
            return super().train(*args, **options)
        finally:
            for name in ("forward", "_original_forward"):
                vars(self.model).pop(name, None)

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the whole training."""
        return len(self.batches) * int(self.args.num_train_epochs)

    def train_from(self, checkpoint: Path | None) -> int:
        """Train on from a checkpoint, or from the start, until the end or a signal; the optimizer step that was
        reached, whose state is saved where checkpoints are written. Raises DivergedError."""
        with self.stop.watching():
            self.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        return int(self.state.global_step)

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """Add the gradient of this process's share of an optimizer step, and return the step's loss.

        Each micro-batch's loss is its share of the step's, so the shares are summed, over all processes. Where the
        memory does not suffice, a process alone begins the step again in micro-batches of half the size.
        Raises DivergedError, in every process, if the loss is not finite; MemoryExceeded if a single row is too much,
        or if there are other processes.
        """
        set_training(model)
        while True:
            micro_batches = self.batches.micro_batches(inputs["step"])
            try:
                share = self._add_gradients(model, micro_batches)
                break
            except REFUSALS as error:
                if not out_of_memory(error):
                    raise
            # Outside of the handler, whose traceback would keep alive what was computed so far.
            self._begin_again(model, micro_batches)
        (total,) = self.ranks.totals([float(share)])
        if not math.isfinite(total):
            raise DivergedError(f"the loss is not finite at step {self.state.global_step + 1}; lower the learning rate")
        return share.new_tensor(total)

    def _begin_again(self, model: Model, refused: Sequence[MicroBatch]) -> None:
        """Forget what was added of the step, and compute less at once from now on."""
        if self.ranks.count > 1:
            rows = max(map(len, refused))
            why = "do not fit into the memory, and the other processes cannot begin the step again"
            remedy = f"; {self.remedy(max(1, rows // 2))}" if self.remedy else ""
            raise MemoryExceeded(f"process {self.ranks.index}: {rows} rows at once {why}{remedy}")
        self.batches.halve(refused)
        model.zero_grad()
        self.meter.drop()
        clear_device_cache(garbage_collection=True)
        self.on_halved(self.batches.limits, self.state.global_step + 1)

    def _add_gradients(self, model: Model, micro_batches: Sequence[MicroBatch]) -> Tensor:
        losses = []
        for number, micro_batch in enumerate(micro_batches, start=1):
            last = number == len(micro_batches)
            with nullcontext() if last else self._alone(model):
                losses.append(self._add_gradient(model, self.assembler.collate(micro_batch)))
        return torch.stack(losses).sum()

    def _alone(self, model: Model) -> AbstractContextManager[None]:
        """Gradients are added up within the process and shared once a step; but whole gradients are what FSDP is there
        to avoid, so there each micro-batch's are shared."""
        return nullcontext() if self.is_fsdp_enabled else self.accelerator.no_sync(model)

    def _add_gradient(self, model: Model, collated: dict[str, Any]) -> Tensor:
        with self.compute_loss_context_manager():
            loss = self.compute_loss(model, self._prepare_inputs(collated))
        self.accelerator.backward(loss * self.ranks.count)
        return loss.detach()

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Tensor:
        """A micro-batch's share of the loss."""
        with self.precision():  # the model's own forward is in it anyway, but not what decides whether rows are packed
            through: Any = model if model is self.model else Through(model, cast(Model, self.model))
            batch = self.assembler.batch(through, inputs)
        loss = self.loss(batch)
        if not inputs["micro_batch"].counts:
            return loss * 0
        self.meter.add(batch.rows)
        return loss

    def whole_weights(self) -> dict[str, Tensor]:
        """All weights by name, in the first process, where each holds a part of them. All processes must ask."""
        weights: dict[str, Tensor] = self.accelerator.get_state_dict(self.model_wrapped)
        return weights

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        with saving(Path(str(self.args.output_dir)) / f"checkpoint-{self.state.global_step}"):
            super()._save_checkpoint(model, trial)

    def _load_scaler(self, checkpoint: str | None) -> None:
        """Only where gradients are scaled: what begins in fp16 may go on in another precision."""
        if self.accelerator.scaler is not None:
            super()._load_scaler(checkpoint)

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Not counted: transformers would warn that it cannot."""
        return 0


def check_shardable(recipe: Recipe, ranks: Ranks) -> None:
    """Raise RecipeError for what would not survive that the model is spread over the processes."""
    lora = recipe.lora
    refused = {
        "weights=bfloat16": recipe.weights == "bfloat16" and lora is None,
        "optimizer=adamw8bit": recipe.optimizer == "adamw8bit",
        "anchor": recipe.anchor > 0,
        "lora.quantisation": lora is not None and lora.quantisation != "none",
    }
    named = [setting for setting, used in refused.items() if used]
    if ranks.sharded and named:
        raise RecipeError(f"{named[0]} works with a whole model in every process (DDP), not with FSDP")


def with_adapters(model: Model, recipe: Recipe) -> Model:
    """The model that is trained: with new adapters where the recipe has any, else itself."""
    return add_lora(model, recipe.lora) if recipe.lora else model


def put_together(model: Model, weights: dict[str, Tensor] | None, reload: Callable[[], Model]) -> Model:
    """The trained model; where each process held a part of it, one put together anew from all weights."""
    if weights is None:
        return model
    whole = reload()
    whole.load_state_dict(weights)
    return whole


class _Identity(Dataset[Step]):
    """A dataset whose items are the sampler's own choices."""

    def __getitem__(self, step: Any) -> Step:
        chosen: Step = step
        return chosen

    def __len__(self) -> int:
        return 1


def _collate(steps: list[Step]) -> dict[str, Any]:
    """Not a method of the trainer: the loader, which the trainer holds, would hold the trainer and so the model."""
    (step,) = steps
    return {"step": step}


def _arguments(setup: TrainingSetup, batches: PairedBatches, folder: Path, device: torch.device) -> TrainingArguments:
    recipe, plan = setup.recipe, setup.plan
    total = len(batches) * recipe.epochs
    arguments = TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=recipe.epochs,
        per_device_train_batch_size=batches.batch_size,
        learning_rate=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        max_grad_norm=recipe.max_grad_norm,
        lr_scheduler_type="linear",
        warmup_steps=min(round(recipe.warmup_epochs * len(batches)), total - 1),
        seed=recipe.seed,
        bf16=plan.precision == "bf16",
        fp16=plan.precision == "fp16",
        activation_checkpointing=plan.checkpointing,
        activation_checkpointing_kwargs={"use_reentrant": False},
        use_cpu=device.type == "cpu",
        logging_steps=1,
        # A loss that is not finite is an error here, not something to average away.
        logging_nan_inf_filter=False,
        save_strategy="steps" if setup.checkpoints else "no",
        save_steps=len(batches),
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=device.type == "cuda",
        ddp_broadcast_buffers=False,  # they never change
    )
    if plan.precision == "fp32":
        arguments.mixed_precision = "no"  # else what the launcher says would count, and the start scores differ
    if device.type == "cuda" and arguments.parallel_mode != ParallelMode.DISTRIBUTED:
        _stay_on(device, arguments)
    return arguments


def _stay_on(device: torch.device, arguments: TrainingArguments) -> None:
    """Compute on this GPU and no other, where no launcher started a process for each.

    Left alone, transformers would take the first GPU whatever the model is on, and spread a model over all of them by
    torch's DataParallel, through which no objective of ours goes.
    """
    vars(arguments)["_setup_devices"] = device  # a cached property, from which all else takes the device
    arguments._n_gpu = 1
    torch.cuda.set_device(device)
