"""Configs that ask for code of others: what is left of them computes as plain transformers does, and it is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from forgetctl.demo.training import make_tokenizer, save
from forgetctl.errors import ModelError
from forgetctl.model.configs import ignored_choices_notes, load_config
from forgetctl.model.fast.packing import packs
from forgetctl.model.load import inspect_model, load_model
from forgetctl.train._step_memory import model_packs, model_width
from tests.model.oracles import random_model

CPU = torch.device("cpu")
IDS = torch.arange(3, 17).reshape(2, 7)


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    save(random_model("Llama"), make_tokenizer(["a b"], 300), tmp_path / "model")
    return tmp_path / "model"


def change(model: Path, **keys: Any) -> Path:
    file = model / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | keys))
    return model


FOREIGN: tuple[dict[str, Any], ...] = (
    {"attn_implementation": "flash_attention_2"},
    {"attn_implementation": "flash_attention_3"},
    {"attn_implementation": "flex_attention"},
    {"attn_implementation": "paged|sdpa"},
    {"attn_implementation": "owner/repo@main"},
    {"attn_implementation": "kernels-community/flash-attn3:flash_attention"},
    {"attn_implementation": "nobody_knows_it"},
    {"attn_implementation": 5},
    {"attn_implementation": ["flash_attention_2"]},
    {"attn_implementation": {"": "flash_attention_2", "text_config": "owner/repo"}},
    {"_attn_implementation": "flash_attention_2"},
    {"_attn_implementation_internal": "flash_attention_2"},
    {"attn_implementation": "flash_attention_2", "output_attentions": True},
    {"experts_implementation": "sonicmoe"},
    {"_experts_implementation": "owner/repo@main"},
)


@pytest.mark.parametrize("keys", FOREIGN, ids=lambda keys: json.dumps(keys)[:60])
def test_a_kernel_of_others_is_told_and_torchs_own_computes(plain: Path, keys: dict[str, Any]) -> None:
    expected = load_model(plain, CPU, torch.float32)(input_ids=IDS).logits
    (note,) = inspect_model(change(plain, **keys)).notes
    (name,) = [key for key in keys if key.endswith(("implementation", "internal"))]
    assert name.removeprefix("_").removesuffix("_internal") in note
    assert "which is not used" in note
    model = load_model(plain, CPU, torch.float32)
    torch.testing.assert_close(model(input_ids=IDS).logits, expected)
    assert model_width(plain) == 16
    assert model_packs(plain, CPU, torch.float32) is packs(model) is True


@pytest.mark.parametrize("named", [None, "sdpa", "eager"])
def test_what_transformers_has_itself_is_not_told(plain: Path, named: str | None) -> None:
    assert inspect_model(change(plain, attn_implementation=named)).notes == ()
    assert load_config(plain)._attn_implementation == ("eager" if named == "eager" else None if named else named)


def test_an_architecture_without_sdpa_computes_eagerly(tmp_path: Path) -> None:
    """Also where the config asks for sdpa, which transformers would refuse."""
    from transformers import CodeGenConfig, CodeGenForCausalLM

    config = CodeGenConfig(vocab_size=61, n_positions=64, n_embd=16, n_layer=2, n_head=4, rotary_dim=2)
    save(CodeGenForCausalLM(config), make_tokenizer(["a b"], 300), tmp_path / "model")
    for name in ("sdpa", "flash_attention_2"):
        model = load_model(change(tmp_path / "model", attn_implementation=name), CPU, torch.float32)
        assert model.config._attn_implementation == "eager"


def test_parts_of_a_config_are_looked_through() -> None:
    config = {
        "text_config": {"attn_implementation": "owner/repo", "moe": {"_experts_implementation": "deepgemm"}},
        "vision_config": {"attn_implementation": "flash_attention_2"},
        "attn_implementation": "eager",
    }
    assert [note.split(", which")[0] for note in ignored_choices_notes(config)] == [
        "config.json asks for attn_implementation flash_attention_2, owner/repo",
        "config.json asks for experts_implementation deepgemm",
    ]


def test_nothing_of_them_is_left_in_a_part(plain: Path) -> None:
    part = {"attn_implementation": "owner/repo@main", "experts_implementation": "eager", "width": 3}
    found = load_config(change(plain, sound_config=part))
    assert found.sound_config == {"experts_implementation": "eager", "width": 3}


@pytest.mark.parametrize(
    "keys",
    [{"hidden_size": "wide"}, {"model_type": "no such thing"}, {"model_type": None, "attn_implementation": "x/y"}],
)
def test_a_config_that_transformers_refuses_is_named(plain: Path, keys: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match=r"cannot be loaded, transformers refuses its config\.json \("):
        load_config(change(plain, **keys))
