"""What `unlearn` ships: the start model's directory but for its weights, what is said of the rest, and the adapter."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import transformers
from click.testing import CliRunner, Result
from peft import PeftModel

from forgetctl.cli.main import cli
from forgetctl.files.writing import file_digest
from forgetctl.model.load import load_tokenizer
from forgetctl.seal.purge import PurgeOptions, plan_purge, run_purge
from tests.cli.conftest import QUICK

STILL = ("--set", "learning_rate=1e-30", "--set", "epochs=1", "--set", "batch_size=8", *QUICK)
"""Steps that are too small to change a weight."""


def unlearn(world: Path, model: Path, out: Path, *more: str) -> Result:
    files = ["--forget", str(world / "requests.jsonl"), "--retain", str(world / "employees.jsonl")]
    arguments = ["unlearn", "--model", str(model), *files, "--out", str(out), "--device", "cpu", *STILL, *more]
    return CliRunner().invoke(cli, arguments)


def record(run: Path) -> dict[str, Any]:
    return dict(json.loads((run / "run.json").read_text())["stages"]["unlearn"])


@pytest.fixture
def start(world: Path, tmp_path: Path) -> Path:
    """The world's model with what models on the hub have beside their weights, of use and of danger."""
    model = Path(shutil.copytree(world / "model", tmp_path / "start"))
    (model / "README.md").write_text("---\nlicense: mit\n---\n\n# A model\n")
    belonging = ("LICENSE", "NOTICE", "merges.txt", "additional_chat_templates/rag.jinja", "original/params.json")
    dangerous = ("pytorch_model.bin", "original/consolidated.00.pth", "model.gguf", "optimizer.pt", "rows\x1b[2J.jsonl")
    for name in (*belonging, *dangerous):
        (model / name).parent.mkdir(exist_ok=True)
        (model / name).write_text(f"{name!r}\r\n")
    return model


def test_the_unlearned_directory_is_the_starts_file_by_file(world: Path, start: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    result = unlearn(world, start, run)
    assert result.exit_code == 0, result.output
    made = {path.relative_to(run / "model").as_posix(): path for path in (run / "model").rglob("*") if path.is_file()}
    before = {path.relative_to(start).as_posix(): path for path in start.rglob("*") if path.is_file()}
    left_out = {"pytorch_model.bin", "original/consolidated.00.pth", "model.gguf", "optimizer.pt", "rows\x1b[2J.jsonl"}
    assert made.keys() == before.keys() - left_out | {"START_README.md"}
    assert all(
        made[name].read_bytes() == before[name].read_bytes() for name in made.keys() & before.keys() - {"README.md"}
    )
    assert made["START_README.md"].read_bytes() == before["README.md"].read_bytes()
    shown = {name.replace("\x1b", "\N{REPLACEMENT CHARACTER}") for name in left_out}
    assert set(record(run)["left_out"]) == shown
    card = made["README.md"].read_text()
    assert "license: mit" in card
    for name in shown:
        assert name in result.stderr
        assert name.replace("_", r"\_").replace("[", r"\[") in card
    assert "\x1b" not in result.stderr + card


def test_a_composite_model_keeps_what_is_no_language_model(world: Path, tmp_path: Path) -> None:
    """Loaded by its own class the unlearned directory lacks nothing."""
    tokenizer, model, run = load_tokenizer(world / "model"), tmp_path / "start", tmp_path / "run"
    text = {
        **{"vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2},
        **{"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 256},
        **{"layer_types": ["linear_attention", "full_attention"], "linear_num_key_heads": 2},
        **{"linear_num_value_heads": 4, "linear_key_head_dim": 8, "linear_value_head_dim": 8},
    }
    sight = {"depth": 1, "hidden_size": 16, "num_heads": 2, "intermediate_size": 24, "out_hidden_size": 32}
    config = transformers.Qwen3_5Config(text_config=text, vision_config=sight)
    whole = transformers.Qwen3_5ForConditionalGeneration(config)
    whole.save_pretrained(str(model))
    tokenizer.save_pretrained(str(model))
    result = unlearn(world, model, run, "--set", "learning_rate=1e-2")
    assert result.exit_code == 0, result.output
    seeing = {name for name, _ in whole.named_parameters() if ".visual." in name}
    assert record(run)["untouched_weights"] == len(seeing) > 10
    assert f"{len(seeing)} of {len(list(whole.named_parameters()))} weights are not trained with" in result.stderr
    assert f"{len(seeing)} weights are not trained with the language model" in (run / "model" / "README.md").read_text()
    again, report = type(whole).from_pretrained(str(run / "model"), output_loading_info=True)
    assert not any(report[fault] for fault in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    changed = {name for name, weight in again.named_parameters() if not weight.equal(whole.get_parameter(name))}
    assert changed.isdisjoint(seeing)
    assert len(changed) > len(list(whole.named_parameters())) - len(seeing) - 5  # all but a few of the text's


# The adapter


def test_the_adapter_is_kept_where_it_is_asked_for(world: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    result = unlearn(world, world / "model", run, "--lora", "--keep-adapter", "--set", "learning_rate=1e-2")
    assert result.exit_code == 0, result.output
    weights = run / "adapter" / "adapter_model.safetensors"
    assert record(run)["adapter_sha256"] == file_digest(weights)
    config = json.loads((run / "adapter" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "model"
    plain = transformers.AutoModelForCausalLM.from_pretrained(str(world / "model"))
    merged = PeftModel.from_pretrained(plain, str(run / "adapter")).merge_and_unload()
    shipped = transformers.AutoModelForCausalLM.from_pretrained(str(run / "model"))
    for name, weight in shipped.named_parameters():
        assert (weight - merged.get_parameter(name)).abs().max() < 1e-6
    card = (run / "model" / "README.md").read_text()
    assert "the base model alone still knows the rows" in card
    assert f"| {file_digest(weights)} |" in card
    assert record(run)["status"] == "done"
    plan = plan_purge(PurgeOptions(run))
    assert (
        str(run / "adapter"),
        "taken off the unlearned model again it leaves the model from before",
    ) in plan.remaining
    run_purge(plan)
    assert weights.is_file()


def test_without_an_adapter_there_is_none_to_keep(world: Path, tmp_path: Path) -> None:
    result = unlearn(world, world / "model", tmp_path / "run", "--keep-adapter")
    assert result.exit_code == 2
    assert "--keep-adapter: there is none without --lora or --qlora" in result.stderr
    assert not (tmp_path / "run").exists()


def test_unasked_no_adapter_is_kept(world: Path, tmp_path: Path) -> None:
    result = unlearn(world, world / "model", tmp_path / "run", "--lora")
    assert result.exit_code == 0, result.output
    assert not (tmp_path / "run" / "adapter").exists()
    assert "adapter_sha256" not in record(tmp_path / "run")
    assert "The adapter was kept" not in (tmp_path / "run" / "model" / "README.md").read_text()


def test_an_adapter_on_tied_weights_is_refused_before_anything_is_written(world: Path, tmp_path: Path) -> None:
    result = unlearn(world, world / "model", tmp_path / "run", "--lora", "--set", "lora.targets=.*(q_proj|lm_head)")
    assert result.exit_code == 2
    assert "lm_head shares its weight with model.embed_tokens" in result.stderr
    assert not (tmp_path / "run").exists()


def test_an_adapter_on_embeddings_is_trained_and_merged(world: Path, tmp_path: Path) -> None:
    start = world / "model"
    config = json.loads((start / "config.json").read_text()) | {"tie_word_embeddings": False}
    model = transformers.AutoModelForCausalLM.from_pretrained(str(start))
    untied = type(model)(type(model.config)(**config))
    untied.load_state_dict(model.state_dict())
    untied.save_pretrained(str(tmp_path / "untied"))
    load_tokenizer(start).save_pretrained(str(tmp_path / "untied"))
    targets = ("--lora", "--set", "lora.targets=[q_proj, embed_tokens]", "--set", "learning_rate=1e-2")
    result = unlearn(world, tmp_path / "untied", tmp_path / "run", *targets)
    assert result.exit_code == 0, result.output
    shipped = transformers.AutoModelForCausalLM.from_pretrained(str(tmp_path / "run" / "model"))
    changed = {name for name, weight in shipped.named_parameters() if not weight.equal(untied.get_parameter(name))}
    assert changed == {"model.embed_tokens.weight", *(f"model.layers.{n}.self_attn.q_proj.weight" for n in (0, 1))}
