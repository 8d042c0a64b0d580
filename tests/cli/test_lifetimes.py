"""A model is gone as soon as the next one is loaded, without Python's collector of cycles, in every command."""

from __future__ import annotations

import gc
import json
import shutil
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, PreTrainedModel

from forgetctl.cli.main import cli
from forgetctl.errors import DivergedError
from forgetctl.recipe.recipe import load_recipe
from forgetctl.train.callbacks import Meter
from forgetctl.train.options import UnlearnOptions
from forgetctl.train.unlearn import run_unlearn
from tests.cli.conftest import SETTINGS, unlearn_arguments
from tests.studies.tofu_world import build
from tests.world import build_world


@dataclass
class Loads:
    """Models in the order they were loaded. alive: how many earlier ones had weights left at each of the loads.

    An output head counts for none: distributions are kept with it, without the model.
    """

    weights: list[list[weakref.ref[Any]]] = field(default_factory=list)
    alive: list[int] = field(default_factory=list)

    def count(self) -> int:
        return sum(any(ref() is not None for ref in refs) for refs in self.weights)

    def add(self, model: Any) -> None:
        head = model.get_output_embeddings().weight
        self.weights.append([weakref.ref(weight) for weight in model.parameters() if weight is not head])


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> Iterator[Loads]:
    seen, load = Loads(), PreTrainedModel.from_pretrained.__func__

    def watched(kind: Any, *args: Any, **options: Any) -> Any:
        seen.alive.append(seen.count())
        found = load(kind, *args, **options)
        seen.add(found[0] if isinstance(found, tuple) else found)
        return found

    monkeypatch.setattr(PreTrainedModel, "from_pretrained", classmethod(watched))
    gc.collect()
    gc.disable()
    yield seen
    gc.enable()
    gc.collect()


def run(*arguments: object, codes: tuple[int, ...] = (0,)) -> str:
    result = CliRunner().invoke(cli, list(map(str, arguments)))
    assert result.exit_code in codes, result.output
    return result.output


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A world whose layers are wide enough for 4 bits, with a second reference, another unlearned model and an
    adapter."""
    folder = build_world(tmp_path_factory.mktemp("wide"), width=64)
    for seed, (source, name) in enumerate((("reference", "other-reference"), ("model", "unlearned"))):
        shutil.copytree(folder / source, folder / name)
        file, generator = folder / name / "model.safetensors", torch.Generator().manual_seed(seed)
        changed = {
            key: weight + 0.01 * torch.randn(weight.shape, generator=generator)
            for key, weight in load_file(file).items()
        }
        save_file(changed, file, metadata={"format": "pt"})
    plain = AutoModelForCausalLM.from_pretrained(folder / "model")
    adapted = get_peft_model(plain, LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM"))
    adapted.save_pretrained(str(folder / "adapter"))
    return folder


def verify_arguments(world: Path, out: Path, *more: str) -> list[object]:
    files = {"--model": "unlearned", "--start": "model", "--forget": "requests.jsonl", "--retain": "remaining.jsonl"}
    named = [part for option, name in files.items() for part in (option, world / name)]
    references = ("--reference", world / "reference", "--reference", world / "other-reference")
    quick = ("--set", "verify.samples=2", "--set", "verify.answer_tokens=8")
    return ["verify", *named, *references, "--out", out, *quick, *more]


@pytest.mark.parametrize(
    ("more", "count"),
    [
        ((), 4),
        (("--precision", "bf16,int8,nf4"), 13),
        (("--deep",), 8),
        (("--deep", "--set", "lora.rank=2"), 8),
    ],
    ids=["models", "precision", "deep", "deep with adapters"],
)
def test_verify_holds_one_model_at_a_time(
    wide: Path, loads: Loads, tmp_path: Path, more: tuple[str, ...], count: int
) -> None:
    run(*verify_arguments(wide, tmp_path / "run", *more), codes=(0, 3, 4))
    assert loads.alive == [0] * count
    assert loads.count() == 0


@pytest.mark.parametrize(
    "more",
    [
        ("--track",),
        ("--set", "precision=bf16"),
        ("--set", "weights=bfloat16", "--optimizer", "adamw8bit"),
        ("--set", "anchor=0.1"),
        ("--lora",),
        ("--lora", "--set", "precision=bf16"),
        ("--qlora",),
    ],
    ids=lambda value: " ".join(value).replace("--", ""),
)
def test_unlearn_leaves_no_model(wide: Path, loads: Loads, tmp_path: Path, more: tuple[str, ...]) -> None:
    run(*unlearn_arguments(wide, tmp_path / "run", "--set", "epochs=1", *more))
    assert loads.alive == [0]
    assert loads.count() == 0


def test_a_run_that_diverges_leaves_no_model(
    wide: Path, loads: Loads, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not through the command line, whose test runner keeps the exception and with it every frame on its way."""

    def diverge(*_: Any, **__: Any) -> None:
        raise DivergedError("the loss is not finite")

    monkeypatch.setattr(Meter, "on_log", diverge)
    options = UnlearnOptions(
        model=str(wide / "model"), forget=wide / "requests.jsonl", retain=wide / "employees.jsonl", out=tmp_path / "run"
    )
    with pytest.raises(DivergedError) as raised:
        run_unlearn(options, load_recipe("npo-rt", options={"epochs": 1, "precision": "bf16"}))
    del raised
    assert loads.alive == [0]
    assert loads.count() == 0


def test_tune_holds_one_model_at_a_time(world: Path, strangers: Path, loads: Loads, tmp_path: Path) -> None:
    files = {"--model": "model", "--forget": "requests.jsonl", "--retain": "employees.jsonl"}
    named = [part for option, name in files.items() for part in (option, world / name)]
    more = ("--set", "epochs=2", "--set", "batch_size=20", "--trials", "2", "--utility-loss", "0.9")
    run("tune", *named, "--holdout", strangers, "--out", tmp_path / "tune", *SETTINGS, *more)
    trials = len((tmp_path / "tune" / "trials.jsonl").read_text().splitlines())
    assert loads.alive == [0] * (1 + 2 * trials)
    assert loads.count() == 0


def test_merge_holds_one_model_at_a_time(wide: Path, loads: Loads, tmp_path: Path) -> None:
    run("merge", "--base", wide / "model", "--adapter", wide / "adapter", "--out", tmp_path / "merged")
    assert len(loads.alive) >= 2
    assert set(loads.alive) == {0}
    assert loads.count() == 0


def test_reference_holds_one_model_at_a_time(world: Path, loads: Loads, tmp_path: Path) -> None:
    named = ("--base", world / "model", "--retain", world / "remaining.jsonl", "--out", tmp_path / "made")
    run("reference", *named, "--seeds", 3, "--epochs", 1)
    assert loads.alive == [0, 0, 0]
    assert loads.count() == 0


def test_the_study_holds_one_model_at_a_time(loads: Loads, tmp_path: Path) -> None:
    build(tmp_path)
    loads.alive.clear()
    named = ("--model", tmp_path / "start" / "seed-1", "--data", tmp_path / "data", "--out", tmp_path / "study")
    more = ("--splits", "05", "--methods", "npo,npo-rt", "--set", "epochs=1", "--references", tmp_path / "references")
    run("study", "tofu", *named, *more, "--set", "batch_size=4")
    assert len(loads.alive) >= 6
    assert set(loads.alive) == {0}
    assert loads.count() == 0
    assert json.loads((tmp_path / "study" / "tofu.json").read_text())
