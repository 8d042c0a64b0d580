"""Real models whose truth is known: the verdict must be right on each, and TOFU's rule is shown beside it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

CASES: dict[str, tuple[str, set[str]]] = {
    "start": ("the start model, unchanged", {"FAIL"}),
    "start, 20 rows": ("the same on a small request", {"FAIL"}),
    "retrained": ("a second model that never saw the rows", {"PASS"}),
    "retrained, swapped": ("the same with the roles of the two exchanged", {"PASS"}),
    "retrained, 20 rows": ("a model that never saw the rows, on a small request", {"INCONCLUSIVE"}),
    "lightly unlearned": ("NPO+RT at a tenth of the rate", {"FAIL"}),
    "over-forgotten": ("gradient ascent", {"FAIL"}),
    "noise": ("the start model with noise on its weights", {"FAIL"}),
    "adapter detached": ("a LoRA run, shipped without its adapter", {"FAIL"}),
}


class Bench:
    """Makes models and verifies them through the command line."""

    def __init__(self, folder: Path, shared: Path) -> None:
        self.folder, self.mini, self.tofu = folder, shared / "tofu-mini", shared / "tofu"
        self.forget = self.tofu / "forget05_perturbed.json"
        self.few = folder / "few.jsonl"
        self.few.write_text("".join(self.forget.read_text().splitlines(keepends=True)[:20]))
        self.known: dict[tuple[str, str, str], str] = {}

    def forgetctl(self, *arguments: str, allowed: tuple[int, ...] = (0,)) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "forgetctl", *arguments, "-q"], capture_output=True, text=True, check=False
        )
        assert done.returncode in allowed, done.stderr

    def unlearn(self, name: str, *arguments: str) -> Path:
        out = self.folder / f"run-{name}"
        files = ("--model", str(self.mini / "full"), "--forget", str(self.tofu / "forget05.json"))
        self.forgetctl("unlearn", *files, "--retain", str(self.mini / "train.jsonl"), "--out", str(out), *arguments)
        return out

    def verify(
        self, name: str, model: Path, reference: str = "retrain05", forget: Path | None = None
    ) -> dict[str, Any]:
        """The verdict; scores of start and reference are measured once for each request and used again."""
        forget = forget or self.forget
        out = self.folder / f"verify-{name.replace(', ', '-').replace(' ', '-')}"
        start = self.known.get(("start", "full", forget.name), str(self.mini / "full"))
        compared = self.known.get(("reference", reference, forget.name), str(self.mini / reference))
        files = ("--forget", str(forget), "--retain", str(self.tofu / "retain_perturbed.json"), "--out", str(out))
        self.forgetctl(
            "verify", "--model", str(model), "--start", start, "--reference", compared, *files, allowed=(0, 3, 4)
        )
        for role, model_name in (("start", "full"), ("reference", reference)):
            self.known[role, model_name, forget.name] = str(out / "scores" / f"{role}.json")
        verdict: dict[str, Any] = json.loads((out / "verdict.json").read_text())
        return verdict

    def noisy(self, share: float) -> Path:
        """The start model with Gaussian noise of that share of each weight matrix's standard deviation."""
        folder = self.copied("noisy")
        generator = torch.Generator().manual_seed(0)
        weights = {
            name: value + share * value.std() * torch.randn(value.shape, generator=generator)
            if value.ndim > 1
            else value
            for name, value in load_file(self.mini / "full" / "model.safetensors").items()
        }
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        return folder

    def copied(self, name: str) -> Path:
        """A copy of the start model."""
        return Path(shutil.copytree(self.mini / "full", self.folder / name))


def test_verdicts_on_models_whose_truth_is_known(tmp_path: Path, shared: Path) -> None:
    bench = Bench(tmp_path, shared)
    mini = bench.mini
    light = bench.unlearn("light", "--set", "learning_rate=1e-4")
    ascent = bench.unlearn(
        "ga", "--method", "ga", "--set", "learning_rate=1e-3", "--set", "epochs=2", "--set", "max_retain_kl=1000"
    )
    lora = bench.unlearn("lora", "--lora", "--set", "epochs=2")
    detached = bench.copied("detached")  # what ships if nobody merged the adapter: the base weights
    assert (lora / "model" / "model.safetensors").read_bytes() != (detached / "model.safetensors").read_bytes()
    verify: dict[str, Callable[[], dict[str, Any]]] = {
        "start": lambda: bench.verify("start", mini / "full"),
        "start, 20 rows": lambda: bench.verify("start, 20 rows", mini / "full", forget=bench.few),
        "retrained": lambda: bench.verify("retrained", mini / "retrain05-b"),
        "retrained, swapped": lambda: bench.verify("swapped", mini / "retrain05", "retrain05-b"),
        "retrained, 20 rows": lambda: bench.verify("retrained, 20 rows", mini / "retrain05-b", forget=bench.few),
        "lightly unlearned": lambda: bench.verify("light", light / "model"),
        "over-forgotten": lambda: bench.verify("ga", ascent / "model"),
        "noise": lambda: bench.verify("noise", bench.noisy(0.5)),
        "adapter detached": lambda: bench.verify("detached", detached),
    }
    found = {name: run() for name, run in verify.items()}
    print("\n| model | TOFU p | TOFU says | verdict | decided by |\n|---|---|---|---|---|")
    for name, verdict in found.items():
        p = {one["name"]: one["tofu_p"] for one in verdict["distances"]}["truth ratio"]
        codes = ", ".join(
            sorted({check["code"] for check in verdict["checks"] if check["status"] in ("fail", "unknown")})
        )
        says = "forgotten" if p > 0.05 else "not forgotten"
        print(f"| {name}: {CASES[name][0]} | {p:.2g} | {says} | {verdict['verdict']} | {codes} |")
    assert {
        name: verdict["verdict"] for name, verdict in found.items() if verdict["verdict"] not in CASES[name][1]
    } == {}
