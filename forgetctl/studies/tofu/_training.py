"""One run of the study: unlearned as `forgetctl unlearn` does it, measured on the way, remembered as lines of a table.

Everything is a pure function of the plan and the run's key, so a run that was killed goes on from its last checkpoint
and ends with the same figures.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from ...errors import DivergedError
from ...files.writing import write_bytes
from ...losses.methods import Role, WeightedSum
from ...model.load import choose_device, inspect_trainable, load_encoder, load_for_training, load_model
from ...model.processes import Ranks
from ...model.protocol import Model
from ...model.scores import Scores
from ...progress import Progress, Silent
from ...recipe.recipe import CALIBRATED_RECIPE, Recipe, load_recipe
from ...rows.holdout import check_unseen, for_calibration
from ...rows.reading import read_rows
from ...rows.refusals import read_refusals
from ...rows.row import Row
from ...runs.run import Run
from ...train.callbacks import Watch
from ...train.computing import known_plan
from ...train.levels import learn_levels
from ...train.plan import ComputePlan, Workload, make_plan, training_dtype, usable_memory
from ...train.stand_ins import NO_STAND_INS, make_stand_ins
from ...train.term_inputs import OtherAnswers, RoleRows
from ...train.training import Material, StartModelFiles, unlearn
from ._data import SplitRows, TofuData
from ._evaluation import Asker, Yardstick
from ._table import DIVERGED, MEASURED, REFERENCE, START, Line, Lines, RunKey, Table
from .options import CALIBRATED

FEW_STEPS = 2
"""An epoch of no more steps than this is measured after every step, as the paper's forget01."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All that decides a study's figures but the keys of its runs.

    recipe: of every run; each sets its method, retain weight and seed. references: by split. every: epochs from one
    measurement to the next. rouge: also generate answers at every measurement and not only at the last one.
    """

    model: Path
    data: TofuData
    references: dict[str, Path]
    recipe: Recipe
    out: Path
    every: int = 1
    rouge: bool = False
    device: str = "auto"
    holdout: Path | None = None

    @property
    def table(self) -> Table:
        """The measurements."""
        return Table(self.out / "tofu.jsonl")

    @property
    def answers(self) -> Lines:
        """Answers of the models at their end."""
        return Lines(self.out / "answers.jsonl")

    def recipe_of(self, key: RunKey) -> Recipe:
        """The recipe of one run."""
        own: dict[str, Any] = {
            "method": key.method,
            "terms": None,
            "seed": key.seed,
            "retain_weight": key.retain_weight,
        }
        if key.method.endswith(CALIBRATED):
            shipped = load_recipe(CALIBRATED_RECIPE)
            parts = ("forget_weight", "retain_weight", "calibration", "anchor")
            own |= {name: getattr(shipped, name) for name in parts}
        own["method"] = key.method.removesuffix(CALIBRATED)
        return self.recipe.model_copy(update=own)


class Bench:
    """A split laid out: its rows, the start model's and the reference's figures. Made once in every process."""

    def __init__(self, plan: Plan, split: str) -> None:
        self.plan, self.split = plan, split
        self.rows: SplitRows = plan.data.split(split)
        self.facts = inspect_trainable(plan.model)
        self.device = choose_device(plan.device)
        self.encoder = load_encoder(self.facts, plan.recipe.prompt_format)
        self.asker = Asker(self.rows, self.facts, self.encoder, plan.recipe)

    @cached_property
    def yardstick(self) -> Yardstick:
        """Scores are read where they were kept; the distributions come from the models again, one after the other."""
        start = self.asker.states(self._load(self.plan.model), copy_head=False)
        reference = self._load(self.plan.references[self.split])
        return Yardstick(self._scores(REFERENCE, reference), self.asker.states(reference, copy_head=False), start)

    def unseen(self, recipe: Recipe) -> list[Row]:
        """The holdout rows that calibrate, if the recipe does. Raises InputError for a holdout that is none."""
        file, settings = self.plan.holdout, recipe.calibration
        if file is None or settings is None:
            return []
        rows = read_rows(file)
        check_unseen(file, rows, [*self.rows.forget, *self.rows.retain])
        return for_calibration(file, rows, settings.share, recipe.seed)

    def measure_ends(self) -> None:
        """The table's lines of the start model and of the reference, both as they are before any run."""
        done = self.plan.table.complete()
        for name, path in {START: self.plan.model, REFERENCE: self.plan.references[self.split]}.items():
            key = RunKey(self.split, name, 0.0, 0)
            if key not in done:
                self._measure_end(key, name, path)

    def _measure_end(self, key: RunKey, name: str, path: Path) -> None:
        """A model at a time: what it is compared with is kept without the models."""
        started, yardstick = time.monotonic(), self.yardstick
        model = self._load(path)
        figures = yardstick.line(model, self._scores(name, model), self.asker.states(model, copy_head=False))
        self.plan.answers.add([{**key._asdict(), "answers": self.asker.answers(model)}])
        self.plan.table.add([_line(key, 0, 0, 0, figures, time.monotonic() - started)])

    def _scores(self, name: str, model: Model) -> Scores:
        kept = self.plan.out / "scores" / f"forget{self.split}-{name}.json"
        if kept.is_file():
            return Scores.model_validate_json(kept.read_text(encoding="utf-8"))
        scores = self.asker.scores(model, "reference" if name == REFERENCE else "start", rouge=True)
        write_bytes(kept, scores.model_dump_json().encode())
        return scores

    def _load(self, path: Path) -> Model:
        return load_model(path, self.device, torch.float32)

    def measured(self, key: RunKey, per_epoch: int, epochs: int) -> Watch:
        """What measures the run `key` on its way and adds the lines."""
        total = per_epoch * epochs
        every = 1 if per_epoch <= FEW_STEPS else per_epoch

        def look(step: int, model: Model) -> None:
            last = step == total
            if not last and step % (every * self.plan.every):
                return
            started = time.monotonic()
            scores = self.asker.scores(model, "unlearned", rouge=last or self.plan.rouge)
            figures = self.yardstick.line(model, scores, self.asker.states(model, copy_head=False))
            if last:
                self.plan.answers.add([{**key._asdict(), "answers": self.asker.answers(model)}])
            self.plan.table.add([_line(key, step, total, step / per_epoch, figures, time.monotonic() - started)])

        return Watch(every, look)


def _line(key: RunKey, step: int, steps: int, epoch: float, figures: dict[str, Any], seconds: float) -> Line:
    where = {"step": step, "steps": steps, "epoch": round(epoch, 4), "status": MEASURED}
    return {**key._asdict(), **where, **figures, "seconds": round(seconds, 2)}


def do_run(bench: Bench, key: RunKey, progress: Progress | None = None) -> None:
    """Unlearn and measure one run; what is left of it are lines in the table. Raises as `training.unlearn`, but a run
    that diverges is a finding."""
    plan, recipe, progress = bench.plan, bench.plan.recipe_of(key), progress or Silent()
    folder = plan.out / "runs" / key.folder
    started = (folder / "run.json").is_file()
    run = Run.open(folder) if started else Run.create(folder, {"kind": "study", "inputs": {}})
    with run.lock():
        yardstick = bench.yardstick  # before the model that is trained: its memory is then known to be taken
        assert yardstick  # noqa: S101
        material = _material(bench, key, recipe, run)
        try:
            if not run.stage_done("unlearn"):
                unlearn(run, material, recipe, progress)
        except DivergedError:
            stage = run.record["stages"]["unlearn"]
            figures = {"step": stage["step"], "steps": stage["steps"], "epoch": None, "status": DIVERGED}
            plan.table.add([{**key._asdict(), **figures}])
    shutil.rmtree(folder)


def _material(bench: Bench, key: RunKey, recipe: Recipe, run: Run) -> Material:
    facts, asker, unseen = bench.facts, bench.asker, bench.unseen(recipe)
    dtype = training_dtype(recipe, facts, bench.device)
    model = load_for_training(facts, bench.device, recipe, dtype)
    forget, retain, sources = (asker.encode(rows) for rows in (bench.rows.forget, bench.rows.retain, unseen))
    reads = WeightedSum(recipe.weighted_terms(), {}).reads
    stand_ins = NO_STAND_INS
    if reads("unseen"):
        bounds = (facts.context, recipe.max_length)
        stand_ins = make_stand_ins(bench.rows.forget, unseen, sources, bench.encoder, bounds)
    rows: dict[Role, RoleRows] = {"forget": RoleRows(forget), "retain": RoleRows(retain), "unseen": stand_ins}
    read = {role: some.rows for role, some in rows.items() if reads(role)}
    work = Workload(facts=facts, rows=read, recipe=recipe, device=bench.device)
    return Material(
        model=model,
        files=StartModelFiles(facts=facts, reload=lambda: load_for_training(facts, torch.device("cpu"), recipe, dtype)),
        rows=rows,
        answers=OtherAnswers(bench.rows.forget, read_refusals(None), asker.encode),
        levels=learn_levels(model, sources, forget, retain) if unseen else None,
        plan=_plan(run, work, model),
        watch=lambda per_epoch: bench.measured(key, per_epoch, recipe.epochs),
    )


def _plan(run: Run, work: Workload, model: Model) -> ComputePlan:
    """How the run was computed before it was stopped, else what suits the machine."""
    known = known_plan(run, f"remove {run.path}, and the same command begins it anew")
    return make_plan(work, free=usable_memory(model, Ranks())) if known is None else known
