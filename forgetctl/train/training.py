"""start -> unlearned: score the start model once, train, save the artefact that would ship.

Every process of a run goes through all of it; only the first one writes.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import DivergedError, Interrupted, RunError
from ..files.folders import whole_folder
from ..files.plain_text import printable
from ..files.writing import file_digest, model_digest, read_json, write_json
from ..losses.methods import Role, WeightedSum
from ..model.adapters import keep_adapter
from ..model.companions import ADAPTER_WEIGHTS
from ..model.encoding import Encoded
from ..model.export import Shipped, save_model
from ..model.hardware import peak_memory
from ..model.load import ModelFacts, add_lora, trainable_parameters
from ..model.processes import Ranks
from ..model.scores import Scores
from ..model.shares import shared_scores
from ..model.states import AnswerStates
from ..progress import Bar, Progress
from ..recipe.recipe import Recipe
from ..rows.row import Row
from ..runs.run import Run
from .callbacks import Figures
from .checkpoints import checkpoint_step, last_checkpoint
from .extras import Alternatives, Extras, Mismatched, default_layer, derangement, watch_layer
from .fit import Fit
from .guard import probes
from .schedule import Limits
from .stand_ins import NO_STAND_INS, StandIns
from .tracking import Watch
from .trainer import UnlearnTrainer


@dataclass(frozen=True)
class Material:
    """What training needs: the start model, the encoded rows, and the means to make others of the forget rows.

    encode: ids of rows, within the model's context. fit: how it is computed here. refusals: uninformed answers to draw
    from. levels: where each forget row is to end, in nats a token, if the loss asks for that. stand_ins: what the term
    k_unseen reads. measure: scores the model after every epoch; the scores are kept for the report and decide nothing.
    watch: what else looks at the model on the way, made for the number of steps of an epoch. check_start: raises if the
    files of the start model are no longer what they were. reload: the start model once more, in the memory of the
    processor. adapter_of: what an adapter that is kept names as its base model; None to keep none. ranks: the processes
    that do it together.
    """

    model: Any
    facts: ModelFacts
    forget: Sequence[Encoded]
    retain: Sequence[Encoded]
    forget_rows: Sequence[Row]
    refusals: Sequence[str]
    encode: Callable[[Sequence[Row]], list[Encoded]]
    fit: Fit
    reload: Callable[[], Any]
    levels: Sequence[float] | None = None
    stand_ins: StandIns = NO_STAND_INS
    check_start: Callable[[], None] = lambda: None
    measure: Callable[[Any], Scores] | None = None
    watch: Callable[[int], Watch] | None = None
    adapter_of: str | None = None
    ranks: Ranks = field(default_factory=Ranks)


def unlearn(run: Run, material: Material, recipe: Recipe, progress: Progress) -> None:
    """Train and save the unlearned model, continuing from the run's last whole checkpoint if it has one.

    Raises Interrupted after a signal, with the state saved; DivergedError if the loss stops being finite.
    """
    loss = WeightedSum(recipe.weighted_terms(), recipe.all_hyperparameters())
    fit, ranks = material.fit, material.ranks
    with ranks.agreed():
        run.stage("unlearn", "running", computing=fit.as_json(), processes=ranks.count, sharded=ranks.sharded)
    with fit.autocast(material.model.device):  # at the start the ratio must be exactly one, rounding included
        start_logp = _start_scores(run, material, progress) if "start" in loss.needs("forget") else None
        extras = _extras(loss, material, recipe, progress)
        guarded = _guarded(extras, material, recipe)
    torch.manual_seed(recipe.seed)  # adapters start from random numbers
    model = _adapted(material.model, recipe)
    trainable = trainable_parameters(model)
    started = time.monotonic()
    checkpoint, first_step = _continue(run, ranks, progress)
    with progress.bar("Unlearning", 0) as bar:
        trainer = UnlearnTrainer(
            model,
            loss,
            material.forget,
            material.retain if loss.reads("retain") else [],
            start_logp,
            unseen=material.stand_ins.rows,
            recipe=recipe,
            fit=fit,
            folder=run.checkpoints,
            on_step=lambda figures: _show(run, bar, figures),
            on_halved=lambda limits, step: _halved(run, fit, limits, step, progress),
            extras=extras,
            guarded=guarded,
            ranks=ranks,
        )
        if material.measure is not None:
            trainer.add_callback(Watch(len(trainer.batches), partial(_track, run, ranks, material.measure)))
        if material.watch is not None:
            trainer.add_callback(material.watch(len(trainer.batches)))
        total = len(trainer.batches) * recipe.epochs
        bar.resize(total, first_step)
        _train(run, trainer, checkpoint, total)
    seconds = time.monotonic() - started
    facts = {
        "steps": total,
        "epochs": recipe.epochs,
        "seconds": round(seconds, 2),
        "seconds_per_epoch": round(seconds / max(total - first_step, 1) * len(trainer.batches), 3),
        "trainable_parameters": trainable,
    }
    _finish(run, trainer, model, material, recipe, facts)


def _continue(run: Run, ranks: Ranks, progress: Progress) -> tuple[Path | None, int]:
    """The checkpoint to go on from, and the optimizer step that it was taken after; the log ends there, too."""
    checkpoint = ranks.from_first(lambda: last_checkpoint(run.checkpoints, progress.say))
    step = 0 if checkpoint is None else checkpoint_step(checkpoint)
    if checkpoint is not None:
        progress.say(f"Continuing after step {step}.")
    with ranks.agreed():
        run.cut_log(step)
    return checkpoint, step


def _finish(
    run: Run, trainer: UnlearnTrainer, model: Any, material: Material, recipe: Recipe, facts: dict[str, Any]
) -> None:
    """Save the model and note that the run is done."""
    ranks = material.ranks
    weights = trainer.whole_weights() if ranks.sharded else None
    peak = max(ranks.gather(peak_memory(material.model.device)))
    with ranks.agreed():
        if not ranks.first:
            return
        whole = _whole(model, weights, material, recipe)
        if material.adapter_of is not None:
            facts |= {"adapter_sha256": _save_adapter(run, whole, material.adapter_of)}
        shipped = _save(run, whole, material)
        facts |= {"untouched_weights": shipped.untouched, "left_out": [printable(name) for name in shipped.left_out]}
        digest = model_digest(run.model_dir)
        run.stage("unlearn", "done", **facts, peak_memory_bytes=peak, model_sha256=digest)
        # Optimizer state and half-unlearned weights are of no use any more and must not outlive the request.
        shutil.rmtree(run.checkpoints, ignore_errors=False)


def _adapted(model: Any, recipe: Recipe) -> Any:
    return add_lora(model, recipe.lora) if recipe.lora else model


def _whole(model: Any, weights: dict[str, Tensor] | None, material: Material, recipe: Recipe) -> Any:
    """The trained model; where each process held a part of it, one put together anew from all weights."""
    if weights is None:
        return model
    model = _adapted(material.reload(), recipe)
    model.load_state_dict(weights)
    return model


def _train(run: Run, trainer: UnlearnTrainer, checkpoint: Path | None, total: int) -> None:
    """Train to the end. Raises Interrupted or DivergedError, having noted in the run how far it got."""
    try:
        with trainer.stop.watching():
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    except DivergedError as error:
        kept = last_checkpoint(run.checkpoints)
        run.stage("unlearn", "diverged", step=trainer.state.global_step, steps=total)
        raise DivergedError(f"{error}; last good state: {kept or 'the start model'}") from None
    if trainer.state.global_step < total:
        run.stage("unlearn", "interrupted", step=trainer.state.global_step, steps=total)
        raise Interrupted(
            f"stopped after step {trainer.state.global_step} of {total}; "
            f"continue with: forgetctl unlearn --resume {run.path}"
        )


def _start_scores(run: Run, material: Material, progress: Progress) -> list[float]:
    """The start model's log-probabilities of the forget rows: computed once, then read from the run."""
    ranks, tokens = material.ranks, [row.tokens for row in material.forget]
    known = ranks.from_first(lambda: _known_scores(run, tokens))
    if known is not None:
        return known
    with progress.bar("Scoring the start model", len(material.forget)) as bar:
        logp = shared_scores(ranks, material.model, material.forget, bar.advance)
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


def _extras(loss: WeightedSum, material: Material, recipe: Recipe, progress: Progress) -> Extras:
    """What the loss's terms declared that they need, from the start model while it still is one."""
    model, rows, needs = material.model, material.forget_rows, loss.needs("forget")
    alternatives = mismatched = None
    if "alternative" in needs:

        def encode(row: int, refusal: int) -> Encoded:
            return material.encode([rows[row].answering(material.refusals[refusal])])[0]

        alternatives = Alternatives(encode, len(rows), len(material.refusals), recipe.seed)
    if alternatives and "alternative_start" in needs:
        _score_refusals(alternatives, material, recipe, progress)
    if "mismatched" in needs:
        partners = derangement(len(rows), recipe.seed)
        pairs = material.encode(
            [row.answering(rows[partner].response) for row, partner in zip(rows, partners, strict=True)]
        )
        mismatched = Mismatched(pairs, shared_scores(material.ranks, model, pairs))
    states: dict[Role, AnswerStates] = {}
    if needs & {"kl", "start_logits"}:
        states["forget"] = _states(material, material.forget, recipe)
    if "kl" in loss.needs("retain"):
        states["retain"] = _states(material, material.retain, recipe)
    if "kl" in loss.needs("unseen"):
        states["unseen"] = _states(material, material.stand_ins.sources, recipe).subset(material.stand_ins.source_of)
    layer = None
    if "hidden" in needs | loss.needs("retain"):
        layer = watch_layer(model, material.retain, recipe.layer or default_layer(model), recipe.seed)
    return Extras(alternatives, mismatched, states, layer, "logits" in needs, material.levels)


def _score_refusals(alternatives: Alternatives, material: Material, recipe: Recipe, progress: Progress) -> None:
    with progress.bar("Scoring the refusals", 0) as bar:
        alternatives.score_start(
            recipe.epochs, lambda rows: shared_scores(material.ranks, material.model, rows, bar.advance)
        )


def _guarded(extras: Extras, material: Material, recipe: Recipe) -> AnswerStates:
    """The start model on a few retain rows, for the guard against a run that destroys the model."""
    chosen = probes([len(row.ids) for row in material.retain])
    if "retain" in extras.states:
        return extras.states["retain"].subset(chosen)
    return _states(material, [material.retain[i] for i in chosen], recipe)


def _states(material: Material, rows: Sequence[Encoded], recipe: Recipe) -> AnswerStates:
    """The start model's states of rows, with a head that stays whole and as it is."""
    return AnswerStates(material.model, rows, copy_head=recipe.lora is None or material.ranks.sharded)


def _track(run: Run, ranks: Ranks, measure: Callable[[Any], Scores], step: int, model: Any) -> None:
    scores = measure(model)
    if ranks.first:
        write_json(run.tracked_file(step), scores.model_dump(mode="json"))


def _halved(run: Run, fit: Fit, limits: Limits, step: int, progress: Progress) -> None:
    """Keep what turned out to fit, so that a resumed run need not find out again."""
    progress.say(f"Step {step} did not fit into the memory: going on with {limits.tokens} tokens at once.")
    run.event("unlearn", halved_at_step=step, tokens=limits.tokens, rows=limits.rows)
    run.stage("unlearn", "running", computing=replace(fit, limits=limits).as_json())


def _show(run: Run, bar: Bar, figures: Figures) -> None:
    run.log(figures)
    parts = [f"loss {figures['loss']:.3f}", f"forget {figures['forget_logp_per_token']:.2f}"]
    if "retain_logp_per_token" in figures:
        parts.append(f"retain {figures['retain_logp_per_token']:.2f} nats/token")
    bar.advance(1, "  ".join(parts))


def _save(run: Run, model: Any, material: Material) -> Shipped:
    with whole_folder(run.model_dir, replace=True) as draft:
        shipped = save_model(model, material.facts, draft)
        material.check_start()  # parts of it were read again, hours after the first time
    return shipped


def _save_adapter(run: Run, model: Any, base: str) -> str:
    """Returns the SHA-256 of the adapter's weights."""
    with whole_folder(run.adapter_dir, replace=True) as draft:
        keep_adapter(model, base, draft)
    return file_digest(run.adapter_dir / ADAPTER_WEIGHTS)
