"""What a model directory must be, and what loading and saving keep."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from forgetctl.demo.training import encoder_for
from forgetctl.errors import ModelError
from forgetctl.model.export import save_model
from forgetctl.model.load import (
    add_lora,
    choose_device,
    inspect_model,
    inspect_trainable,
    load_model,
    load_tokenizer,
    merged,
    resolve_model,
    trainable_parameters,
)
from forgetctl.model.scoring import score
from forgetctl.recipe.recipe import Lora
from forgetctl.rows.row import Row
from tests.model.oracles import random_model, random_rows

CPU = torch.device("cpu")
Spoil = Callable[[Path], object]


@pytest.fixture
def directory(world: Path, tmp_path: Path) -> Path:
    """A copy of the start model to spoil."""
    return Path(shutil.copytree(world / "model", tmp_path / "model"))


def load(path: Path, dtype: torch.dtype = torch.float32) -> Any:
    return load_model(path, CPU, dtype)


def edit_config(path: Path, **changes: Any) -> None:
    """Change keys of the config; None removes one."""
    config = json.loads((path / "config.json").read_text())
    config |= changes
    (path / "config.json").write_text(json.dumps({k: v for k, v in config.items() if v is not None}))


def edit_weights(path: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    weights = load_file(path / "model.safetensors")
    change(weights)
    save_file(weights, path / "model.safetensors", {"format": "pt"})


def strange_type(path: Path, dtype: torch.dtype) -> None:
    edit_weights(path, lambda weights: weights.update({"strange": torch.zeros(2).to(dtype)}))


def truncate(path: Path) -> None:
    file = path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def pickle_only(path: Path) -> None:
    (path / "model.safetensors").rename(path / "pytorch_model.bin")


def refusal(action: Callable[[], object]) -> str:
    with pytest.raises(ModelError) as caught:
        action()
    assert caught.value.exit_code == 2
    return str(caught.value)


# Finding a model


def test_a_directory_is_found(directory: Path) -> None:
    assert resolve_model(str(directory), allow_download=False) == directory


def test_a_file_is_not_a_model(directory: Path) -> None:
    file = directory / "config.json"
    why = refusal(lambda: resolve_model(str(file), allow_download=False))
    assert why == f"{file}: is a file, expected a model directory or a .gguf file"


def test_nothing_is_downloaded_unasked() -> None:
    why = refusal(lambda: resolve_model("someone/some-model", allow_download=False))
    assert why == "someone/some-model: no such model directory (a hub id needs --allow-download)"


@pytest.mark.parametrize("name", ["someone/some-model-that-is-not-there", "not/a/hub/id", "nor?this"])
def test_a_failed_download(name: str) -> None:
    """The tests are offline, so that every download fails."""
    assert refusal(lambda: resolve_model(name, allow_download=True)).startswith(f"{name}: could not be downloaded (")


def index(path: Path, name: object) -> None:
    """A model in shards, one of which is somewhere else."""
    (path / "model.safetensors").unlink()
    (path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"w": name}}))


# Refused before anything is loaded


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (shutil.rmtree, "no such model directory"),
        (lambda path: (path / "config.json").unlink(), "has no config.json"),
        (lambda path: (path / "config.json").write_text("{"), "is not valid JSON"),
        (lambda path: (path / "config.json").write_bytes(b"\xff\xfe{}"), "is not UTF-8"),
        (lambda path: (path / "config.json").write_text('{"a": 1, "a": 2}'), "a key twice"),
        (lambda path: edit_config(path, max_position_embeddings=-1), "has no usable max_position"),
        (lambda path: edit_config(path, max_position_embeddings="many"), "transformers refuses its config.json"),
        (lambda path: edit_config(path, dtype="no such type"), "transformers refuses its config.json"),
        (lambda path: edit_config(path, model_type="no-such-model"), "transformers refuses its config.json"),
        (lambda path: edit_config(path, model_type="t5"), "is no causal language model: transformers has none of"),
        (lambda path: edit_config(path, model_type="bart", is_encoder_decoder=True), "but an encoder and a decoder"),
        (lambda path: edit_config(path, model_type="bert"), "every token sees those after it (bert)"),
        (lambda path: edit_config(path, model_type="xlm-roberta"), "every token sees those after it (xlm-roberta)"),
        (lambda path: edit_config(path, eos_token_id=["</s>"]), "transformers refuses its config.json"),
        (lambda path: (path / "generation_config.json").write_text('{"eos_token_id": -2}'), "has no usable eos_token"),
        (lambda path: strange_type(path, torch.float8_e4m3fn), "holds quantised weights (F8_E4M3), and the config"),
        (lambda path: strange_type(path, torch.uint8), "holds quantised weights (U8), and the config does not say"),
        (lambda path: (path / "config.json").write_text("[]"), "is not a JSON object"),
        (truncate, "is not a whole safetensors file"),
        (lambda path: (path / "model.safetensors").write_bytes(b""), "is not a whole safetensors file"),
        (lambda path: (path / "model.safetensors").write_bytes(b"\xff" * 4000), "is not a whole safetensors file"),
        (lambda path: (path / "model.safetensors").unlink(), "no weights: forgetctl reads safetensors and GGUF only"),
        (pickle_only, "only pickled weights (pytorch_model.bin), which can run code; convert them"),
        (lambda path: edit_config(path, auto_map={"AutoModel": "modeling.Mine"}), "remote code (auto_map)"),
        (
            lambda path: (path / "tokenizer_config.json").write_text('{"auto_map": {"AutoTokenizer": ["a.B", null]}}'),
            "its tokenizer's config asks for remote code (auto_map)",
        ),
        (lambda path: (path / "tokenizer_config.json").write_text("{"), "tokenizer_config.json:1: is not valid JSON"),
        (lambda path: index(path, "../other/model.safetensors"), "names something else than safetensors files"),
        (lambda path: index(path, "/etc/passwd"), "names something else than safetensors files"),
        (lambda path: index(path, "pytorch_model.bin"), "names something else than safetensors files"),
        (lambda path: index(path, ["a"]), "names something else than safetensors files"),
        (lambda path: (path / "adapter_config.json").write_text("{}"), "merge it first: forgetctl merge --base"),
        (
            lambda path: [item.unlink() for item in path.glob("*token*")],
            "has no tokenizer",
        ),
    ],
    ids=[
        "missing", "no-config", "broken-config", "config-not-utf8", "config-twice", "config-count", "config-text",
        "config-type", "unknown", "no-decoder", "encoder", "masked", "masked-too", "end-text", "end-negative", "float8",
        "uint8", "config-list", "truncated", "empty", "garbage", "no-weights", "pickle", "auto-map",
        "tokenizer-auto-map", "tokenizer-config", "index-up", "index-absolute", "index-pickle", "index-list",
        "adapter", "no-tokenizer",
    ],
)  # fmt: skip
def test_inspection_refuses(spoil: Spoil, why: str, directory: Path) -> None:
    spoil(directory)
    message = refusal(lambda: inspect_model(directory))
    assert message.startswith(str(directory))
    assert why in message


def test_a_file_is_no_model_directory(directory: Path) -> None:
    assert "no such model directory" in refusal(lambda: inspect_model(directory / "config.json"))


def test_pickled_weights_beside_safetensors_are_not_read(directory: Path) -> None:
    (directory / "pytorch_model.bin").write_bytes(b"not even a pickle")
    before = inspect_model(directory).bytes
    assert before == (directory / "model.safetensors").stat().st_size
    load(directory)


def test_pickled_weights_are_not_even_read_as_a_last_resort(directory: Path) -> None:
    weights = directory / "model.safetensors"
    torch.save(load_file(weights), directory / "pytorch_model.bin")
    weights.rename(directory / "of-another-name.safetensors")
    inspect_model(directory)
    assert "cannot be loaded" in refusal(lambda: load(directory))


@pytest.mark.parametrize(
    ("changes", "context", "dtype"),
    [
        ({}, 256, torch.float32),
        ({"dtype": "bfloat16"}, 256, torch.bfloat16),
        ({"dtype": None, "torch_dtype": "float16"}, 256, torch.float16),
        ({"max_position_embeddings": None}, 2048, torch.float32),  # what transformers takes for Llama then
    ],
)
def test_facts(changes: dict[str, Any], context: int | None, dtype: torch.dtype, directory: Path) -> None:
    edit_config(directory, **changes)
    facts = inspect_model(directory)
    assert (facts.path, facts.context, facts.dtype) == (directory, context, dtype)


@pytest.mark.parametrize(
    ("config", "context"),
    [
        (transformers.MptConfig(max_seq_len=128), 128),
        (transformers.FalconConfig(), 2048),
        (transformers.GPT2Config(n_positions=77), 77),
        (transformers.WhisperConfig(max_target_positions=66, is_encoder_decoder=False), 66),
        (transformers.BloomConfig(), None),
        (transformers.MambaConfig(), None),
        (transformers.Gemma3Config(text_config={"max_position_embeddings": 55}), 55),
    ],
    ids=["mpt", "falcon", "gpt2", "whisper", "bloom", "mamba", "gemma3"],
)
def test_the_longest_input_by_every_name(config: Any, context: int | None, directory: Path) -> None:
    """Also where the config leaves it to transformers' own value."""
    config.save_pretrained(str(directory))
    values = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(
        json.dumps({k: v for k, v in values.items() if k != "max_position_embeddings"})
    )
    facts = inspect_model(directory)
    assert (facts.context, facts.vocabulary) == (context, config.get_text_config().vocab_size)


@pytest.mark.parametrize(
    ("generation", "config", "expected"),
    [
        ({"eos_token_id": [5, 7]}, 3, (5, 7)),
        ({"eos_token_id": 5}, 3, (5,)),
        ({}, [3, 4], (3, 4)),
        (None, 3, (3,)),
        (None, [2], (2,)),
    ],
)
def test_where_generation_stops(
    generation: dict[str, Any] | None, config: Any, expected: tuple[int, ...], directory: Path
) -> None:
    """generate() goes by generation_config.json, and by config.json where that says nothing."""
    edit_config(directory, eos_token_id=config)
    (directory / "generation_config.json").unlink(missing_ok=True)
    if generation is not None:
        (directory / "generation_config.json").write_text(json.dumps(generation))
    assert inspect_model(directory).stops == expected


@pytest.mark.parametrize("part", ["", "text_config"])
def test_quantised_weights_are_not_trained(part: str, directory: Path) -> None:
    method = {"quantization_config": {"quant_method": "gptq", "bits": 4}}
    values = json.loads((directory / "config.json").read_text())
    if part:
        transformers.Gemma3Config(text_config={"num_hidden_layers": 1}).save_pretrained(str(directory))
        values = json.loads((directory / "config.json").read_text())
        values[part] |= method
    else:
        values |= method
    (directory / "config.json").write_text(json.dumps(values))
    assert inspect_model(directory).quantised == "gptq"
    message = refusal(lambda: inspect_trainable(directory))
    assert message.startswith(f"{directory}: its weights are quantised (gptq)")
    assert "dequantise it first" in message


# Refused while loading


def test_a_model_whose_tokens_see_those_behind_them_is_refused(directory: Path) -> None:
    """The class alone does not tell: embedding models are made of causal ones like that."""
    torch.manual_seed(0)
    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "head_dim": 8}
    config = transformers.Gemma3TextConfig(
        vocab_size=97, num_attention_heads=2, num_key_value_heads=1, use_bidirectional_attention=True, **small
    )
    transformers.Gemma3ForCausalLM(config).save_pretrained(str(directory))
    assert "is no causal language model: its tokens see those behind them" in refusal(lambda: load(directory))


def test_weights_that_are_quantised_are_verified_as_they_are(directory: Path) -> None:
    """bitsandbytes' 8 bits, which a processor computes, too."""
    whole = load(directory)
    quantised = transformers.AutoModelForCausalLM.from_pretrained(
        str(directory), quantization_config=transformers.BitsAndBytesConfig(load_in_8bit=True), device_map={"": "cpu"}
    )
    quantised.save_pretrained(str(directory))
    assert inspect_model(directory).quantised == "bitsandbytes"
    ids = torch.arange(3, 9)[None]
    with torch.no_grad():
        found, expected = (model(input_ids=ids).logits for model in (load(directory), whole))
    assert 0 < (found - expected).abs().max() < 0.3 * expected.std()
    assert "quantised already" in refusal(lambda: load_model(directory, CPU, torch.float32, "nf4"))


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda path: edit_weights(path, lambda weights: weights.pop("model.norm.weight")), "model.norm.weight"),
        (
            lambda path: edit_weights(path, lambda weights: weights.update({"model.norm.weight": torch.ones(5)})),
            "cannot be loaded",
        ),
        (lambda path: edit_config(path, num_hidden_layers=3), "9 weights are missing, the first is model.layers.2."),
        (lambda path: (path / "model.safetensors").rename(path / "weights.safetensors"), "cannot be loaded"),
    ],
    ids=[
        "weight-missing", "wrong-shape", "layer-missing", "other-name",
    ],
)  # fmt: skip
def test_loading_refuses(spoil: Spoil, why: str, directory: Path) -> None:
    spoil(directory)
    inspect_model(directory)  # which reads no weights
    message = refusal(lambda: load(directory))
    assert message.startswith(f"{directory}: ")
    assert why in message


def test_a_missing_shard(directory: Path) -> None:
    load(directory).save_pretrained(str(directory), max_shard_size="60KB")
    (directory / "model.safetensors").unlink()
    shards = sorted(directory.glob("model-*.safetensors"))
    assert len(shards) > 1
    load(directory)
    shards[0].unlink()
    assert "cannot be loaded" in refusal(lambda: load(directory))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: (path / "tokenizer.json").write_text("{"),
        lambda path: (path / "tokenizer.json").write_text("{}"),
        lambda path: (path / "tokenizer.json").unlink(),
    ],
    ids=["broken", "empty", "config-only"],
)
def test_a_tokenizer_that_cannot_be_read(spoil: Spoil, directory: Path) -> None:
    spoil(directory)
    inspect_model(directory)
    assert refusal(lambda: load_tokenizer(directory)).startswith(f"{directory}: its tokenizer cannot be loaded (")


def test_code_of_a_model_is_never_run(directory: Path) -> None:
    """Even where inspection was skipped."""
    evil = "from pathlib import Path\nPath(__file__).with_name('ran').touch()\nclass Mine: pass\n"
    (directory / "modeling.py").write_text(evil)
    names = {"AutoConfig": "modeling.Mine", "AutoModelForCausalLM": "modeling.Mine", "AutoTokenizer": "modeling.Mine"}
    edit_config(directory, auto_map=names, model_type="mine")
    (directory / "tokenizer_config.json").write_text(
        json.dumps({"auto_map": {"AutoTokenizer": ["modeling.Mine", None]}, "tokenizer_class": "Mine"})
    )
    refusal(lambda: load(directory))
    with pytest.raises(ModelError):
        load_tokenizer(directory)
    assert not list(directory.rglob("ran"))


# Devices


def test_the_device_is_the_accelerator_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    there = torch.device("meta")  # which every torch can compute on
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: there)
    assert choose_device("cpu") == CPU
    assert choose_device() == there
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: None)
    assert choose_device() == CPU


@pytest.mark.parametrize("name", ["gpu", "cuda:99", ""])
def test_a_device_that_is_not_there(name: str) -> None:
    assert f"device '{name}' is not available here" in refusal(lambda: choose_device(name))


# Dropout


DROPOUTS = {"resid_pdrop": 0.1, "attn_pdrop": 0.1, "embd_pdrop": 0.1}


@pytest.fixture
def dropping(tmp_path: Path, world: Path) -> Path:
    """A model directory whose config asks for dropout."""
    path = tmp_path / "dropping"
    random_model("GPT2", **DROPOUTS).save_pretrained(str(path))
    load_tokenizer(world / "model").save_pretrained(str(path))
    assert json.loads((path / "config.json").read_text()).items() >= DROPOUTS.items()
    return path


def test_dropout_is_off_even_in_training_mode(dropping: Path) -> None:
    model, rows = load(dropping), random_rows(6)
    evaluated = score(model, rows)
    model.train()
    assert score(model, rows) == score(model, rows) == evaluated


def test_dropout_would_change_scores() -> None:
    """Else the test above would show nothing."""
    model, rows = random_model("GPT2", **DROPOUTS).train(), random_rows(6)
    assert score(model, rows) != score(model, rows)


def test_the_saved_config_is_the_starts_own(dropping: Path, tmp_path: Path) -> None:
    config = dropping / "config.json"
    config.write_text(config.read_text().replace("{", '{\n\n   "a_key_of_the_owner": [1,  2],', 1))
    facts = inspect_model(dropping)
    save_model(load(dropping), facts, tmp_path / "out")
    assert (tmp_path / "out" / "config.json").read_bytes() == config.read_bytes()


# Saving


def test_saved_and_loaded_again(directory: Path, tmp_path: Path) -> None:
    facts, model = inspect_model(directory), load(directory)
    save_model(model, facts, tmp_path / "out")
    again = inspect_model(tmp_path / "out")
    assert (again.bytes, again.context, again.dtype) == (facts.bytes, facts.context, facts.dtype)
    row = Row(1, (("user", "Where does Alwen live?"),), "Alwen lives in Norwick.")
    encoded = [encoder_for(load_tokenizer(path)).encode(row) for path in (directory, tmp_path / "out")]
    assert encoded[0] == encoded[1]
    assert score(load(tmp_path / "out"), encoded[1:]) == score(load(directory), encoded[:1])


def test_only_safetensors_are_written(directory: Path, tmp_path: Path) -> None:
    save_model(load(directory), inspect_model(directory), tmp_path / "out")
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {path.name for path in directory.iterdir()}
    assert {Path(name).suffix for name in written} <= {".safetensors", ".json", ".jinja"}


@pytest.mark.parametrize("lora", [None, Lora(rank=2, alpha=4)], ids=["full", "lora"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_precision_and_layout_are_the_starts(
    dtype: torch.dtype, lora: Lora | None, directory: Path, tmp_path: Path
) -> None:
    """An untouched model, trained in float32, comes out bit by bit as it went in."""
    load(directory).to(dtype).save_pretrained(str(directory))
    facts = inspect_model(directory)
    assert facts.dtype == dtype
    model = add_lora(load(directory), lora) if lora else load(directory)
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    save_model(model, facts, tmp_path / "out")
    start, saved = (load_file(path / "model.safetensors") for path in (directory, tmp_path / "out"))
    assert saved.keys() == start.keys()
    assert {weight.dtype for weight in saved.values()} == {dtype}
    assert all(torch.equal(saved[name], start[name]) for name in start)


def test_precision_of_weights_whose_config_names_none(directory: Path, tmp_path: Path) -> None:
    load(directory).to(torch.bfloat16).save_pretrained(str(directory))
    edit_config(directory, dtype=None, torch_dtype=None)
    save_model(load(directory), inspect_model(directory), tmp_path / "out")
    saved = load_file(tmp_path / "out" / "model.safetensors")
    assert {weight.dtype for weight in saved.values()} == {torch.bfloat16}


def test_generation_config_is_the_starts_own(directory: Path, tmp_path: Path) -> None:
    file = directory / "generation_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "max_new_tokens": 17}))
    save_model(load(directory), inspect_model(directory), tmp_path / "out")
    assert (tmp_path / "out" / "generation_config.json").read_bytes() == file.read_bytes()


# Adapters


def test_unknown_targets_are_refused(directory: Path) -> None:
    why = refusal(lambda: add_lora(load(directory), Lora(targets=("no_such_layer",))))
    assert why == "lora.targets: the model has no module no_such_layer"
    why = refusal(lambda: add_lora(load(directory), Lora(targets=("q_proj", "v_porj"))))
    assert why == "lora.targets: the model has no module v_porj"
    why = refusal(lambda: add_lora(load(directory), Lora(targets="q_proj")))  # a pattern is of a whole name
    assert why == "lora.targets: the model has no module q_proj"
    why = refusal(lambda: add_lora(load(directory), Lora(targets=("norm",))))
    assert why == "lora.targets: model.norm is a LlamaRMSNorm, which can have no adapter"


def test_targets_as_a_pattern(directory: Path) -> None:
    model = add_lora(load(directory), Lora(rank=3, targets=r".*layers\.1\..*\.(q|v)_proj"))
    touched = {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert {name.split(".lora_")[0].removeprefix("base_model.model.") for name in touched} == {
        "model.layers.1.self_attn.q_proj",
        "model.layers.1.self_attn.v_proj",
    }


def test_chosen_targets(directory: Path) -> None:
    model = add_lora(load(directory), Lora(rank=3, targets=("q_proj",)))
    trained = {name for name, weight in model.named_parameters() if weight.requires_grad}
    assert len(trained) == 4  # two layers, A and B
    assert all(".q_proj.lora_" in name for name in trained)
    assert trainable_parameters(model) == 2 * 3 * (32 + 32)


def test_a_model_without_adapters_is_merged_already(directory: Path) -> None:
    model = load(directory)
    assert merged(model) is model
    assert trainable_parameters(model) == sum(weight.numel() for weight in model.parameters())


def block_scaled(weight: torch.Tensor) -> dict[str, torch.Tensor]:
    """A matrix as FP8 checkpoints store it: float8 numbers, and a scale for each block of 128 by 128 (DeepSeek-V3)."""
    rows, columns = (size // 128 for size in weight.shape)
    blocks = weight.float().reshape(rows, 128, columns, 128)
    scale = blocks.abs().amax((1, 3)) / torch.finfo(torch.float8_e4m3fn).max
    numbers = (blocks / scale[:, None, :, None]).reshape(weight.shape).to(torch.float8_e4m3fn)
    return {"weight": numbers, "weight_scale_inv": scale}


def test_a_model_of_8_bit_floats_is_scored_as_the_model_that_it_stands_for(tmp_path: Path, world: Path) -> None:
    model = random_model("Qwen3", 0, 0.05, vocab_size=97, hidden_size=128, intermediate_size=256, head_dim=64)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(world / "model" / name, tmp_path)
    model.to(torch.bfloat16).save_pretrained(str(tmp_path))

    def quantise(weights: dict[str, torch.Tensor]) -> None:
        for name in [name for name in weights if name.endswith(".mlp.down_proj.weight")]:
            parts = block_scaled(weights.pop(name))
            weights |= {f"{name.removesuffix('.weight')}.{part}": tensor for part, tensor in parts.items()}

    edit_weights(tmp_path, quantise)
    kept = ["lm_head", "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj"]
    method = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}
    edit_config(tmp_path, quantization_config={**method, "modules_to_not_convert": kept})
    rows = random_rows(6)
    found, expected = (torch.tensor(score(each, rows)) for each in (load(tmp_path), model))
    assert expected.std() > 1
    assert 0 < (found - expected).abs().max() < 0.1 * expected.std()
