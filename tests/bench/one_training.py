"""One side of the training benchmark in a process of its own: `python -m tests.bench.one_training forgetctl|textbook`.

Prints one line of JSON: seconds and loss of every step, peak memory with and without the interpreter, the estimate.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainingArguments

from forgetctl.model.hardware import peak_memory
from forgetctl.model.weights import weight_shapes
from forgetctl.recipe.recipe import Recipe, load_recipe
from forgetctl.train.dry_run import dry_run
from forgetctl.train.job import Job
from forgetctl.train.options import UnlearnOptions
from forgetctl.train.plan import DTYPES, product_rate
from forgetctl.train.prepare import prepare
from forgetctl.train.schedule import MicroBatchLimits, PairedBatches, RowsByRole
from forgetctl.train.unlearn import run_unlearn

from . import textbook
from .shapes import LORA, SHAPES, Case

CPU = torch.device("cpu")


def main() -> None:
    """Run the side that was asked for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("side", choices=["forgetctl", "textbook"])
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("--folder", type=Path, required=True, help="made by shapes.build")
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--lora", action="store_true")
    parser.add_argument("--precision", default="fp32")
    chosen = parser.parse_args()
    case = Case(SHAPES[chosen.shape], chosen.model, chosen.folder / "forget.jsonl", chosen.folder / "retain.jsonl")
    recipe = _recipe(case, chosen.lora, chosen.precision)
    before = peak_memory(CPU)
    run = run_forgetctl if chosen.side == "forgetctl" else run_textbook
    found = run(case, recipe, chosen.folder)
    peak = peak_memory(CPU)
    print(json.dumps({**found, "peak_bytes": peak, "peak_beyond_imports": peak - before}))


def _recipe(case: Case, lora: bool, precision: str) -> Recipe:
    """One epoch over as many rows as there are steps, all at the same rate but for the linear fall."""
    values: dict[str, Any] = {
        "learning_rate": 1e-4,
        "epochs": 1,
        "warmup_epochs": 0.0,
        "batch_size": case.shape.batch_size,
        "precision": precision,
    }
    return load_recipe(method="npo-rt", options={**values, **({"lora": LORA} if lora else {})})


def _options(case: Case, folder: Path) -> UnlearnOptions:
    return UnlearnOptions(
        model=str(case.model),
        forget=case.forget,
        retain=case.retain,
        out=folder / f"run-{time.time_ns()}",
        device="cpu",
    )


class Clock:
    """A Progress that notes when each step of training ended."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def say(self, text: str) -> None:
        """Nothing is shown."""

    @contextmanager
    def bar(self, title: str, total: int) -> Iterator[Any]:
        """Notes times only for training."""
        yield self if title == "Unlearning" else _Deaf()

    def resize(self, total: int, done: int = 0) -> None:
        """Training begins."""
        self.times = [time.perf_counter()]

    def advance(self, steps: int = 1, note: str = "") -> None:
        """A step has ended."""
        self.times.append(time.perf_counter())


class _Deaf:
    def resize(self, total: int, done: int = 0) -> None: ...

    def advance(self, steps: int = 1, note: str = "") -> None: ...


def run_forgetctl(case: Case, recipe: Recipe, folder: Path) -> dict[str, Any]:
    """The whole of `forgetctl unlearn`, from the request to the saved model."""
    options = _options(case, folder)
    estimate, _ = dry_run(options, recipe)
    clock = Clock()
    started = time.perf_counter()
    run = run_unlearn(options, recipe, clock)
    losses = [json.loads(line)["loss"] for line in run.log_file.read_text().splitlines()]
    return {
        **_times(clock.times, started),
        "losses": losses,
        "estimated_bytes": estimate["peak_memory_bytes"],
        "useful_operations": _useful_operations(case, recipe, folder),
        "product_ratio": _product_ratio(case, recipe, folder),
        "product_rate": product_rate(CPU, DTYPES.get(run.record["stages"]["unlearn"]["computing"]["precision"])),
    }


def _useful_operations(case: Case, recipe: Recipe, folder: Path) -> float:
    """6 for every weight and real token of an average step, as is usual; 4 with adapters."""
    job = prepare(_options(case, folder), recipe)
    pairs, _ = _pairs(job)
    tokens = sum(len(row.ids) for pair in pairs for row in pair) / case.shape.steps
    parameters = sum(prod(shape) for shape in weight_shapes(case.model).values())
    return (4 if recipe.lora else 6) * parameters * tokens


def _product_ratio(case: Case, recipe: Recipe, folder: Path) -> float:
    """Multiplications of forgetctl's products of matrices over the textbook's: what time would be by them alone.

    A forward pass counts once, its backward pass twice, or once under adapters. The textbook has the start model's
    forward pass in every step, its head at every position, and padding.
    """
    pairs, _ = _pairs(prepare(_options(case, folder), recipe))
    shapes = {name: prod(shape) for name, shape in weight_shapes(case.model).items()}
    head = max(size for name, size in shapes.items() if "embed" in name or "lm_head" in name)
    inner = sum(size for name, size in shapes.items() if not ("embed" in name or "lm_head" in name))
    passes = 2 if recipe.lora else 3
    own = sum((len(row.ids) - 1) * inner + row.tokens * head for pair in pairs for row in pair) * passes
    padded = 0
    for start in range(0, len(pairs), case.shape.textbook_rows):
        for rows, forwards in zip(
            zip(*pairs[start : start + case.shape.textbook_rows], strict=True), (1, 0), strict=True
        ):
            padded += len(rows) * max(len(row.ids) for row in rows) * (inner + head) * (passes + forwards)
    return own / padded


def run_textbook(case: Case, recipe: Recipe, folder: Path) -> dict[str, Any]:
    """Load, train, save: what a script of the peers does."""
    job = prepare(_options(case, folder), recipe)
    pairs, tokens = _pairs(job)
    started = time.perf_counter()
    model = textbook.load(job.facts.path)
    start = textbook.start_model(model)
    if recipe.lora:
        torch.manual_seed(recipe.seed)
        model = textbook.with_adapters(model, recipe.lora)
    clock, losses = Clock(), []
    micro = case.shape.textbook_rows
    arguments = TrainingArguments(
        output_dir=str(folder / "textbook"), num_train_epochs=1, per_device_train_batch_size=micro,
        gradient_accumulation_steps=case.shape.batch_size // micro, learning_rate=recipe.learning_rate,
        weight_decay=recipe.weight_decay, max_grad_norm=recipe.max_grad_norm, lr_scheduler_type="linear", use_cpu=True,
        logging_steps=1, save_strategy="no", report_to=[], disable_tqdm=True, remove_unused_columns=False,
        seed=recipe.seed,
    )  # fmt: skip

    class Watch(TrainerCallback):
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            clock.resize(0)

        def on_step_end(self, *_: Any, **__: Any) -> None:
            clock.advance()

        def on_log(self, *_: Any, logs: dict[str, float] | None = None, **__: Any) -> None:
            losses.extend([logs["loss"]] if logs and "loss" in logs else [])

    trainer = textbook.TextbookTrainer(
        model, start=start, pairs=pairs, step_tokens=tokens.__getitem__, args=arguments, callbacks=[Watch()]
    )
    trainer.train()
    trainer.model.save_pretrained(folder / f"textbook-{time.time_ns()}")
    return {**_times(clock.times, started), "losses": losses}


def _pairs(job: Job) -> tuple[list[tuple[Any, Any]], list[int]]:
    """The rows as forgetctl pairs and orders them, and the retain tokens of each step."""
    assert job.sample is not None
    retain = job.sample.train
    rows: RowsByRole = {"forget": job.encoded, "retain": retain}
    limits = MicroBatchLimits(rows=64, tokens=2048)
    batches = PairedBatches(rows, batch_size=job.recipe.batch_size, limits=limits, seed=job.recipe.seed)
    steps = list(batches.steps())
    pairs = [
        (job.encoded[f], retain[r])
        for step in steps
        for f, r in zip(step.rows["forget"], step.rows["retain"], strict=True)
    ]
    return pairs, [step.sizes["retain"].tokens for step in steps]


def _times(times: list[float], started: float) -> dict[str, Any]:
    """The epoch's last step is left out: checkpoints and guards that only one side has end it."""
    return {
        "step_seconds": [after - before for before, after in itertools.pairwise(times[:-1])],
        "fixed_seconds": time.perf_counter() - started - (times[-1] - times[0]),
    }


if __name__ == "__main__":
    main()
