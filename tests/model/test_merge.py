"""A base and an adapter as one model: the same scores, everything else refused, nothing run that is not ours."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file

from forgetctl.cli.main import cli
from forgetctl.errors import ModelError
from forgetctl.files.writing import file_digest, model_digest
from forgetctl.model.adapters import unknown_targets
from forgetctl.model.directories import inspect_model
from forgetctl.model.load import load_model, load_tokenizer
from forgetctl.model.merge import run_merge
from forgetctl.model.scoring import score
from tests.model.oracles import plain_logp, random_rows

CPU = torch.device("cpu")


def make_adapter(base: Path, folder: Path, **settings: Any) -> Path:
    """An adapter as peft itself saves one, with weights that matter."""
    model = load_model(base, CPU, torch.float32)
    config = LoraConfig(**{"r": 3, "lora_alpha": 6, "target_modules": ["q_proj", "down_proj"], **settings})
    adapted = get_peft_model(model, config)
    generator = torch.Generator().manual_seed(5)
    for name, weight in adapted.named_parameters():
        if weight.requires_grad and "lora" in name:
            torch.nn.init.normal_(weight, std=0.3, generator=generator)
    adapted.save_pretrained(str(folder), save_embedding_layers=False)
    return folder


@pytest.fixture(scope="module")
def base(world: Path) -> Path:
    return world / "model"


@pytest.fixture
def adapter(base: Path, tmp_path: Path) -> Path:
    return make_adapter(base, tmp_path / "adapter")


def adapted_scores(base: Path, adapter: Path) -> torch.Tensor:
    """By peft's own loading, one row at a time."""
    model = PeftModel.from_pretrained(load_model(base, CPU, torch.float32), str(adapter)).eval()
    with torch.no_grad():
        return plain_logp(model, random_rows(12))


def merged_scores(out: Path) -> torch.Tensor:
    return torch.tensor(score(load_model(out, CPU, torch.float32), random_rows(12)))


@pytest.mark.parametrize(
    "settings",
    [{}, {"use_rslora": True}, {"use_dora": True}, {"rank_pattern": {"q_proj": 5}}, {"target_modules": "all-linear"}],
    ids=["plain", "rslora", "dora", "ranks", "all"],
)
def test_the_merged_model_scores_as_the_adapted_one(settings: dict[str, Any], base: Path, tmp_path: Path) -> None:
    adapter = make_adapter(base, tmp_path / "adapter", **settings)
    expected = adapted_scores(base, adapter)
    assert (expected - merged_scores(base)).abs().min() > 1e-2  # the adapter does something to every row
    digests = run_merge(base, adapter, tmp_path / "out")
    assert torch.allclose(merged_scores(tmp_path / "out"), expected, atol=1e-3)
    assert digests == {
        "sha256": model_digest(tmp_path / "out"),
        "adapter_sha256": file_digest(adapter / "adapter_model.safetensors"),
    }
    facts, before = inspect_model(tmp_path / "out"), inspect_model(base)
    assert (facts.dtype, facts.context) == (before.dtype, before.context)
    assert (tmp_path / "out" / "config.json").read_bytes() == (base / "config.json").read_bytes()
    assert not list(tmp_path.glob(".*"))


def test_a_model_that_carries_its_adapter(base: Path, adapter: Path, tmp_path: Path) -> None:
    """One directory with both: the refusal names the command, and the command does it."""
    both = Path(shutil.copytree(base, tmp_path / "both"))
    for file in adapter.iterdir():
        shutil.copy(file, both / file.name)
    with pytest.raises(ModelError) as caught:
        inspect_model(both)
    command = f"forgetctl merge --base {both} --adapter {both} --out "
    assert command in str(caught.value)
    result = CliRunner().invoke(cli, [*command.split()[1:], str(tmp_path / "out"), "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["sha256"] == model_digest(tmp_path / "out")
    assert torch.allclose(merged_scores(tmp_path / "out"), adapted_scores(base, adapter), atol=1e-3)


def test_an_adapter_alone_is_refused_with_the_command(adapter: Path) -> None:
    with pytest.raises(ModelError, match=f"forgetctl merge --base BASE --adapter {adapter} --out DIR"):
        inspect_model(adapter)


def test_the_digest_is_printed(base: Path, adapter: Path, tmp_path: Path) -> None:
    arguments = ["merge", "--base", base, "--adapter", adapter, "--out", tmp_path / "out"]
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    assert model_digest(tmp_path / "out") in result.stdout


def test_a_half_precision_base_stays_one(base: Path, tmp_path: Path) -> None:
    half = Path(shutil.copytree(base, tmp_path / "half"))
    config = json.loads((half / "config.json").read_text()) | {"dtype": "bfloat16"}
    (half / "config.json").write_text(json.dumps(config))
    weights = {name: weight.bfloat16() for name, weight in load_file(half / "model.safetensors").items()}
    save_file(weights, half / "model.safetensors", {"format": "pt"})
    adapter = make_adapter(half, tmp_path / "adapter")
    run_merge(half, adapter, tmp_path / "out")
    kept = load_file(tmp_path / "out" / "model.safetensors")
    assert {weight.dtype for weight in kept.values()} == {torch.bfloat16}
    name = next(name for name in kept if name.endswith("q_proj.weight"))
    factors = load_file(adapter / "adapter_model.safetensors")
    stem = f"base_model.model.{name.removesuffix('.weight')}"
    exact = weights[name].float() + 2 * factors[f"{stem}.lora_B.weight"] @ factors[f"{stem}.lora_A.weight"]
    assert torch.equal(kept[name], exact.bfloat16())  # rounded once


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_an_adapter_on_a_half_precision_base_is_not_refused(dtype: torch.dtype, base: Path, tmp_path: Path) -> None:
    """Weights are rounded and buffers are not: rounded, the frequencies of RoPE would move every logit."""
    half = Path(shutil.copytree(base, tmp_path / "half"))
    weights = load_file(half / "model.safetensors")
    save_file({name: weight.to(dtype) for name, weight in weights.items()}, half / "model.safetensors")
    config = json.loads((half / "config.json").read_text()) | {"max_position_embeddings": 65536}
    config["rope_parameters"] = {"rope_type": "default", "rope_theta": 17.0}
    (half / "config.json").write_text(json.dumps(config))
    adapter = make_adapter(half, tmp_path / "adapter")
    run_merge(half, adapter, tmp_path / "out")
    plain = PeftModel.from_pretrained(load_model(half, CPU, torch.float32), str(adapter)).merge_and_unload()
    saved = load_file(tmp_path / "out" / "model.safetensors")
    for name, weight in plain.named_parameters():
        assert torch.equal(saved[name], weight.to(dtype))


def test_adapters_on_embeddings_are_merged(base: Path, tmp_path: Path) -> None:
    untied = Path(shutil.copytree(base, tmp_path / "untied"))
    config = json.loads((base / "config.json").read_text()) | {"tie_word_embeddings": False}
    (untied / "config.json").write_text(json.dumps(config))
    weights = load_file(untied / "model.safetensors")
    head = weights["model.embed_tokens.weight"].clone()
    save_file({**weights, "lm_head.weight": head}, untied / "model.safetensors", {"format": "pt"})
    adapter = make_adapter(untied, tmp_path / "adapter", target_modules=["q_proj", "embed_tokens", "lm_head"])
    expected = adapted_scores(untied, adapter)
    run_merge(untied, adapter, tmp_path / "out")
    assert torch.allclose(merged_scores(tmp_path / "out"), expected, atol=1e-3)


def test_a_base_in_the_hubs_cache(base: Path, adapter: Path, tmp_path: Path) -> None:
    """With the adapter beside it; its files are links, which are no files of the merged model."""
    blobs, snapshot = tmp_path / "models--a--b" / "blobs", tmp_path / "models--a--b" / "snapshots" / "0a"
    blobs.mkdir(parents=True)
    snapshot.mkdir(parents=True)
    (tmp_path / "LICENSE").write_text("Do what you like.")
    files = [*base.iterdir(), tmp_path / "LICENSE", *(adapter / name for name in ADAPTER)]
    for number, file in enumerate(files):
        shutil.copy(file, blobs / f"{number:040x}")
        (snapshot / file.name).symlink_to(f"../../blobs/{number:040x}")
    run_merge(snapshot, adapter, tmp_path / "out")
    assert (tmp_path / "out" / "LICENSE").read_text() == "Do what you like."
    assert (tmp_path / "out" / "tokenizer.json").read_bytes() == (base / "tokenizer.json").read_bytes()
    assert not any(file.is_symlink() or file.name in ADAPTER for file in (tmp_path / "out").iterdir())


ADAPTER = ("adapter_config.json", "adapter_model.safetensors")


def test_the_adapters_own_tokenizer_is_used(base: Path, adapter: Path, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(base)
    tokenizer.chat_template = "{{ messages[0].content }}"
    tokenizer.save_pretrained(str(adapter))
    run_merge(base, adapter, tmp_path / "out")
    assert load_tokenizer(tmp_path / "out").chat_template == tokenizer.chat_template


# What is refused


def edit(adapter: Path, **changes: Any) -> None:
    file = adapter / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def rename(adapter: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> None:
    file = adapter / "adapter_model.safetensors"
    save_file(change(load_file(file)), file)


def pickle_only(adapter: Path) -> None:
    torch.save(load_file(adapter / "adapter_model.safetensors"), adapter / "adapter_model.bin")
    (adapter / "adapter_model.safetensors").unlink()


SPOILT: dict[str, tuple[Callable[[Path], object], str]] = {
    "no config": (lambda path: (path / "adapter_config.json").unlink(), "has no adapter_config.json"),
    "pickled": (pickle_only, "has no adapter_model.safetensors; forgetctl reads safetensors only"),
    "foreign code": (lambda path: edit(path, auto_map={"x": "y.Z"}), "asks for code of others (auto_map)"),
    "foreign import": (lambda path: edit(path, megatron_config={"a": 1}), "asks for code of others (megatron_config)"),
    "another kind": (lambda path: edit(path, peft_type="IA3"), "is no LoRA adapter, but IA3"),
    "no kind": (lambda path: edit(path, peft_type=None), "is no LoRA adapter"),
    "damaged": (lambda path: (path / "adapter_model.safetensors").write_bytes(b"x"), "not a whole safetensors file"),
    "other modules": (lambda path: edit(path, target_modules=["c_attn"]), "does not fit this base model"),
    "other shapes": (
        lambda path: rename(path, lambda weights: {name: torch.cat([w, w], 1) for name, w in weights.items()}),
        "does not fit this base model",
    ),
    "weights missing": (lambda path: rename(path, lambda weights: dict(list(weights.items())[1:])), "1 weights"),
    "weights too many": (lambda path: rename(path, lambda weights: {**weights, "other": torch.ones(1)}), "1 weights"),
}


@pytest.mark.parametrize("spoil", SPOILT)
def test_what_is_no_adapter_of_this_model_is_refused(spoil: str, base: Path, adapter: Path, tmp_path: Path) -> None:
    change, why = SPOILT[spoil]
    change(adapter)
    with pytest.raises(ModelError) as caught:
        run_merge(base, adapter, tmp_path / "out")
    assert why in str(caught.value)
    assert str(adapter) in str(caught.value)
    assert {path.name for path in tmp_path.iterdir()} == {"adapter"}  # nothing is left


def test_an_adapter_on_tied_embeddings_is_refused(base: Path, tmp_path: Path) -> None:
    """Merged into one of two weights that are the same, it would change the other too."""
    tied = Path(shutil.copytree(base, tmp_path / "tied"))
    config = json.loads((tied / "config.json").read_text())
    assert config["tie_word_embeddings"]
    adapter = make_adapter(tied, tmp_path / "adapter", target_modules=["q_proj", "lm_head"])
    with pytest.raises(ModelError, match="not compute the same"):
        run_merge(tied, adapter, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_place_in_use_is_refused(base: Path, adapter: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "x").touch()
    arguments = ["merge", "--base", base, "--adapter", adapter, "--out", tmp_path / "out"]
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert result.exit_code == 2
    assert "is in use" in result.stderr


# Which modules an adapter may touch

MODULES = ["model.layers.0.self_attn.q_proj", "model.layers.0.mlp.up_proj", "lm_head"]


@pytest.mark.parametrize(
    ("targets", "unknown"),
    [
        ("all-linear", []),
        (r".*\.(q|v)_proj", []),
        ("q_proj", ["q_proj"]),  # a pattern is of the whole name
        (["q_proj"], []),
        (["self_attn.q_proj", "lm_head"], []),
        (["proj", "q_proj", "no_proj"], ["proj", "no_proj"]),
    ],
)
def test_targets_are_ends_of_names_or_a_pattern(targets: Any, unknown: list[str]) -> None:
    assert unknown_targets(targets, MODULES) == unknown


def test_a_pattern_that_is_none() -> None:
    with pytest.raises(ModelError, match="no regular expression"):
        unknown_targets("(", MODULES)
