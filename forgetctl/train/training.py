"""start -> unlearned: score the start model once, train, save the artefact that would ship.

Every process of a run goes through all of it; only the first one writes.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, cast

import torch

from ..errors import DivergedError, Interrupted, RunError
from ..files.folders import whole_folder
from ..files.plain_text import printable
from ..files.writing import file_digest, model_digest, read_json, write_json
from ..losses.methods import Role, WeightedSum
from ..model.adapters import keep_adapter
from ..model.coarse_scores import coarse
from ..model.companions import ADAPTER_WEIGHTS
from ..model.encoding import Encoded
from ..model.export import Shipped, save_model
from ..model.hardware import peak_memory
from ..model.load import ModelFacts, trainable_parameters
from ..model.processes import Ranks
from ..model.protocol import AdaptedModel, Model
from ..model.scores import Scores
from ..model.states import AnswerStates
from ..progress import Bar, Progress
from ..recipe.recipe import Recipe
from ..runs.run import Run
from ._guard import probes
from .callbacks import Figures, Watch
from .checkpoints import last_checkpoint
from .plan import ComputePlan
from .resuming import Resumption, say_halved
from .schedule import MicroBatchLimits
from .term_inputs import OtherAnswers, RoleRows, StartModel, TermInputs, collect_inputs
from .trainer import ObjectiveTrainer, TrainingHooks, TrainingSetup, TrainingTask, put_together, with_adapters


@dataclass(frozen=True, kw_only=True)
class StartModelFiles:
    """The files that the start model is from. reload: the start model once more, in the memory of the processor.
    check: raises if they are no longer what they were. adapter_of: what an adapter that is kept names as its base
    model; None to keep none."""

    facts: ModelFacts
    reload: Callable[[], Model]
    check: Callable[[], None] = lambda: None
    adapter_of: str | None = None


@dataclass(frozen=True, kw_only=True)
class Material:
    """What training needs: the start model, the encoded rows of each role, and what makes other answers to the forget
    prompts.

    plan: how it is computed here. levels: where each forget row is to end, in nats a token, if the loss asks for that.
    measure: scores the model after every epoch; the scores are kept for the report and decide nothing. watch: what else
    looks at the model on the way, made for the number of steps of an epoch. ranks: the processes that do it together.
    """

    model: Model
    files: StartModelFiles
    rows: Mapping[Role, RoleRows]
    answers: OtherAnswers
    plan: ComputePlan
    levels: Sequence[float] | None = None
    measure: Callable[[Model], Scores] | None = None
    watch: Callable[[int], Watch] | None = None
    ranks: Ranks = field(default_factory=Ranks)


def unlearn(run: Run, material: Material, recipe: Recipe, progress: Progress) -> None:
    """Train and save the unlearned model, continuing from the run's last whole checkpoint if it has one.

    Raises Interrupted after a signal, with the state saved; DivergedError if the loss stops being finite.
    """
    plan, ranks = material.plan, material.ranks
    with ranks.agreed():
        run.stage("unlearn", "running", computing=plan.as_json(), processes=ranks.count, sharded=ranks.sharded)
    task = _task(run, material, recipe, progress)
    torch.manual_seed(recipe.seed)  # adapters start from random numbers
    model = with_adapters(material.model, recipe)
    trainable = trainable_parameters(model)
    started = time.monotonic()
    resumption = Resumption.find(run.checkpoints, ranks, progress)
    with ranks.agreed():
        run.cut_log(resumption.step)
    with progress.bar("Unlearning", 0) as bar:
        hooks = TrainingHooks(
            on_step=lambda figures: _show(run, bar, figures),
            on_halved=lambda limits, step: _halved(run, plan, limits, step, progress),
        )
        setup = TrainingSetup(
            recipe=recipe,
            plan=plan,
            checkpoints=run.checkpoints,
            ranks=ranks,
            remedy=lambda rows: f"start a new run with --set micro_batch_size={rows}",
        )
        trainer = ObjectiveTrainer(model, task, setup, hooks)
        if material.measure is not None:
            trainer.add_callback(Watch(len(trainer.batches), partial(_track, run, ranks, material.measure)))
        if material.watch is not None:
            trainer.add_callback(material.watch(len(trainer.batches)))
        _train(run, trainer, resumption, bar)
    seconds = time.monotonic() - started
    facts = {
        "steps": trainer.total_steps,
        "epochs": recipe.epochs,
        "seconds": round(seconds, 2),
        "seconds_per_epoch": round(seconds / max(trainer.total_steps - resumption.step, 1) * len(trainer.batches), 3),
        "trainable_parameters": trainable,
    }
    _finish(run, trainer, model, material, recipe, facts)


def _task(run: Run, material: Material, recipe: Recipe, progress: Progress) -> TrainingTask:
    """The loss with its rows, and with what the start model has to say of them, while it still is one."""
    loss = WeightedSum(recipe.weighted_terms(), recipe.all_hyperparameters())
    start = StartModel(
        model=material.model,
        recipe=recipe,
        # At the start the ratio must be exactly one, rounding included.
        precision=partial(material.plan.autocast, material.model.device),
        ranks=material.ranks,
    )
    start_logp = _start_scores(run, material, start, progress) if "start" in loss.needs("forget") else None
    inputs = collect_inputs(
        loss, material.rows, material.answers, start, progress, start_logp=start_logp, levels=material.levels
    )
    rows = {role: some.rows for role, some in material.rows.items() if loss.reads(role)}
    return TrainingTask(loss=loss, rows=rows, inputs=inputs, guarded=_guarded(inputs, material, start))


def _finish(
    run: Run, trainer: ObjectiveTrainer, model: Model, material: Material, recipe: Recipe, facts: dict[str, Any]
) -> None:
    """Save the model and note that the run is done."""
    ranks = material.ranks
    weights = trainer.whole_weights() if ranks.sharded else None
    peak = max(ranks.gather(peak_memory(material.model.device)))
    with ranks.agreed():
        if not ranks.first:
            return
        whole = put_together(model, weights, lambda: with_adapters(material.files.reload(), recipe))
        if material.files.adapter_of is not None:
            facts |= {"adapter_sha256": _save_adapter(run, cast(AdaptedModel, whole), material.files.adapter_of)}
        shipped = _save(run, whole, material)
        facts |= {"untouched_weights": shipped.untouched, "left_out": [printable(name) for name in shipped.left_out]}
        digest = model_digest(run.model_dir)
        facts |= {"log_sha256": file_digest(run.log_file), "model_sha256": digest}
        run.stage("unlearn", "done", **facts, peak_memory_bytes=peak)
        # Optimizer state and half-unlearned weights are of no use any more and must not outlive the request.
        shutil.rmtree(run.checkpoints, ignore_errors=False)


def _train(run: Run, trainer: ObjectiveTrainer, resumption: Resumption, bar: Bar) -> None:
    """Train to the end. Raises Interrupted or DivergedError, having noted in the run how far it got."""
    total = trainer.total_steps
    try:
        resumption.train(trainer, bar, f"continue with: forgetctl unlearn --resume {run.path}")
    except DivergedError as error:
        kept = last_checkpoint(run.checkpoints)
        run.stage("unlearn", "diverged", step=trainer.state.global_step, steps=total)
        raise DivergedError(f"{error}; last good state: {kept or 'the start model'}") from None
    except Interrupted:
        run.stage("unlearn", "interrupted", step=trainer.state.global_step, steps=total)
        raise


def _start_scores(run: Run, material: Material, start: StartModel, progress: Progress) -> list[float]:
    """The start model's log-probabilities of the forget rows: computed once, then read from the run."""
    ranks, forget = material.ranks, material.rows["forget"].rows
    tokens = [row.tokens for row in forget]
    known = ranks.from_first(lambda: _known_scores(run, tokens))
    if known is not None:
        return known
    with progress.bar("Scoring the start model", len(forget)) as bar:
        logp = start.scores(forget, bar.advance)
    with ranks.agreed():
        if ranks.first:
            write_json(run.start_file, {"logp": logp, "tokens": tokens})
    return logp


def _known_scores(run: Run, tokens: list[int]) -> list[float] | None:
    if not run.start_file.is_file():
        return None
    cached = read_json(run.start_file)
    if cached.get("tokens") != tokens:
        raise RunError(f"{run.start_file} does not belong to this request")
    return [float(value) for value in cached["logp"]]


def _guarded(inputs: TermInputs, material: Material, start: StartModel) -> AnswerStates:
    """The start model on a few retain rows, for the guard against a run that destroys the model."""
    retain: Sequence[Encoded] = material.rows["retain"].rows
    chosen = probes([len(row.ids) for row in retain])
    if "retain" in inputs.states:
        return inputs.states["retain"].subset(chosen)
    return start.states(RoleRows([retain[i] for i in chosen]))


def _track(run: Run, ranks: Ranks, measure: Callable[[Model], Scores], step: int, model: Model) -> None:
    scores = measure(model)
    if ranks.first:
        write_json(run.tracked_file(step), coarse(scores).model_dump(mode="json"))


def _halved(run: Run, plan: ComputePlan, limits: MicroBatchLimits, step: int, progress: Progress) -> None:
    """Keep what turned out to fit, so that a resumed run need not find out again."""
    say_halved(progress, limits, step)
    run.event("unlearn", halved_at_step=step, tokens=limits.tokens, rows=limits.rows)
    run.stage("unlearn", "running", computing=replace(plan, limits=limits).as_json())


def _show(run: Run, bar: Bar, figures: Figures) -> None:
    run.log(figures)
    parts = [f"loss {figures['loss']:.3f}", f"forget {figures['forget_logp_per_token']:.2f}"]
    if "retain_logp_per_token" in figures:
        parts.append(f"retain {figures['retain_logp_per_token']:.2f} nats/token")
    bar.advance(1, "  ".join(parts))


def _save(run: Run, model: Model, material: Material) -> Shipped:
    with whole_folder(run.model_dir, replace=True) as draft:
        shipped = save_model(model, material.files.facts, draft)
        material.files.check()  # parts of it were read again, hours after the first time
    return shipped


def _save_adapter(run: Run, model: AdaptedModel, base: str) -> str:
    """Returns the SHA-256 of the adapter's weights."""
    with whole_folder(run.adapter_dir, replace=True) as draft:
        keep_adapter(model, base, draft)
    return file_digest(run.adapter_dir / ADAPTER_WEIGHTS)
