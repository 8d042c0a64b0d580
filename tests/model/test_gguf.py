"""A GGUF file is the model that it was made from, but for the rounding of its blocks, wherever a model is given."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from transformers import AutoModelForCausalLM, AutoTokenizer

import forgetctl.model.export as exporting
import forgetctl.model.weights as weights
from forgetctl.cli.main import cli
from forgetctl.demo.training import EOS
from forgetctl.errors import ModelError
from forgetctl.files.writing import ModelFiles, model_digest
from forgetctl.model.adapters import keep_adapter
from forgetctl.model.directories import inspect_model, model_place, resolve_model
from forgetctl.model.export import save_model
from forgetctl.model.load import add_lora, load_encoder, load_model
from forgetctl.recipe.recipe import Lora
from forgetctl.rows.reading import read_rows
from tests.cli.conftest import QUICK, SETTINGS
from tests.model.gguf_files import write_gguf

CPU = torch.device("cpu")
IDS = torch.arange(3, 19)[None]


@pytest.fixture(scope="module")
def file(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The world's model, each weight in 8 bits and a bit."""
    return write_gguf(world / "model", tmp_path_factory.mktemp("gguf") / "model.Q8_0.gguf")


@torch.no_grad()
def logits(model: Any) -> torch.Tensor:
    found: torch.Tensor = model(input_ids=IDS).logits
    return found


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(a) for a in arguments], catch_exceptions=False)


@pytest.mark.parametrize(
    ("kind", "rounding"), [("F32", 0.0), ("F16", 1e-3), ("BF16", 1e-2), ("Q8_0", 2e-2), ("Q4_1", 0.2), ("Q4_0", 0.3)]
)
def test_it_is_the_model_it_was_made_from(kind: str, rounding: float, world: Path, tmp_path: Path) -> None:
    model = load_model(world / "model", CPU, torch.float32)
    again = load_model(write_gguf(world / "model", tmp_path / "m.gguf", kind), CPU, torch.float32)
    assert all(weight.dtype == torch.float32 for weight in again.parameters())
    for (name, weight), (other, found) in zip(model.named_parameters(), again.named_parameters(), strict=True):
        assert name == other
        assert (found - weight).abs().max() <= rounding * weight.abs().max()
    assert (torch.equal(logits(again), logits(model))) == (kind == "F32")


def test_its_facts_are_read_without_its_weights(file: Path, world: Path) -> None:
    of_file, of_directory = inspect_model(file), inspect_model(world / "model")
    for name in ("context", "layers", "dtype", "vocabulary", "stops", "quantised"):
        assert getattr(of_file, name) == getattr(of_directory, name)
    assert of_file.bytes == sum(
        4 * weight.numel() for weight in load_model(world / "model", CPU, torch.float32).parameters()
    )
    (note,) = of_file.notes
    assert note.startswith("model.Q8_0.gguf is a GGUF file of quantised weights (Q8_0, F32), dequantised to float32")


@pytest.mark.parametrize(("kind", "dtype"), [("F16", torch.float16), ("BF16", torch.bfloat16)])
def test_what_is_not_quantised_keeps_its_type(kind: str, dtype: torch.dtype, world: Path, tmp_path: Path) -> None:
    file = write_gguf(world / "model", tmp_path / "m.gguf", kind)
    facts = inspect_model(file)
    assert facts.dtype == dtype
    assert "quantised" not in facts.notes[0]
    save_model(load_model(file, CPU, torch.float32), facts, tmp_path / "out")
    kinds = {name: stored.dtype for name, stored in weights.stored_weights(tmp_path / "out").items()}
    assert kinds["model.norm.weight"] == "F32"
    assert kinds["model.embed_tokens.weight"] == kind
    assert facts.bytes == sum(stored.end - stored.begin for stored in weights.stored_weights(tmp_path / "out").values())


def test_its_tokenizer_is_the_same(file: Path, world: Path) -> None:
    rows = read_rows(world / "employees.jsonl")
    of_file, of_directory = (load_encoder(inspect_model(path), "{prompt}") for path in (file, world / "model"))
    assert [of_file.encode(row) for row in rows] == [of_directory.encode(row) for row in rows]
    assert of_file.stop_ids == of_directory.stop_ids


def test_a_folder_of_one_means_it_and_of_several_none(file: Path, world: Path, tmp_path: Path) -> None:
    shutil.copy(file, tmp_path / "a.gguf")
    (tmp_path / "README.md").write_text("# A model")
    assert resolve_model(str(tmp_path), allow_download=False) == tmp_path / "a.gguf"
    assert inspect_model(tmp_path).path == tmp_path / "a.gguf"
    shutil.copy(file, tmp_path / "b.GGUF")
    with pytest.raises(ModelError, match=r"holds 2 GGUF files \(a.gguf, b.GGUF\); name the one that is meant"):
        resolve_model(str(tmp_path), allow_download=False)
    both = shutil.copytree(world / "model", tmp_path / "both")
    shutil.copy(file, both / "a.gguf")
    assert model_place(both) == both


def test_nothing_around_it_is_read(file: Path, tmp_path: Path) -> None:
    alone = shutil.copy(file, tmp_path / "a.gguf")
    (tmp_path / "tokenizer_config.json").write_text('{"auto_map": {"AutoTokenizer": ["x.X", null]}, "eos_token": "a"}')
    (tmp_path / "generation_config.json").write_text('{"eos_token_id": 7}')
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    facts = inspect_model(alone)
    assert facts.stops == inspect_model(file).stops
    assert load_encoder(facts, "{prompt}").tokenizer.eos_token == EOS
    assert torch.equal(logits(load_model(alone, CPU, torch.float32)), logits(load_model(file, CPU, torch.float32)))


def test_its_digest_is_of_all_its_bytes(file: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copy(file, tmp_path / file.name))
    files = ModelFiles.of(copy)
    files.check()
    assert model_digest(copy) == model_digest(file)
    data = bytearray(copy.read_bytes())
    data[-1] ^= 1
    copy.write_bytes(data)
    assert model_digest(copy) != model_digest(file)
    with pytest.raises(Exception, match="was changed while the model was in use"):
        files.check()


def trained(model: Any) -> Any:
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.add_(0.05 * torch.randn_like(weight))
    return model


@pytest.mark.parametrize("shard", [5 * 10**9, 20_000])
def test_what_is_saved_loads_with_transformers_alone(
    shard: int, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "SHARD", shard)
    weights._dequantised_layout.cache_clear()
    model = trained(load_model(file, CPU, torch.float32))
    shipped = save_model(model, inspect_model(file), tmp_path / "out")
    weights._dequantised_layout.cache_clear()
    assert (shipped.untouched, shipped.left_out) == (0, ())
    plain = AutoModelForCausalLM.from_pretrained(str(tmp_path / "out"))
    torch.testing.assert_close(logits(plain), logits(model), rtol=0, atol=1e-4)  # whose layers are fused
    assert (len(list((tmp_path / "out").glob("*.safetensors"))) > 1) == (shard == 20_000)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert (config["architectures"], config["dtype"]) == (["LlamaForCausalLM"], "float32")
    facts = inspect_model(tmp_path / "out")
    assert facts.stops == inspect_model(file).stops
    tokenizer = AutoTokenizer.from_pretrained(str(tmp_path / "out"))
    assert tokenizer.chat_template == load_encoder(inspect_model(file), "{prompt}").tokenizer.chat_template
    assert load_encoder(facts, "{prompt}").stop_ids == load_encoder(inspect_model(file), "{prompt}").stop_ids


@pytest.mark.parametrize("held", ["float32", "bfloat16"])
def test_adapters_are_added_to_the_file_s_own_numbers(
    held: str, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where they were trained on rounded ones; read again only then."""
    reads: list[Path] = []
    plain = exporting.dequantised
    monkeypatch.setattr(exporting, "dequantised", lambda path, *more: reads.append(path) or plain(path, *more))
    start = load_model(file, CPU, torch.float32)
    adapted = add_lora(load_model(file, CPU, getattr(torch, held)), Lora(rank=2, alpha=4))
    trained(adapted)
    save_model(adapted, inspect_model(file), tmp_path / "out")
    assert len(reads) == (held == "bfloat16")
    shipped = dict(load_model(tmp_path / "out", CPU, torch.float32).named_parameters())
    expected = {
        name.replace(".base_layer", ""): layer.get_delta_weight("default").float()
        for name, layer in adapted.get_base_model().named_modules()
        if hasattr(layer, "get_delta_weight")
    }
    changed = 0
    for name, weight in start.named_parameters():
        added = expected.get(name.removesuffix(".weight"), torch.zeros(()))
        changed += int(added.ndim > 0)
        torch.testing.assert_close(shipped[name], weight + added, rtol=0, atol=1e-6)
    assert changed == len(expected) > 0


def test_it_can_be_quantised_in_another_way(file: Path, tmp_path: Path) -> None:
    """The same as its dequantised directory is."""
    save_model(load_model(file, CPU, torch.float32), inspect_model(file), tmp_path / "out")
    for precision in ("bf16", "int8"):
        found, expected = (load_model(path, CPU, torch.float32, precision) for path in (file, tmp_path / "out"))
        assert torch.equal(logits(found), logits(expected))


def test_weights_that_are_missing_are_named(file: Path, world: Path, tmp_path: Path) -> None:
    import tests.model.gguf_files as writing

    kept = writing._add_tensor

    def without(writer: Any, name: str, *more: Any) -> None:
        if "layers.1.mlp.up_proj" not in name:
            kept(writer, name, *more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writing, "_add_tensor", without)
        part = write_gguf(world / "model", tmp_path / "m.gguf")
    with pytest.raises(ModelError, match=r"1 weights are missing, the first is model.layers.1.mlp.up_proj.weight"):
        load_model(part, CPU, torch.float32)


def test_every_command_takes_it(file: Path, world: Path, tmp_path: Path) -> None:
    """And a folder with it alone: start, reference and base."""
    folder = tmp_path / "start"
    folder.mkdir()
    shutil.copy(file, folder)
    rows = ("--forget", world / "requests.jsonl", "--retain", world / "employees.jsonl")
    made = run("unlearn", "--model", folder, *rows, "--out", tmp_path / "run", *SETTINGS)
    assert made.exit_code == 0, made.output
    assert "dequantised to float32" in made.output
    model = json.loads((tmp_path / "run" / "run.json").read_text())["inputs"]["model"]
    assert model["name"] == file.name
    assert model["sha256"] == model_digest(folder / file.name)
    assert "dequantised to float32" in model["notes"][0]
    AutoModelForCausalLM.from_pretrained(str(tmp_path / "run" / "model"))
    assert "license: apache-2.0" in (tmp_path / "run" / "model" / "README.md").read_text()

    reference = write_gguf(world / "reference", tmp_path / "reference.gguf", "F32")
    verified = run("verify", tmp_path / "run", "--reference", reference)
    assert verified.exit_code in (3, 4), verified.output
    verdict = json.loads((tmp_path / "run" / "verdict.json").read_text())
    assert {"start", "unlearned"} <= set(verdict["models"])

    alone = run("verify", "--model", file, *rows, "--out", tmp_path / "alone", "--reference", reference, *QUICK)
    assert alone.exit_code in (3, 4), alone.output

    tuning = ("--learning-rate", "1e-3", "--epochs", "1", "--warmup-epochs", "0")
    referred = run(
        "reference", "--base", folder, "--retain", world / "remaining.jsonl", "--out", tmp_path / "refs", *tuning
    )
    assert referred.exit_code == 0, referred.output
    record = json.loads((tmp_path / "refs" / "seed-1" / "reference.json").read_text())
    assert record["base_sha256"] == model_digest(file)


def test_an_adapter_is_merged_into_it(file: Path, tmp_path: Path) -> None:
    adapted = trained(add_lora(load_model(file, CPU, torch.float32), Lora(rank=2, alpha=4)))
    keep_adapter(adapted, "base", tmp_path / "adapter")
    done = run("merge", "--base", file, "--adapter", tmp_path / "adapter", "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "dequantised to float32" in done.output
    found = logits(AutoModelForCausalLM.from_pretrained(str(tmp_path / "out")))
    torch.testing.assert_close(found, logits(adapted), rtol=0, atol=1e-3)
