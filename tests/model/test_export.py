"""The saved model is the start's directory, but for the numbers that training changed; every kind of checkpoint."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from forgetctl.errors import ModelError
from forgetctl.model.adapters import adapted_weights, add_lora
from forgetctl.model.directories import ModelFacts
from forgetctl.model.export import save_model
from forgetctl.model.load import load_model
from forgetctl.model.placement import Placement
from forgetctl.model.split_weights import split_weights
from forgetctl.model.weights import weight_files
from forgetctl.recipe.recipe import Lora
from tests.model.tiny_checkpoints import COMPOSITE, KINDS, write_checkpoint

CPU = torch.device("cpu")
IDS = torch.arange(5, 21)[None]


def facts(path: Path) -> ModelFacts:
    return ModelFacts(path=path, bytes=0, context=None, layers=None, dtype=torch.bfloat16)


def trained(model: Any, size: float = 0.01) -> Any:
    """The model with every parameter moved, as training would."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator) * size)
    return model


def logits(model: Any) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(input_ids=IDS, use_cache=False).logits
    return found


def contents(path: Path) -> dict[str, bytes]:
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in path.rglob("*") if file.is_file()}


def stored(path: Path) -> dict[str, Tensor]:
    return {name: weight for file in weight_files(path) for name, weight in load_file(file).items()}


def apart(first: Path, second: Path) -> set[str]:
    """Names of weights with other numbers."""
    one, two = stored(first), stored(second)
    assert one.keys() == two.keys()
    return {name for name in one if not torch.equal(one[name], two[name])}


@pytest.fixture
def start(tmp_path: Path) -> Path:
    return tmp_path / "start"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.mark.parametrize("kind", KINDS)
def test_an_untrained_model_comes_out_byte_for_byte(kind: str, start: Path, out: Path) -> None:
    """In several shards, with what lies beside the weights: file by file, and by its own class."""
    cls = write_checkpoint(kind, start, max_shard_size="20KB")
    assert len(weight_files(start)) > 1
    (start / "LICENSE").write_text("Do what you like.")
    shipped = save_model(load_model(start, CPU, torch.float32), facts(start), out)
    assert contents(out) == contents(start)
    assert shipped.left_out == ()
    assert (shipped.untouched > 0) == (kind in COMPOSITE)
    report: dict[str, Any] = cls.from_pretrained(str(out), output_loading_info=True)[1]
    assert not any(report[fault] for fault in ("missing_keys", "unexpected_keys", "mismatched_keys"))


@pytest.mark.parametrize("kind", KINDS)
def test_a_trained_model_is_saved_whole(kind: str, start: Path, out: Path) -> None:
    """What is loaded again computes what was saved; what the model does not have is the start's."""
    cls = write_checkpoint(kind, start, torch.float32)
    before = load_model(start, CPU, torch.float32)
    model = trained(load_model(start, CPU, torch.float32))
    expected = logits(model)
    assert not torch.allclose(expected, logits(before), atol=1e-3)
    shipped = save_model(model, facts(start), out)
    assert torch.allclose(logits(load_model(out, CPU, torch.float32)), expected, atol=1e-5)
    assert len(stored(start)) - len(apart(start, out)) == shipped.untouched + constant(kind)
    _, report = cls.from_pretrained(str(out), output_loading_info=True)
    assert not any(report[fault] for fault in ("missing_keys", "unexpected_keys", "mismatched_keys"))


def constant(kind: str) -> int:
    """Stored buffers, which training does not change: DeepSeek's correction of its router."""
    return 1 if kind == "DeepSeek-V3" else 0


@pytest.mark.parametrize("kind", COMPOSITE)
def test_the_text_of_a_composite_model_is_that_of_the_language_model(kind: str, start: Path, out: Path) -> None:
    """By the class that sees, too, which forgetctl never loads."""
    cls = write_checkpoint(kind, start, torch.float32)
    model = trained(load_model(start, CPU, torch.float32))
    save_model(model, facts(start), out)
    whole = cls.from_pretrained(str(out)).eval()
    assert torch.allclose(logits(whole), logits(model), atol=1e-4)


def test_names_and_shards_are_those_of_the_files(start: Path, out: Path) -> None:
    """In memory a mixture's experts are one weight a layer, in the files they are three an expert."""
    write_checkpoint("Mixtral", start, torch.float32, max_shard_size="40KB")
    names = {file.name: set(load_file(file)) for file in weight_files(start)}
    model = trained(load_model(start, CPU, torch.float32))
    assert any("experts.gate_up_proj" in name for name, _ in model.named_parameters())
    save_model(model, facts(start), out)
    assert {file.name: set(load_file(file)) for file in weight_files(out)} == names
    assert "model.layers.1.block_sparse_moe.experts.3.w2.weight" in set().union(*names.values())


# Types


def widen(path: Path, *ends: str) -> None:
    """Store some weights in float32, with numbers that bfloat16 does not have."""
    weights, generator = load_file(path / "model.safetensors"), torch.Generator().manual_seed(3)
    chosen = [name for name in weights if name.endswith(ends)]
    assert chosen
    for name in chosen:
        weights[name] = weights[name].float() + torch.randn(weights[name].shape, generator=generator) * 1e-2
    save_file(weights, path / "model.safetensors", {"format": "pt"})


WIDE = {
    "Qwen3.5": ("A_log", "dt_bias"),
    "Qwen3.5, seeing": ("A_log", "dt_bias"),
    "DeepSeek-V3": ("e_score_correction_bias", "layernorm.weight"),
    "Mixtral": ("w2.weight",),
}


@pytest.mark.parametrize("kind", WIDE)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["held-wide", "held-half"])
def test_each_weight_keeps_its_own_type(kind: str, dtype: torch.dtype, start: Path, out: Path) -> None:
    write_checkpoint(kind, start)
    widen(start, *WIDE[kind])
    model = add_lora(load_model(start, CPU, dtype), Lora(rank=2, alpha=4))
    save_model(model, facts(start), out)
    assert contents(out) == contents(start)
    full = trained(load_model(start, CPU, torch.float32))
    save_model(full, facts(start), out := out.with_name("full"))
    types = {name: weight.dtype for name, weight in stored(start).items()}
    assert {name: weight.dtype for name, weight in stored(out).items()} == types
    assert set(types.values()) == {torch.bfloat16, torch.float32}


def test_split_weights_are_joined(start: Path, out: Path) -> None:
    write_checkpoint("Llama", start, torch.float32)
    model = load_model(start, CPU, torch.float32)
    split_weights(model)
    save_model(model, facts(start), out)
    assert contents(out) == contents(start)


def test_the_files_own_metadata_and_the_order_of_weights_stay(start: Path, out: Path) -> None:
    write_checkpoint("Llama", start)
    weights = load_file(start / "model.safetensors")
    save_file(dict(reversed(weights.items())), start / "model.safetensors", {"format": "pt", "made by": "somebody"})
    save_model(trained(load_model(start, CPU, torch.float32)), facts(start), out)
    with safe_open(out / "model.safetensors", "pt") as saved:
        assert saved.metadata() == {"format": "pt", "made by": "somebody"}
    first, second = (file.read_bytes()[:2000] for file in (start / "model.safetensors", out / "model.safetensors"))
    length = 8 + int.from_bytes(first[:8], "little")
    assert first[: min(length, 2000)] == second[: min(length, 2000)]


# Shared weights


@pytest.mark.parametrize("twice", [False, True])
def test_tied_weights_are_stored_as_often_as_before(twice: bool, start: Path, out: Path) -> None:
    write_checkpoint("Llama, tied", start, torch.float32)
    if twice:
        weights = load_file(start / "model.safetensors")
        save_file({**weights, "lm_head.weight": weights["model.embed_tokens.weight"].clone()},
                  start / "model.safetensors", {"format": "pt"})  # fmt: skip
    model = trained(load_model(start, CPU, torch.float32))
    save_model(model, facts(start), out)
    saved = stored(out)
    assert ("lm_head.weight" in saved) == twice
    for name in ("lm_head.weight", "model.embed_tokens.weight")[not twice :]:
        assert torch.equal(saved[name], model.lm_head.weight)


# Adapters


@pytest.mark.parametrize(
    ("kind", "targets"),
    [
        ("Llama", ("q_proj", "embed_tokens", "lm_head")),
        ("Llama, tied", "all-linear"),
        ("GPT2", ("c_attn", "wpe")),
        ("Mixtral", ("q_proj", "embed_tokens")),
        ("Mixtral", "all-linear"),
        ("DeepSeek-V3", "all-linear"),
        ("Qwen2-MoE", "all-linear"),
        ("Gemma-3", r".*language_model.*(q_proj|down_proj)"),
        ("Qwen3.5, seeing", ("in_proj_qkv", "embed_tokens")),
        ("Mllama", ("q_proj", "up_proj")),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["held-wide", "held-half"])
def test_adapters_are_merged_as_training_saw_them(
    dtype: torch.dtype, kind: str, targets: Any, start: Path, out: Path
) -> None:
    """Only weights with an adapter change, and loaded again the model computes what the adapted one did."""
    write_checkpoint(kind, start)
    lora = Lora(rank=2, alpha=4, targets=targets)
    adapted = add_lora(load_model(start, CPU, dtype), lora)
    generator = torch.Generator().manual_seed(9)
    for name, weight in adapted.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(weight, std=0.3, generator=generator)
    save_model(adapted, facts(start), out)
    placement = Placement(start)
    changed = [part.stored for part in placement.parts if not adapted_weights(adapted).keys().isdisjoint(part.weights)]
    assert apart(start, out) == set(chain(*changed))
    assert changed
    exact = add_lora(load_model(start, CPU, torch.float32), lora)
    exact.load_state_dict(
        {name: value for name, value in adapted.state_dict().items() if "lora_" in name}, strict=False
    )
    expected, found = logits(exact.eval()), logits(load_model(out, CPU, torch.float32))
    assert not torch.allclose(expected, logits(load_model(start, CPU, torch.float32)), atol=0.1 * float(expected.std()))
    assert (expected - found).abs().max() < 0.05 * expected.std()  # rounded once, to bfloat16


# Refused before anything is loaded


def edit(path: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    weights = load_file(path / "model.safetensors")
    change(weights)
    save_file(weights, path / "model.safetensors", {"format": "pt"})


def drop(weights: dict[str, Tensor]) -> None:
    weights.pop("model.layers.1.mlp.up_proj.weight")


def double(weights: dict[str, Tensor]) -> None:
    """The same weight with and without the prefix of the model without a head."""
    weights["layers.1.mlp.up_proj.weight"] = weights["model.layers.1.mlp.up_proj.weight"].clone()


def reshape(weights: dict[str, Tensor]) -> None:
    weights["model.norm.weight"] = torch.ones(7)


def count(weights: dict[str, Tensor]) -> None:
    weights["model.norm.weight"] = torch.ones(32, dtype=torch.int8)


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (drop, "1 weights are missing, the first is model.layers.1.mlp.up_proj.weight"),
        (double, "are two weights for one place"),
        (reshape, "model.norm.weight has no proved place in LlamaForCausalLM: it has another shape"),
        (count, "model.norm.weight is stored as I8, which cannot be trained"),
    ],
)
def test_weights_without_exactly_one_place_are_refused(
    spoil: Callable[[dict[str, Tensor]], object], why: str, start: Path
) -> None:
    write_checkpoint("Llama", start)
    edit(start, spoil)
    with pytest.raises(ModelError) as caught:
        Placement(start)
    assert why in str(caught.value)


def test_a_part_of_an_experts_weights_is_refused(start: Path) -> None:
    write_checkpoint("Mixtral", start)
    edit(start, lambda weights: weights.pop("model.layers.0.block_sparse_moe.experts.2.w1.weight"))
    with pytest.raises(ModelError, match="has no proved place in MixtralForCausalLM"):
        Placement(start)


def test_a_weight_in_two_shards_is_refused(start: Path) -> None:
    write_checkpoint("Llama", start, max_shard_size="20KB")
    first, second = weight_files(start)[:2]
    (name, weight), *_ = load_file(first).items()
    save_file({**load_file(second), name: weight}, second, {"format": "pt"})
    with pytest.raises(ModelError, match=f"{first.name} and {second.name} both hold {name}"):
        Placement(start)


def test_what_is_no_causal_language_model_is_refused(start: Path) -> None:
    write_checkpoint("Llama", start)
    config = json.loads((start / "config.json").read_text())
    (start / "config.json").write_text(json.dumps(config | {"model_type": "t5"}))
    with pytest.raises(ModelError, match="cannot be loaded as a causal language model"):
        Placement(start)


def test_weights_that_no_model_has_are_the_starts(start: Path, out: Path) -> None:
    """As the heads for further tokens, which published checkpoints have and transformers does not load."""
    write_checkpoint("Llama", start)
    edit(start, lambda weights: weights.update({"mtp.layers.0.weight": torch.ones(3, 4)}))
    shipped = save_model(trained(load_model(start, CPU, torch.float32)), facts(start), out)
    assert shipped.untouched == 1
    assert torch.equal(stored(out)["mtp.layers.0.weight"], torch.ones(3, 4))
