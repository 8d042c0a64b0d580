"""forgetctl's training beside the textbook's: interleaved repetitions in processes of their own, medians, ratios."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch

from forgetctl.model.load import inspect_model
from forgetctl.recipe.recipe import load_recipe
from forgetctl.train.plan import training_precision

from .shapes import SHAPES, Case, build

SIDES = (("textbook", "fp32"), ("forgetctl", "fp32"), ("forgetctl", "auto"))
AGREEMENT = 1e-3


def bench_training(names: list[str], repeats: int, folder: Path) -> list[dict[str, Any]]:
    """One result for each shape and way to train. Raises AssertionError if the two loss curves differ."""
    results = []
    for name in names:
        case = build(name, folder / name)
        for lora in (False, True):
            options = [name, "--folder", str(folder / name), "--model", str(case.model), *(["--lora"] if lora else [])]
            sides = [side for side in SIDES if side[1] == "fp32" or _chosen_precision(case) != "fp32"]
            runs: dict[str, list[dict[str, Any]]] = {f"{side} {precision}": [] for side, precision in sides}
            for _ in range(repeats):
                for side, precision in sides:
                    runs[f"{side} {precision}"].append(_run(side, [*options, "--precision", precision]))
            results.append(_result(name, lora, runs))
            print(json.dumps(results[-1]), file=sys.stderr, flush=True)
    return results


def _chosen_precision(case: Case) -> str:
    """What forgetctl computes in by default, here."""
    recipe = load_recipe(method="npo-rt")
    return training_precision(recipe, inspect_model(case.model), torch.device("cpu"))[0]


def _run(side: str, options: list[str]) -> dict[str, Any]:
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.one_training", side, *options], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{side} failed:\n{done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {**found, "process_seconds": time.perf_counter() - started}


def _result(name: str, lora: bool, runs: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    textbook = _medians(runs["textbook fp32"])
    result: dict[str, Any] = {"shape": name, "says": SHAPES[name].says, "lora": lora, "textbook": textbook}
    for key, precision in (("float32", "fp32"), ("default", "auto")):
        if f"forgetctl {precision}" not in runs:
            continue
        own = _medians(runs[f"forgetctl {precision}"])
        shifts = [abs(one - other) for one, other in zip(own["losses"], textbook["losses"], strict=True)]
        if precision == "fp32":
            assert max(shifts) < AGREEMENT, f"the loss curves of {name} differ by {max(shifts)}"
        result[key] = {
            **own,
            "step_ratio": own["step_seconds"] / textbook["step_seconds"],
            "process_ratio": own["process_seconds"] / textbook["process_seconds"],
            "memory_ratio": own["peak_beyond_imports"] / textbook["peak_beyond_imports"],
            "estimate_ratio": own["estimated_bytes"] / own["peak_bytes"],
            "loss_shift": max(shifts),
            "useful_over_product_rate": own["useful_operations"] / own["step_seconds"] / own["product_rate"],
        }
    return result


def _medians(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Of the steps' seconds all steps count; of what is one number a run, the runs."""
    single = {key: median(run[key] for run in runs) for key, value in runs[0].items() if not isinstance(value, list)}
    return {
        **single,
        "step_seconds": median(seconds for run in runs for seconds in run["step_seconds"]),
        "losses": runs[0]["losses"],
    }
