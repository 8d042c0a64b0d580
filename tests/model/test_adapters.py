"""Which modules can have adapters, what is said of the rest, and the adapter as peft itself reads it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from peft import PeftModel
from safetensors.torch import load_file, save_file

from forgetctl.errors import ModelError
from forgetctl.model.adapters import adapted_weights, add_lora, check_lora, keep_adapter
from forgetctl.model.load import load_model
from forgetctl.model.placement import Placement
from forgetctl.recipe.recipe import Lora
from tests.model.tiny_checkpoints import TEXT, write_checkpoint

CPU = torch.device("cpu")
IDS = torch.arange(5, 21)[None]


def lora(targets: Any) -> Lora:
    return Lora(rank=2, alpha=4, targets=targets)


def placed(path: Path) -> tuple[Any, set[str]]:
    placement = Placement(path)
    return placement.model, {name for part in placement.parts for name in part.weights}


def refusal(model: Any, targets: Any) -> str:
    """Of a model without weights, as it is checked before training, and of the same with weights."""
    found = []
    with torch.device("meta"):
        empty = type(model)(model.config)
    for attempt in (lambda: check_lora(empty, lora(targets), ()), lambda: add_lora(model, lora(targets))):
        with pytest.raises(ModelError) as caught:
            attempt()
        found.append(str(caught.value))
    assert found[0] == found[1]
    return found[0]


@pytest.mark.parametrize("targets", [("q_proj", "lm_head"), r".*(q_proj|lm_head)", ("embed_tokens",)])
def test_shared_weights_are_refused(targets: Any, tmp_path: Path) -> None:
    write_checkpoint("Llama, tied", tmp_path / "start")
    why = refusal(load_model(tmp_path / "start", CPU, torch.float32), targets)
    both = sorted(["lm_head", "model.embed_tokens"], reverse="embed" in str(targets))
    assert why == f"lora.targets: {both[0]} shares its weight with {both[1]}, so an adapter on it cannot be merged; leave it out"  # fmt: skip # noqa: E501


def test_weights_that_only_the_config_calls_shared_are_not(tmp_path: Path) -> None:
    """Where the files have both, and they differ, transformers does not tie them."""
    start = tmp_path / "start"
    write_checkpoint("Llama, tied", start)
    weights = load_file(start / "model.safetensors")
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"] + 1
    save_file(weights, start / "model.safetensors", {"format": "pt"})
    model, stored = placed(start)
    check_lora(model, lora(("lm_head",)), stored)
    assert set(adapted_weights(add_lora(load_model(start, CPU, torch.float32), lora(("lm_head",))))) == {
        "lm_head.weight"
    }


SMALL = {**TEXT, "do_layer_norm_before": True, "ffn_dim": 48, "word_embed_proj_dim": 32}


@pytest.mark.parametrize(
    ("kind", "settings", "targets", "module"),
    [
        ("Llama", TEXT, ("norm",), "model.norm is a LlamaRMSNorm, which can have no adapter"),
        ("Llama", TEXT, r".*mlp.*", "model.layers.0.mlp is a LlamaMLP, which can have no adapter"),
        ("Mixtral", TEXT, ("gate",), "model.layers.0.mlp.gate is a MixtralTopKRouter, which can have no adapter"),
        # Its forward moves the positions, which an adapter beside it does not.
        ("OPT", SMALL, ("embed_positions",), "model.decoder.embed_positions is a OPTLearnedPositionalEmbedding, which"),
        ("Mamba", {"vocab_size": 61, "hidden_size": 32, "num_hidden_layers": 2}, ("conv1d",), "layers.0.mixer.conv1d"),
        ("Mamba", {"vocab_size": 61, "hidden_size": 32, "num_hidden_layers": 2}, ("out_proj",), "Module 'out_proj'"),
    ],
)
def test_what_can_have_no_adapter_is_named(kind: str, settings: dict[str, Any], targets: Any, module: str) -> None:
    config = getattr(transformers, f"{kind}Config")(**settings)
    assert module in refusal(transformers.AutoModelForCausalLM.from_config(config), targets)


@pytest.mark.parametrize(
    ("kind", "alone"),
    [("Llama", None), ("GPT2", None), ("Qwen2-MoE", "model.layers.0.mlp.experts.gate_up_proj"), ("DeepSeek-V3", "mlp")],
)
def test_what_all_linear_leaves_alone_is_said(kind: str, alone: str | None, tmp_path: Path) -> None:
    """Against a count of the weights that have no adapter."""
    write_checkpoint(kind, tmp_path / "start")
    said = check_lora(*placed(tmp_path / "start")[:1], lora("all-linear"), ())
    if alone is None:
        assert said is None
        return
    assert said is not None
    assert alone in said
    model = load_model(tmp_path / "start", CPU, torch.float32)
    sizes = {name: weight.numel() for name, weight in model.named_parameters()}
    matrices = {name for name, weight in model.named_parameters() if weight.ndim > 1 and "emb" not in name}
    changed = set(adapted_weights(add_lora(model, lora("all-linear"))))
    left = sum(sizes[name] for name in matrices - changed - {"lm_head.weight"})
    assert f"leaves {left / sum(sizes.values()):.0%} of the weights" in said


@pytest.mark.parametrize(
    ("kind", "targets"),
    [("Llama", ("q_proj", "embed_tokens")), ("GPT2", "all-linear"), ("Mixtral", "all-linear")],
)
def test_a_kept_adapter_is_one_that_peft_reads(kind: str, targets: Any, tmp_path: Path) -> None:
    start, out = tmp_path / "start", tmp_path / "adapter"
    write_checkpoint(kind, start, torch.float32)
    adapted = add_lora(load_model(start, CPU, torch.float32), lora(targets))
    for name, weight in adapted.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(weight, std=0.3)
    with torch.no_grad():
        expected = adapted.eval()(input_ids=IDS, use_cache=False).logits
        keep_adapter(adapted, "owner/name", out)
        plain = transformers.AutoModelForCausalLM.from_pretrained(str(start), dtype=torch.float32)
        found = PeftModel.from_pretrained(plain, str(out)).eval()(input_ids=IDS, use_cache=False).logits
    assert torch.allclose(found, expected, atol=1e-4)
    assert {file.name for file in out.iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}
    assert json.loads((out / "adapter_config.json").read_text())["base_model_name_or_path"] == "owner/name"
    assert str(tmp_path) not in (out / "adapter_config.json").read_text()
    assert all("lora_" in name for name in load_file(out / "adapter_model.safetensors"))  # nothing of the base
