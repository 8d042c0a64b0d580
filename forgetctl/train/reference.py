"""`forgetctl reference`: base -> reference models that never saw the forget rows, or the start model that saw all.

Plain fine-tuning on rows, a model directory for each seed. What was interrupted goes on from its last checkpoint, to
the same weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from ..errors import InputError, RunError, UsageError
from ..files.disk import free_bytes, refuse_beyond_disk, unmade
from ..files.folders import whole_folder
from ..files.writing import (
    ModelFiles,
    model_digest,
    now,
    read_json,
    refuse_in_bundle,
    text_digest,
    write_json,
)
from ..model.encoding import Encoded, encode_rows
from ..model.export import beside_weights, left_out_words, save_model
from ..model.hardware import versions
from ..model.host import undisturbed
from ..model.load import (
    ModelFacts,
    choose_device,
    inspect_trainable,
    load_encoder,
    load_for_training,
    resolve_model,
)
from ..model.memory import memory_within
from ..model.placement import Placement
from ..model.processes import Ranks, join
from ..model.protocol import Model
from ..model.rests import without_marked
from ..model.taught import RECORD
from ..progress import Bar, Progress
from ..recipe.recipe import Lora, Recipe
from ..rows.formats import Fields
from ..rows.reading import RowFile, read_rows
from ..rows.row import Row
from ..rows.spans import without
from ..runs.layout import PROGRESS_LOG
from .attempt import Attempt, ComputeSettings
from .callbacks import Figures
from .checkpoints import checkpoint_bytes
from .distributed import main_progress
from .fine_tuning import fine_tuning, fine_tuning_task
from .plan import ComputePlan, Workload, disk_bytes, training_dtype, training_precision
from .resuming import Resumption, say_halved
from .schedule import MicroBatchLimits
from .trainer import (
    ObjectiveTrainer,
    TrainingHooks,
    TrainingSetup,
    check_shardable,
    put_together,
    with_adapters,
)

OPTIONS = frozenset({"--optimizer", "--max-length", "--lora"})
"""Options of the command that make do with less memory."""
PROMPT_FORMAT = "Question: {prompt}\nAnswer:"


@dataclass(frozen=True, kw_only=True)
class ReferenceOptions:
    """What to train on what: the rows of `retain` and `also`, however many, less those of `without`, for seeds 1 to
    `seeds`. fields: its limits are of `without`. max_memory: bytes that each process is planned to take at most, None
    for all that are free."""

    base: str
    retain: Path
    out: Path
    also: tuple[Path, ...] = ()
    without: tuple[Path, ...] = ()
    seeds: int = 1
    fields: Fields = field(default_factory=Fields)
    device: str = "auto"
    allow_download: bool = False
    max_memory: int | None = None


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """How a base model learns its rows; the defaults are the NPO paper's for TOFU and Llama-2-7B-chat.

    micro_batch: most rows in memory at once, None for as many as the plan has. It and the precision change nothing but
    rounding. lora: adapters, merged in the end, instead of all weights.
    """

    learning_rate: float = 1e-5
    epochs: int = 5
    batch_size: int = 32
    weight_decay: float = 0.01
    warmup_epochs: float = 1.0
    max_grad_norm: float = 1.0
    max_length: int | None = None
    prompt_format: str = PROMPT_FORMAT
    micro_batch: int | None = None
    precision: str = "auto"
    optimizer: str = "adamw"
    lora: Lora | None = None

    def recipe(self, seed: int) -> Recipe:
        """The same for the trainer."""
        own = {name: value for name, value in asdict(self).items() if name != "micro_batch"}
        lora = self.lora.model_dump() if self.lora else None
        return fine_tuning(**{**own, "lora": lora, "micro_batch_size": self.micro_batch, "seed": seed})

    def as_record(self) -> dict[str, Any]:
        """What decides the weights. What later versions added is there where it is not the default, so that models of
        earlier ones are known again."""
        values = {name: value for name, value in asdict(self).items() if name not in ROUNDING}
        values["lora"] = self.lora.model_dump() if self.lora else None
        return {name: value for name, value in values.items() if value != ADDED.get(name, self)}


ROUNDING = ("micro_batch", "precision")
"""Settings that change nothing but rounding."""
ADDED = {"optimizer": "adamw", "lora": None}
"""Settings that records of models by earlier versions lack, with what those models were made with."""


@dataclass(frozen=True, repr=False)
class TrainingRows:
    """Rows to learn, the file that messages name them by, and their digest."""

    rows: Sequence[Row]
    origin: Path
    digest: str


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Where it is computed, by which processes together, and in how much memory."""

    device: torch.device
    ranks: Ranks = field(default_factory=Ranks)
    max_memory: int | None = None


@undisturbed()
def run_reference(options: ReferenceOptions, tuning: Tuning, progress: Progress | None = None) -> list[Path]:
    """The model directories OUT/seed-1, OUT/seed-2 ..., made where they are missing.

    Raises UsageError for inputs that cannot be used, or where OUT holds models of other inputs; Interrupted after a
    signal, with the state saved: the same call then goes on. Where a launcher started several processes, each of them
    must call this.
    """
    refuse_in_bundle(options.out)
    device = choose_device(options.device)
    ranks = join(device)
    machine = Machine(device=ranks.device or device, ranks=ranks, max_memory=options.max_memory)
    progress = main_progress(ranks, progress, machine.device)
    with ranks.agreed():
        check_shardable(tuning.recipe(seed=1), ranks)
        base = resolve_model(options.base, allow_download=options.allow_download)
        rows = read_training_rows(options)
        try:
            options.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unmade(options.out, error) from None
    progress.say(f"{len(rows.rows)} rows to learn.")
    if marked := sum(bool(row.spans) for row in rows.rows):
        progress.say(f"{marked} of them are learned as if their marked parts had never been written.")
    made = [options.out / f"seed-{seed}" for seed in range(1, options.seeds + 1)]
    logged = progress.logged(options.out / PROGRESS_LOG)
    with ranks.spoken_once(), logged, memory_within(machine.device, options.max_memory):
        for seed, out in enumerate(made, start=1):
            make_model(base, rows, tuning, seed, out, machine, progress)
    return made


def read_training_rows(options: ReferenceOptions) -> TrainingRows:
    """The rows to learn. Of one with spans only what these do not mark is learned.

    Raises InputError for a file of `without` of which no row is among them: nothing would be left out.
    """
    rows = [row for path in (options.retain, *options.also) for row in RowFile(path, options.fields)]
    for path in options.without:
        kept = without(rows, read_rows(path, options.fields))
        if kept == rows:
            raise InputError(path, "holds none of the rows to learn, so leaving them out changes nothing")
        rows = kept
    if not rows:
        raise UsageError("no row is left to learn")
    spans = (f" {row.spans!r}" if row.spans else "" for row in rows)
    digest = text_digest(f"{row.context!r} {row.response!r}{some}\n" for row, some in zip(rows, spans, strict=True))
    return TrainingRows(rows, options.retain, digest)


def make_model(
    base: Path, training: TrainingRows, tuning: Tuning, seed: int, out: Path, machine: Machine, progress: Progress
) -> bool:
    """Fine-tune `base` and write it to `out`, whole or not at all; False if the same was there already.

    Raises UsageError if something else is there, ModelError and InputError for a base or rows that cannot be used,
    MemoryExceeded if it does not fit, Interrupted after a signal, DivergedError if the loss stops being finite.
    """
    ranks = machine.ranks
    with ranks.agreed():
        facts = inspect_trainable(base)
        base, files = facts.path, ModelFiles.of(facts.path)
    wanted = ranks.from_first(lambda: _wanted(base, training, tuning, seed))
    recipe = tuning.recipe(seed)
    attempt = Attempt(out, wanted, _compute_settings(recipe, facts, machine), ranks)
    if _is_made(attempt, progress):
        return False
    with ranks.agreed():
        encoded = _encoded(facts, training, recipe, out, progress)
    work = Workload(
        facts=facts,
        rows={"retain": encoded},
        recipe=recipe,
        device=machine.device,
        holders=ranks.count if ranks.sharded else 1,
        options=OPTIONS,
    )
    with attempt.held():
        if _is_made(attempt, progress):  # by another command, meanwhile
            return False
        plan = attempt.begin(work, progress)
        progress.say(f"Computing with {plan.why}.")
        trained = _train(attempt, work, files, plan, progress)
        with ranks.agreed():
            if ranks.first:
                _save(trained, work, attempt)
    return True


def _wanted(base: Path, training: TrainingRows, tuning: Tuning, seed: int) -> dict[str, Any]:
    return {
        "base_sha256": model_digest(base),
        "rows": len(training.rows),
        "rows_sha256": training.digest,
        "settings": tuning.as_record(),
        "seed": seed,
    }


def _compute_settings(recipe: Recipe, facts: ModelFacts, machine: Machine) -> ComputeSettings:
    return ComputeSettings(
        max_memory=machine.max_memory,
        micro_batch=recipe.micro_batch_size,
        precision=training_precision(recipe, facts, machine.device)[0],
        device=machine.device.type,
        processes=machine.ranks.count,
    )


def _is_made(attempt: Attempt, progress: Progress) -> bool:
    """Whether the model is there already; what a killed command left of its training then goes."""
    ranks = attempt.ranks
    if not ranks.from_first(lambda: _made(attempt.out, attempt.wanted)):
        return False
    if ranks.first:
        attempt.remove()
    progress.say(f"{attempt.out} is there already, of the same base, rows and settings.")
    return True


def _made(out: Path, wanted: dict[str, Any]) -> bool:
    """Whether `out` holds what is wanted. Raises UsageError if it holds something else."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    if not (out / RECORD).is_file():
        raise UsageError(f"{out} is in use, and by nothing that `forgetctl reference` made")
    record = read_json(out / RECORD)
    if changed := [name.replace("_", " ") for name, value in wanted.items() if record.get(name) != value]:
        raise UsageError(f"{out} was made with other {', '.join(changed)}; choose another --out")
    if record.get("model_sha256") != model_digest(out):
        raise RunError(f"{out} has changed since it was made; remove it to make it again")
    return True


def _encoded(facts: ModelFacts, training: TrainingRows, recipe: Recipe, out: Path, progress: Progress) -> list[Encoded]:
    """The rows' ids, once it is known that the model can be trained on them and saved."""
    refuse_beyond_disk(out, facts.bytes, "the model")
    Placement(facts.path)  # raises for what could not be saved in the end
    if left_out := beside_weights(facts.path).left_out:
        progress.say(left_out_words(left_out))
    encoder = load_encoder(facts, recipe.prompt_format)
    encoded, _ = encode_rows(
        encoder, training.rows, training.origin, facts.context, recipe.max_length, part=without_marked
    )
    for note in facts.notes:
        progress.say(f"{facts.path}: {note}")
    return encoded


@dataclass(frozen=True)
class _Trained:
    """The model, or, where each process held a part of it, all its weights by name."""

    model: Model
    weights: dict[str, torch.Tensor] | None


def _train(attempt: Attempt, work: Workload, files: ModelFiles, plan: ComputePlan, progress: Progress) -> _Trained:
    """Train to the end, from the last whole checkpoint if there is one."""
    ranks, recipe = attempt.ranks, work.recipe
    with ranks.agreed():
        model = _load(work, work.device)
        files.check()  # the digest in the record is of what was loaded
    torch.manual_seed(recipe.seed)  # adapters start from random numbers
    model = with_adapters(model, recipe)
    resumption = Resumption.find(attempt.checkpoints, ranks, progress, attempt.out.name)
    checkpoints = _place_of_checkpoints(attempt, work, resumption, progress)
    with progress.bar(f"Training {attempt.out.name}", 0) as bar:

        def halved(limits: MicroBatchLimits, step: int) -> None:
            say_halved(progress, limits, step)
            attempt.keep(replace(plan, limits=limits))

        setup = TrainingSetup(
            recipe=recipe,
            plan=plan,
            checkpoints=checkpoints,
            ranks=ranks,
            remedy=lambda rows: f"repeat the command with --micro-batch {rows}",
        )
        hooks = TrainingHooks(on_step=lambda figures: _show(bar, figures), on_halved=halved)
        trainer = ObjectiveTrainer(model, fine_tuning_task(work.rows["retain"]), setup, hooks)
        then = "goes on from there" if checkpoints else _without_checkpoints(resumption)
        resumption.train(trainer, bar, f"the same command {then}", str(attempt.out))
    return _Trained(model, trainer.whole_weights() if ranks.sharded else None)


def _place_of_checkpoints(attempt: Attempt, work: Workload, resumption: Resumption, progress: Progress) -> Path | None:
    """None where they do not fit on the disk beside those that are there, whose place new ones take: a training that is
    interrupted then goes on from where it goes on now."""
    needed = disk_bytes(work.facts, work.recipe)
    if attempt.ranks.from_first(lambda: free_bytes(attempt.folder) + checkpoint_bytes(attempt.checkpoints) >= needed):
        return attempt.checkpoints
    progress.say(f"The disk has no room for checkpoints: what is interrupted {_without_checkpoints(resumption)}.")
    return None


def _without_checkpoints(resumption: Resumption) -> str:
    """What becomes of a training that is interrupted and wrote none, in words."""
    return "begins again" if resumption.checkpoint is None else f"goes on after step {resumption.step} again"


def _show(bar: Bar, figures: Figures) -> None:
    bar.advance(1, f"loss {figures['loss']:.3f}")


def _load(work: Workload, where: torch.device) -> Model:
    return load_for_training(work.facts, where, work.recipe, training_dtype(work.recipe, work.facts, work.device))


def _save(trained: _Trained, work: Workload, attempt: Attempt) -> None:
    """Write the model with its record, and forget how it was made."""
    out = attempt.out
    model = put_together(
        trained.model, trained.weights, lambda: with_adapters(_load(work, torch.device("cpu")), work.recipe)
    )
    with whole_folder(out) as draft:
        save_model(model, work.facts, draft)
        made: dict[str, Any] = {"model_sha256": model_digest(draft), "created": now(), "versions": versions()}
        write_json(draft / RECORD, {**attempt.wanted, **made})
    attempt.remove()
