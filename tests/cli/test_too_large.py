"""A run that the device has no room for: refused before anything is loaded, with settings that do fit."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import Result
from transformers import LlamaConfig, LlamaForCausalLM

from forgetctl.demo.training import make_tokenizer
from forgetctl.errors import MemoryExceeded
from forgetctl.model.encoding import Encoded
from forgetctl.model.load import inspect_model
from forgetctl.recipe.recipe import load_recipe
from forgetctl.train import plan
from forgetctl.train.plan import MemoryLimit, Workload, make_plan
from tests.cli.conftest import unlearn_arguments

GIB = 2**30
GPU = torch.device("cuda", 0)
SEVEN_BILLION = {"hidden_size": 4096, "intermediate_size": 11008, "num_attention_heads": 32}
"""Llama-2-7B's, which has 32 layers."""


def build(folder: Path, layers: int) -> Path:
    """Config, tokenizer, and a file of weights with a hole where they would be."""
    folder.mkdir()
    make_tokenizer(["What is the badge number of nobody?"]).save_pretrained(str(folder))
    config = LlamaConfig(vocab_size=32000, num_hidden_layers=layers, **SEVEN_BILLION)
    config.save_pretrained(str(folder))
    with torch.device("meta"):
        weights = LlamaForCausalLM(config).state_dict()
    header, end = {}, 0
    for name, weight in weights.items():
        start, end = end, end + 2 * weight.numel()
        header[name] = {"dtype": "BF16", "shape": list(weight.shape), "data_offsets": [start, end]}
    raw = json.dumps(header).encode()
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(raw)) + raw)
        file.truncate(8 + len(raw) + end)
    assert (folder / "model.safetensors").stat().st_blocks * 512 < 2**20
    return folder


def use_gpu(monkeypatch: pytest.MonkeyPatch, total: int, others: int) -> None:
    """As if there were a GPU, of which other processes use a part. Nothing may be loaded on it."""

    def refuse(*_: Any) -> Any:
        raise AssertionError("the model is loaded")

    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _=None: (total - others, total))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _=None: 0)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _=None: 0)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_: True)
    monkeypatch.setattr("forgetctl.train.plan.product_rate", lambda *_: 1e12)
    for name in ("prepare.choose_device", "unlearn.choose_device", "dry_run.choose_device"):
        monkeypatch.setattr(f"forgetctl.train.{name}", lambda _: GPU)
    monkeypatch.setattr("forgetctl.train._material.load_for_training", refuse)


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """0.67 billion weights in two layers of a 7B model."""
    return build(tmp_path_factory.mktemp("wide") / "model", 2)


def arguments(model: Path, world: Path, out: Path, *more: str) -> list[str]:
    given = unlearn_arguments(world, out)
    given[given.index("--model") + 1] = str(model)
    return [*given, *more]


def proposed(message: str) -> dict[str, float]:
    """Settings that are said to fit, with the GiB that they are said to take."""
    found = re.search(r"what fits: (.+)\n", message)
    assert found, message
    parts = (re.fullmatch(r"(.+) \(from ([\d.]+) GiB\)", part) for part in found[1].split(" or "))
    return {part[1]: float(part[2]) for part in parts if part}


@pytest.mark.parametrize("dry", [(), ("--dry-run",)], ids=["run", "dry-run"])
def test_what_the_gpu_has_no_room_for_is_refused_before_it_is_loaded(
    dry: tuple[str, ...], wide: Path, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    forgetctl: Callable[..., Result],
) -> None:  # fmt: skip
    """16 bytes a weight are 9.94 GiB; of 12 GiB others use 3."""
    use_gpu(monkeypatch, 12 * GIB, 3 * GIB)
    done = forgetctl(*arguments(wide, world, tmp_path / "run", *dry))
    assert done.exit_code == 1
    assert "the 9.00 GiB of free memory of cuda:0 do not suffice: about " in done.stderr
    assert "are needed at least, 10.43 GiB of them for weights, gradients and optimizer; " in done.stderr  # and a head
    assert next(iter(proposed(done.stderr))) == "--optimizer adamw8bit"
    assert list(tmp_path.iterdir()) == []


def test_what_is_proposed_fits_by_the_same_plan(
    wide: Path, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forgetctl: Callable[..., Result]
) -> None:
    """Each tried as the owner would."""
    use_gpu(monkeypatch, 7 * GIB, 0)
    refused = forgetctl(*arguments(wide, world, tmp_path / "run", "--dry-run"))
    fitting = proposed(refused.stderr)
    assert "--optimizer adamw8bit" not in fitting  # 10 bytes a weight are 6.2 GiB, and a step takes more than the rest
    assert list(fitting)[:2] == ["--optimizer adamw8bit --set weights=bfloat16", "--lora"]
    for name, least in fitting.items():
        done = forgetctl(*arguments(wide, world, tmp_path / "run", *name.split(), "--dry-run", "--json"))
        assert done.exit_code == 0, done.output
        assert least * GIB - 0.01 * GIB <= json.loads(done.stdout)["peak_memory_bytes"] <= 7 * GIB
    other = forgetctl(*arguments(wide, world, tmp_path / "run", "--optimizer", "adamw8bit", "--dry-run"))
    assert other.exit_code == 1
    assert "--optimizer adamw8bit" not in proposed(other.stderr)


def test_the_default_run_of_seven_billion_weights_on_80_gb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """6.74 billion of 16 bytes, and a copy of the head."""
    use_gpu(monkeypatch, 80 * GIB, GIB)
    facts = inspect_model(build(tmp_path / "model", 32))
    rows = [Encoded(tuple(range(100)), 40)] * 8
    work = Workload(facts=facts, rows={"forget": rows, "retain": rows}, recipe=load_recipe("npo-rt"), device=GPU)
    with pytest.raises(MemoryExceeded) as raised:
        make_plan(work, limit=MemoryLimit(plan.available_memory(GPU), "79 GiB"))
    assert "100.90 GiB of them for weights, gradients and optimizer" in str(raised.value)
    assert {"--optimizer adamw8bit", "--lora"} < set(proposed(f"{raised.value}\n"))


def test_a_processor_has_what_is_free_and_what_the_process_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    monkeypatch.setattr(plan.psutil, "virtual_memory", lambda: type("Memory", (), {"available": 5 * GIB}))
    monkeypatch.setattr(plan, "left_to_group", list)
    assert plan.free_memory(cpu) == 5 * GIB
    assert (
        5 * GIB
        < plan.available_memory(cpu)
        == pytest.approx(5 * GIB + plan.psutil.Process().memory_info().rss, rel=0.1)
    )
    monkeypatch.setattr(plan, "left_to_group", lambda: [2 * GIB])
    assert plan.free_memory(cpu) == 2 * GIB


def test_what_a_gpus_allocator_keeps_is_free_to_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    use_gpu(monkeypatch, 80 * GIB, 70 * GIB)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 9 * GIB)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 2 * GIB)
    assert plan.free_memory(GPU) == 17 * GIB
    assert plan.available_memory(GPU) == 19 * GIB


@pytest.mark.parametrize(
    ("limit", "used", "folder"),
    [("memory.max", "memory.current", "."), ("memory.limit_in_bytes", "memory.usage_in_bytes", "memory")],
    ids=["version 2", "version 1"],
)
def test_a_containers_limit(limit: str, used: str, folder: str, tmp_path: Path) -> None:
    """8 of which 6 are used, 1 of them by copies of files."""
    place = tmp_path / folder
    place.mkdir(exist_ok=True)
    (place / limit).write_text(f"{8 * GIB}\n")
    (place / used).write_text(f"{6 * GIB}\n")
    (place / "memory.stat").write_text(f"anon 5\ninactive_file {GIB}\nactive_file 7\ntotal_inactive_file 9\n")
    assert plan.left_to_group(tmp_path) == [3 * GIB]
    (place / limit).write_text("max\n")
    assert plan.left_to_group(tmp_path) == []
    assert plan.left_to_group(tmp_path / "none") == []
