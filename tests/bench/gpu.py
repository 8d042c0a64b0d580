"""Training in the shapes of large models on a GPU: `python -m tests.bench.gpu`, JSON on stdout.

Random weights, made here. Each shape is trained whole (8-bit Adam, bfloat16 weights with float32's updates), with LoRA
and with QLoRA, in a process of its own, within the memory that it should need and no more. Model FLOP/s utilisation
counts 6 operations a parameter and real token, 4 with adapters, and none of what is computed twice. Without a GPU
there is nothing to time, and memory is what forgetctl's own estimator says. `--shape tiny --device cpu` runs all of it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import chain
from math import prod
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, TrainerCallback

from forgetctl.losses.methods import WeightedSum
from forgetctl.model.encoding import Encoded
from forgetctl.model.hardware import describe, peak_memory
from forgetctl.model.load import add_lora, choose_device, inspect_model, load_for_training
from forgetctl.model.memory import memory_within
from forgetctl.model.scoring import score
from forgetctl.model.states import AnswerStates
from forgetctl.model.weights import weight_shapes
from forgetctl.recipe.recipe import Recipe, load_recipe
from forgetctl.train._guard import probes
from forgetctl.train.plan import ComputePlan, Workload, free_memory, make_plan
from forgetctl.train.term_inputs import TermInputs
from forgetctl.train.trainer import ObjectiveTrainer, TrainingSetup, TrainingTask

GB = 10**9
WARM_UP, MEASURED = 2, 6  # optimizer steps
MFU_AIM = 0.40

# Dense bfloat16 operations a second, from the makers' data sheets; the first name that fits counts.
PEAKS = {"H100 PCIe": 756e12, "H100 NVL": 835e12, "H100": 989e12, "H200": 989e12, "A100": 312e12}

LLAMA_1B = {
    "vocab_size": 128_256,
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 16,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": True,
}
LLAMA_7B = {
    "vocab_size": 32_000,
    "hidden_size": 4096,
    "intermediate_size": 11_008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "max_position_embeddings": 4096,
    "tie_word_embeddings": False,
}
TINY = {
    "vocab_size": 512,
    "hidden_size": 64,
    "intermediate_size": 192,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "max_position_embeddings": 128,
    "tie_word_embeddings": False,
}
# Config, forget rows an optimizer step, shortest and longest row in tokens.
SHAPES: dict[str, tuple[dict[str, Any], int, int, int]] = {
    "llama-1b": (LLAMA_1B, 32, 128, 512),
    "llama-7b": (LLAMA_7B, 32, 128, 512),
    "tiny": (TINY, 4, 16, 48),
}
RECIPES = {"full": "npo-rt-large", "lora": "npo-rt-lora", "qlora": "npo-rt-qlora"}
CARD = {"full": 80 * 2**30, "lora": 24 * 2**30, "qlora": 12 * 2**30}
"""Bytes that a way of training should need at most in the shape of 7B, and is held to in any."""


def main() -> None:
    """Measure, or estimate where there is no GPU."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", nargs="+", choices=SHAPES, default=["llama-1b", "llama-7b"])
    parser.add_argument("--way", nargs="+", choices=RECIPES, default=list(RECIPES))
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--folder", type=Path, help="for the weights; else a temporary one")
    parser.add_argument("--only", choices=["build", "measure"], help="one step of one shape, in this process")
    chosen = parser.parse_args()
    if chosen.only == "build":
        build(chosen.shape[0], chosen.folder, chosen.device)
    elif chosen.only == "measure":
        print(json.dumps(measure(chosen.shape[0], chosen.way[0], chosen.folder, choose_device(chosen.device))))
    else:
        results = []
        for found in chain.from_iterable(each_way(shape, chosen.way, chosen.device) for shape in chosen.shape):
            print(json.dumps(found), file=sys.stderr, flush=True)
            results.append(found)
        print(json.dumps({"machine": describe(), "results": results}, indent=1))
        sys.exit(any("failed" in found for found in results))


def each_way(shape: str, ways: Sequence[str], device: str) -> Iterator[dict[str, Any]]:
    """One shape: built once, each way in a fresh process. On a CPU only the tiny shape is more than estimated."""
    with tempfile.TemporaryDirectory() as folder:
        if device == "cpu" and shape != "tiny":
            hollow(shape, Path(folder))
            yield from (estimated(shape, way, Path(folder)) for way in ways)
            return
        fresh_process("build", shape, ways[0], Path(folder), device)
        yield from (json.loads(fresh_process("measure", shape, way, Path(folder), device)) for way in ways)


def fresh_process(only: str, shape: str, way: str, folder: Path, device: str) -> str:
    """The last line that a step prints; a step that fails, of which too little memory is one way, says so itself."""
    command = [sys.executable, "-m", "tests.bench.gpu", "--only", only, "--shape", shape, "--way", way]
    command += ["--folder", str(folder), "--device", device]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        return json.dumps({"shape": shape, "way": way, "failed": f"exit code {done.returncode}"})
    return done.stdout.strip().rpartition("\n")[2]


def build(shape: str, folder: Path, device: str) -> None:
    """Write a model of random weights in bfloat16."""
    torch.manual_seed(0)
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(LlamaConfig(**SHAPES[shape][0]), dtype=torch.bfloat16)
    model.save_pretrained(folder)
    (folder / "tokenizer.json").write_text("{}")  # a model directory has one; rows are made of ids already


def hollow(shape: str, folder: Path) -> None:
    """Write a model directory whose weights have names and shapes but take no room: the file is one hole."""
    config = LlamaConfig(**SHAPES[shape][0], dtype="bfloat16")
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    header, end = {}, 0
    for name, weight in model.named_parameters():
        begin, end = end, end + 2 * prod(weight.shape)
        header[name] = {"dtype": "BF16", "shape": list(weight.shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    config.architectures = ["LlamaForCausalLM"]
    config.save_pretrained(folder)
    (folder / "tokenizer.json").write_text("{}")
    with (folder / "model.safetensors").open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)


def rows_of(shape: str) -> tuple[list[Encoded], list[Encoded]]:
    """Forget and retain rows of random ids; three fifths of a row are its answer."""
    config, batch, shortest, longest = SHAPES[shape]
    random = np.random.default_rng(0)

    def row() -> Encoded:
        length = int(random.integers(shortest, longest + 1))
        return Encoded(tuple(random.integers(3, config["vocab_size"], length).tolist()), round(0.4 * length))

    forget, retain = ([row() for _ in range(batch * (WARM_UP + MEASURED + 1))] for _ in range(2))
    return forget, retain


def recipe_of(shape: str, way: str) -> Recipe:
    """The shipped recipe in one epoch that is never finished, so that no checkpoint is written."""
    options = {"epochs": 1, "warmup_epochs": 0.0, "batch_size": SHAPES[shape][1], "precision": "bf16"}
    return load_recipe(RECIPES[way], options=options)


def estimated(shape: str, way: str, folder: Path) -> dict[str, Any]:
    """Memory of a GPU by forgetctl's own estimator, from shapes alone."""
    forget, retain = rows_of(shape)
    recipe, facts, device = recipe_of(shape, way), inspect_model(folder), torch.device("cuda")
    work = Workload(facts=facts, rows={"forget": forget, "retain": retain}, recipe=recipe, device=device)
    plan = make_plan(work, free=CARD[way])
    memory = work.static_bytes + plan.step_bytes
    return {
        "shape": shape,
        "way": way,
        "parameters": sum(prod(sizes) for sizes in weight_shapes(facts.path).values()),
        "estimate: peak_gb": round(memory / GB, 2),
        "estimate: computing": plan.why,
        **under_target(shape, way, memory, "estimate: "),
    }


def measure(shape: str, way: str, folder: Path, device: torch.device) -> dict[str, Any]:
    """Train some steps as `forgetctl unlearn` does on a card of the size that the way should fit on, and hold a GPU to
    that size. Raises MemoryExceeded where that does not suffice."""
    recipe, facts = recipe_of(shape, way), inspect_model(folder)
    rows = rows_of(shape)
    work = Workload(facts=facts, rows={"forget": rows[0], "retain": rows[1]}, recipe=recipe, device=device)
    plan = make_plan(work, free=min(free_memory(device), CARD[way]))
    clock, halved = Clock(device), []
    with memory_within(device, CARD[way]):
        trainer = trainer_of(work, plan)
        trainer.on_halved = lambda limits, _step: halved.append(limits.tokens)
        trainer.add_callback(clock)
        trainer.train()
    tokens = tokens_of(trainer)
    parameters = sum(prod(dimensions) for dimensions in weight_shapes(folder).values())
    seconds = [after - before for before, after in zip(clock.times, clock.times[1:], strict=False)][WARM_UP:]
    rates = [count / taken for count, taken in zip(tokens[WARM_UP:], seconds, strict=False)]
    operations = (4 if recipe.lora else 6) * parameters * median(rates)
    return {
        "shape": shape,
        "way": way,
        "parameters": parameters,
        "optimizer": optimizer_name(trainer),
        "computing": plan.why,
        "begun_again_with_tokens": halved,
        "tokens_a_step": round(median(tokens)),
        "step_seconds": round(median(seconds), 4),
        **utilisation(operations, device),
        **memory(shape, way, device, work.static_bytes + plan.step_bytes),
    }


def trainer_of(work: Workload, plan: ComputePlan) -> ObjectiveTrainer:
    """The model as it is trained, with what is measured of it before."""
    facts, recipe, forget, retain = work.facts, work.recipe, work.rows["forget"], work.rows["retain"]
    model = load_for_training(facts, work.device, recipe, plan.dtype or torch.float32)
    with plan.autocast(work.device):
        start = score(model, forget)
        chosen = [retain[place] for place in probes([len(row.ids) for row in retain])]
        guarded = AnswerStates(model, chosen, copy_head=recipe.lora is None)
    model = add_lora(model, recipe.lora) if recipe.lora else model
    loss = WeightedSum(recipe.weighted_terms(), recipe.all_hyperparameters())
    task = TrainingTask(loss=loss, rows=work.rows, inputs=TermInputs(start_logp=start), guarded=guarded)
    return ObjectiveTrainer(
        model, task, TrainingSetup(recipe=recipe, plan=plan, checkpoints=facts.path / "checkpoints")
    )


class Clock(TrainerCallback):
    """Notes when each step ended, and stops once there are enough."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.times: list[float] = []

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """The first step begins."""
        self._note()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """A step has ended, on the device too."""
        self._note()
        control.should_training_stop = len(self.times) > WARM_UP + MEASURED

    def _note(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.times.append(time.perf_counter())


def tokens_of(trainer: ObjectiveTrainer) -> list[int]:
    """Real tokens of each step of the epoch."""
    batches = trainer.batches
    batches.set_epoch(0)
    return [sum(len(row.ids) for row in batches.rows_of(step)) for step in batches.steps()]


def optimizer_name(trainer: ObjectiveTrainer) -> str:
    """What really updated the weights."""
    used: Any = trainer.optimizer
    used = getattr(used, "optimizer", used)  # within accelerate's wrapper
    inner = {type(update.optimizer).__name__ for update in getattr(used, "updates", {}).values()}
    return f"{type(used).__name__}({', '.join(sorted(inner))})" if inner else type(used).__name__


def utilisation(operations: float, device: torch.device) -> dict[str, Any]:
    """Useful operations a second, and their part of what the device can do at best, where that is known."""
    found: dict[str, Any] = {"useful_tflops": round(operations / 1e12, 3)}
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    peak = next((peak for known, peak in PEAKS.items() if known in name), None)
    if peak is not None:
        found |= {"mfu": round(operations / peak, 3), "mfu_aim": MFU_AIM, "mfu_reached": operations / peak >= MFU_AIM}
    return found


def memory(shape: str, way: str, device: torch.device, estimate: int) -> dict[str, Any]:
    """Peak of the whole process: of tensors, and on a GPU of what torch took from the card for them."""
    peak = peak_memory(device)
    found = {"peak_gb": round(peak / GB, 2), "estimate_over_peak": round(estimate / peak, 2)}
    if device.type == "cuda":
        peak = torch.cuda.max_memory_reserved(device)
        found["peak_reserved_gb"] = round(peak / GB, 2)
    return {**found, **under_target(shape, way, peak, "")}


def under_target(shape: str, way: str, peak: int, label: str) -> dict[str, Any]:
    """Whether 7B fit on the card that they should fit on."""
    if shape != "llama-7b":
        return {}
    return {f"{label}target_gib": CARD[way] / 2**30, f"{label}target_reached": peak < CARD[way]}


if __name__ == "__main__":
    main()
