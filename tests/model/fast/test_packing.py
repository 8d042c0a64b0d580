"""Packed rows against rows taken one at a time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn

from forgetctl.model.fast.packing import ATTENTION, enable_packing, packed, packs
from forgetctl.model.load import add_lora, load_model
from forgetctl.model.scoring import answer_activations, answer_logp, pad_rows
from forgetctl.recipe.recipe import Lora
from forgetctl.train._step_memory import model_packs
from tests.model.cached_models import CHANGES, cached_model
from tests.model.oracles import HEADS, SMALL, TOKENS, VOCABULARY, plain_logp, random_model, random_rows

PADS = {"Gemma2"}
"""Its attention scores are capped, which sdpa cannot do."""


def packing(architecture: str, **changes: Any) -> Any:
    model = random_model(architecture, **changes) if changes else cached_model(architecture)
    enable_packing(model)
    return model


def gradients(model: Any) -> list[Tensor]:
    return [weight.grad for weight in model.parameters() if weight.grad is not None]


@pytest.mark.parametrize("name", sorted(CHANGES))
def test_scores_and_gradients_are_those_of_rows_alone(name: str) -> None:
    """Some rows of one length, others alone in theirs; longer than the sliding windows."""
    model, alone = packing(name), cached_model(name)
    assert packs(model) is (name not in PADS)
    rows = [*random_rows(9, seed=3, marked=True), *random_rows(9, seed=3)]
    rows.sort(key=lambda row: -len(row.ids))
    found, expected = answer_logp(model, pad_rows(rows)), plain_logp(alone, rows)
    assert expected.std() > 1
    assert torch.allclose(found, expected, atol=1e-4, rtol=0)
    weighing = torch.arange(1.0, len(rows) + 1)
    (found @ weighing).backward()
    (expected @ weighing).backward()
    assert len(gradients(model)) == len(gradients(alone)) > 0
    for one, other in zip(gradients(model), gradients(alone), strict=True):
        assert torch.allclose(one, other, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("window", [1, 5, 6, 24])
def test_a_sliding_window_is_the_models_own(window: int) -> None:
    model, alone = (random_model("Mistral", sliding_window=window) for _ in range(2))
    enable_packing(model)
    assert packs(model)
    rows = random_rows(12, seed=4)
    with torch.no_grad():
        assert torch.allclose(answer_logp(model, pad_rows(rows)), plain_logp(alone, rows), atol=1e-4, rtol=0)


def test_nothing_but_tokens_is_computed() -> None:
    model, seen = packing("Llama"), []
    model.model.layers[0].mlp.register_forward_hook(lambda _module, inputs, _output: seen.append(inputs[0].shape[:2]))
    rows = random_rows(7, seed=5)
    answer_logp(model, pad_rows(rows))
    assert seen[-1] == (1, sum(len(row.ids) - 1 for row in rows))


def test_a_layer_computed_again_for_the_backward_pass_stays_within_rows() -> None:
    rows = random_rows(8, seed=6)
    found = []
    for again in (False, True):
        model = packing("Llama")
        if again:
            model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
        model.train()
        answer_logp(model, pad_rows(rows)).sum().backward()
        found.append(gradients(model))
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_adapters_are_packed_too() -> None:
    rows, found = random_rows(8, seed=7), []
    for wanted in (True, False):
        model = cached_model("Llama")
        if wanted:
            enable_packing(model)
        torch.manual_seed(0)
        model = add_lora(model, Lora(rank=2, alpha=4.0))
        assert packs(model) is wanted
        answer_logp(model, pad_rows(rows)).sum().backward()
        found.append(gradients(model))
    assert all(torch.allclose(one, other, atol=1e-3) for one, other in zip(*found, strict=True))


def test_states_within_are_those_of_rows_alone() -> None:
    model, rows = packing("Llama"), random_rows(6, seed=8)
    with torch.no_grad():
        logits, hidden = answer_activations(model, pad_rows(rows), 1)
        parts = [cached_model("Llama")(torch.tensor([row.ids]), output_hidden_states=True) for row in rows]
    places = [slice(row.start - 1, -1) for row in rows]
    wanted = torch.cat([part.hidden_states[1][0, place] for part, place in zip(parts, places, strict=True)])
    assert torch.allclose(hidden, wanted, atol=1e-4)
    wanted = torch.cat([part.logits[0, place] for part, place in zip(parts, places, strict=True)])
    assert torch.allclose(logits, wanted, atol=1e-3)


class Smears(nn.Module):
    """Lets each token see the one before it, as a convolution or a recurrent state would."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, states: Tensor) -> Tensor:
        before = torch.cat([torch.zeros_like(states[:, :1]), states[:, :-1]], dim=1)
        made: Tensor = self.inner(states + before)
        return made


def test_a_model_that_lets_rows_see_each_other_otherwise_is_padded() -> None:
    model = cached_model("Llama")
    model.model.layers[0].mlp = Smears(model.model.layers[0].mlp)
    enable_packing(model)
    assert not packs(model)
    rows = random_rows(6, seed=9)
    with torch.no_grad():
        assert torch.allclose(answer_logp(model, pad_rows(rows)), plain_logp(model, rows), atol=1e-4, rtol=0)


@pytest.mark.parametrize("kind", ["linear_attention", "chunked_attention"])
def test_kinds_of_layers_that_are_not_known_are_padded(kind: str) -> None:
    model = cached_model("Llama")
    model.config.layer_types = ["full_attention", kind]
    enable_packing(model)
    assert not packs(model)


def test_other_attention_refuses_packed_rows_rather_than_take_them_for_one() -> None:
    with pytest.raises(RuntimeError):
        cached_model("Llama")(
            torch.arange(8)[None] % VOCABULARY, use_cache=False, **packed([5, 3], torch.device("cpu"))
        )


def test_a_loaded_model_packs_and_its_saved_config_does_not_say_so(world: Path, tmp_path: Path) -> None:
    model = load_model(world / "model", torch.device("cpu"), torch.float32)
    assert packs(model)
    model.save_pretrained(tmp_path)
    assert ATTENTION not in json.dumps(json.loads((tmp_path / "config.json").read_text()))


def test_packing_is_foreseen_without_weights(world: Path) -> None:
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert model_packs(world / "model", cpu, torch.float32)
    assert model_packs(world / "model", gpu, torch.bfloat16)
    assert not model_packs(world / "model", gpu, torch.float32)


@pytest.mark.parametrize("window", [6, None])
@torch.no_grad()
def test_a_window_that_the_mask_alone_knows_is_not_packed(window: int | None) -> None:
    """Phi-MoE's layers do not hand their window on to attention."""
    torch.manual_seed(0)
    config = transformers.PhimoeConfig(
        **TOKENS, **SMALL, **HEADS, num_local_experts=2, sliding_window=window, max_position_embeddings=64
    )
    model = transformers.PhimoeForCausalLM(config).eval()
    for weight in model.parameters():
        if weight.ndim > 1:
            nn.init.normal_(weight, std=0.3)
    rows = random_rows(8)
    expected = plain_logp(model, rows)
    enable_packing(model)
    assert packs(model) is (window is None)
    assert torch.allclose(answer_logp(model, pad_rows(rows)), expected, atol=1e-4)
