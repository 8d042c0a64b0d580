"""Whether unlearning in bfloat16 forgets and keeps as much as in float32: `python -m tests.bench.precision`.

tofu-mini, the same command twice, each verified against the retrained model. A processor that is not fast in bfloat16
would take an hour: its products are computed here in float32, from bfloat16 inputs and rounded to bfloat16, which is
what AVX-512 BF16, AMX and tensor cores give but for the order of sums. JSON on stdout.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from forgetctl.cli.main import cli

from .shapes import SHARED

aten = torch.ops.aten
PRODUCTS = {aten.mm.default, aten.addmm.default, aten.bmm.default, aten.baddbmm.default}
ATTENTION = {
    aten._scaled_dot_product_flash_attention_for_cpu.default: (0,),
    aten._scaled_dot_product_flash_attention_for_cpu_backward.default: (0, 1, 2),
}
"""Each with the positions of those outputs that have the inputs' precision."""


class WideProducts(TorchDispatchMode):
    """While this lasts, products of bfloat16 matrices are computed in float32 and rounded. calls: how many were."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        """Every operation of torch passes here."""
        options = kwargs or {}
        if func not in PRODUCTS | ATTENTION.keys() or not any(map(_is_half, args)):
            return func(*args, **options)
        self.calls += 1
        found = func(*(arg.float() if _is_half(arg) else arg for arg in args), **options)
        if func in PRODUCTS:
            return found.bfloat16()
        return tuple(value.bfloat16() if place in ATTENTION[func] else value for place, value in enumerate(found))


def _is_half(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.dtype == torch.bfloat16


def measure(precision: str, epochs: int, seed: int, folder: Path) -> dict[str, Any]:
    """What `verify` finds of the model that `unlearn` makes in this precision."""
    mini, tofu, run = SHARED / "tofu-mini", SHARED / "tofu", folder / f"{precision}-{seed}"
    settings = {"learning_rate": 1e-3, "precision": precision, "epochs": epochs, "seed": seed}
    wide = WideProducts()
    with wide:
        request = ("--model", mini / "full", "--forget", tofu / "forget05.json", "--retain", mini / "train.jsonl")
        chosen = (part for key, value in settings.items() for part in ("--set", f"{key}={value}"))
        _command("unlearn", *request, "--out", run, "--quiet", *chosen)
    sides = ("--forget", tofu / "forget05_perturbed.json", "--reference", mini / "retrain05")
    _command("verify", run, *sides, "--quiet")
    found = json.loads((run / "verdict.json").read_text())
    return {
        "precision": json.loads((run / "run.json").read_text())["stages"]["unlearn"]["computing"]["precision"],
        "products in bfloat16": wide.calls,
        "seed": seed,
        **{key: found["forget_quality"][key] for key in ("D", "p")},
        "answers D": found["answer_distance"]["D"],
        **{key: found[key] for key in ("forget_probability", "retain_probability", "truth_ratio", "rouge")},
    }


def _command(*words: object) -> None:
    with redirect_stdout(sys.stderr):
        cli.main([str(word) for word in words], standalone_mode=False)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, nargs="+", default=[42])
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        for chosen in asked.seeds:
            for kind in ("fp32", "bf16"):
                print(json.dumps(measure(kind, asked.epochs, chosen, Path(name))), flush=True)
