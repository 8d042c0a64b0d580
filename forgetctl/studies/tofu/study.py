"""`forgetctl study tofu`: the runs that are not there yet, on one process or several, then tables and figures."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from ...errors import ForgetctlError, RunError, UsageError
from ...files.writing import ModelFiles, model_digest, read_json, text_digest, write_json
from ...model.host import undisturbed
from ...model.load import inspect_model, resolve_model
from ...progress import Progress
from .._outcome import Outcome
from ._data import TofuData, find_data
from ._figures import draw
from ._summary import summarise, tables
from ._table import RunKey
from ._training import Bench, Plan, do_run
from .options import CALIBRATED, SWEPT, TofuOptions


@undisturbed()
def run_tofu(options: TofuOptions, progress: Progress) -> Outcome:
    """Do what is missing of the study in `options.out` and return all that is there.

    Raises UsageError for wrong options or data, or where `out` holds a study of other inputs.
    """
    plan = _plan(options)
    keys = list(_keys(options, plan))
    rows = {split: plan.data.split(split) for split in options.splits}
    for split, own in rows.items():
        if own.missing:
            progress.say(f"forget{split}: {own.missing} rows without perturbed answers are trained on, not scored.")
    with _held_alone(plan.out):
        models = [ModelFiles.of(path) for path in dict.fromkeys((plan.model, *plan.references.values()))]
        record = _bind(plan, options, {split: own.digest for split, own in rows.items()})
        _measure(plan, keys, options, progress)
        for files in models:
            files.check()  # the digests are of what was measured
        return _outcome(plan, record)


def _plan(options: TofuOptions) -> Plan:
    if options.recipe.lora is not None:
        raise UsageError("the study trains whole weights; its recipe has lora")
    if options.holdout is None and any(method.endswith(CALIBRATED) for method in options.methods):
        raise UsageError(f"methods that end in {CALIBRATED} need --holdout: rows that no model saw")
    if options.holdout is None and options.recipe.calibration is not None:
        raise UsageError("a recipe with a calibration needs --holdout: rows that no model saw")
    model = resolve_model(options.model, allow_download=options.allow_download)
    inspect_model(model)
    folder = find_data(options.data, allow_download=options.allow_download)
    data = TofuData(folder, options.retain, options.questions, options.kept_questions or options.questions)
    references = {split: _reference(split, options) for split in options.splits}
    return Plan(
        model=model,
        data=data,
        references=references,
        recipe=options.recipe,
        out=options.out,
        every=options.every,
        rouge=options.rouge,
        device=options.device,
        holdout=options.holdout,
    )


def _reference(split: str, options: TofuOptions) -> Path:
    """Raises UsageError where a split has none."""
    if split in options.reference:
        return resolve_model(options.reference[split], allow_download=options.allow_download)
    if options.references is None:
        raise UsageError(f"forget{split} has no reference: give --references DIR or --reference {split}=DIR")
    place = options.references / f"forget{split}"
    for candidate in (place / "seed-1", place):
        if (candidate / "config.json").is_file():
            inspect_model(candidate)
            return candidate
    raise UsageError(f"{place}: no reference model of forget{split}; make one with: forgetctl reference --out {place}")


def _keys(options: TofuOptions, plan: Plan) -> Iterator[RunKey]:
    """Every run once: the first seed of all splits and methods, then the sweep, then the other seeds."""
    weight = plan.recipe.retain_weight
    seen: dict[RunKey, None] = {}
    for seed in range(1, options.seeds + 1):
        for split in options.splits:
            seen |= {RunKey(split, method, weight, seed): None for method in options.methods}
        swept = options.splits[0]
        seen |= {RunKey(swept, SWEPT, float(w), seed): None for w in options.retain_weights}
    yield from seen


@contextmanager
def _held_alone(out: Path) -> Iterator[None]:
    """Raises RunError if another study is at work there."""
    out.mkdir(parents=True, exist_ok=True)
    lock = FileLock(out / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise RunError(f"{out} is in use by another command") from None
    try:
        yield
    finally:
        lock.release()


def _bind(plan: Plan, options: TofuOptions, rows: dict[str, str]) -> dict[str, Any]:
    """Note what the figures rest on, and return the note.

    Raises UsageError if the directory holds a study of something else.
    """
    record = plan.out / "study.json"
    recipe = plan.recipe.model_dump(mode="json", exclude={"description", "source", "method", "terms", "seed"})
    common: dict[str, Any] = {
        "model": model_digest(plan.model),
        "questions": plan.data.questions,
        "kept_questions": plan.data.kept_questions,
        "every": options.every,
        "rouge": options.rouge,
    }
    splits = {
        split: {
            "reference": model_digest(plan.references[split]),
            "rows": text_digest([rows[split]]),
            "recipe": recipe,
        }
        for split in rows
    }
    known = read_json(record) if record.is_file() else {**common, "splits": {}}
    wrong = [name for name, value in common.items() if known.get(name) != value]
    for split, inputs in splits.items():
        before = known["splits"].get(split, inputs)
        wrong += [f"{name} of forget{split}" for name, value in inputs.items() if before.get(name) != value]
    if wrong:
        raise UsageError(f"{plan.out} holds a study with another {', '.join(wrong)}; choose another --out")
    bound = {**common, "splits": {**known["splits"], **splits}}
    write_json(record, bound)
    return bound


def _measure(plan: Plan, keys: Sequence[RunKey], options: TofuOptions, progress: Progress) -> None:
    """Every run that the table lacks. The start model and the references come first: all others need them."""
    splits = dict.fromkeys(key.split for key in keys)
    with progress.bar("Scoring start and references", len(splits)) as bar:
        for split in splits:
            _bench(plan, split).measure_ends()
            bar.advance(1, f"forget{split}")
    done = plan.table.complete()
    left = [key for key in keys if key not in done]
    if len(left) < len(keys):
        progress.say(f"{len(keys) - len(left)} of {len(keys)} runs are there already.")
    with progress.bar("Runs", len(keys)) as bar:
        bar.resize(len(keys), len(keys) - len(left))
        for name in _done(plan, left, options):
            bar.advance(1, name)
    shutil.rmtree(plan.out / "runs", ignore_errors=True)  # empty, but for what a kill left of finished runs


def _done(plan: Plan, keys: Sequence[RunKey], options: TofuOptions) -> Iterator[str]:
    """Names of runs as they end, done here or by several processes.

    Raises ForgetctlError if a process dies; the others are stopped, and their runs can be continued.
    """
    if options.workers == 1:
        yield from (_one(plan, key) for key in keys)
        return
    context = get_context("spawn")
    first = partial(_begin_worker, options.set_up_worker)
    with ProcessPoolExecutor(options.workers, mp_context=context, initializer=first) as pool:
        waiting = [pool.submit(_one, plan, key) for key in keys]
        try:
            for ended in as_completed(waiting):
                yield ended.result()
        except BrokenProcessPool:
            raise ForgetctlError("a process of the study was killed; the same command continues it") from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in active_children():
                process.terminate()


def _begin_worker(set_up: Callable[[], None]) -> None:
    set_up()
    torch.set_num_threads(1)


_held: list[Bench] = []
"""The last split that this process worked on: the next run is mostly of the same."""


def _bench(plan: Plan, split: str) -> Bench:
    if not _held or (_held[0].plan, _held[0].split) != (plan, split):
        _held[:] = [Bench(plan, split)]
    return _held[0]


def _one(plan: Plan, key: RunKey) -> str:
    do_run(_bench(plan, key.split), key)
    return key.folder


def _outcome(plan: Plan, record: dict[str, Any]) -> Outcome:
    lines = plan.table.lines()
    summaries = summarise(lines)
    data = {"study": "tofu", "inputs": record, "summary": summaries, "lines": lines, "answers": plan.answers.read()}
    weight = plan.recipe.retain_weight
    return Outcome(data, tables(summaries, weight), draw(summaries, weight))
