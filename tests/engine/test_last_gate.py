"""The last gate left out where no logits are read: values and gradients as of whole models, and when it is not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from cached_models import cached_model
from oracles import plain_logp, random_model, random_rows
from torch import Tensor, nn

from forgetctl.engine.last_gate import leave_out_unread
from forgetctl.engine.lean import make_lean
from forgetctl.engine.models import add_lora
from forgetctl.engine.packing import enable_packing, packs
from forgetctl.engine.scoring import answer_logp, pad_rows
from forgetctl.recipe import Lora

ROWS = random_rows(6)
GATED = ("Qwen2", "Mistral", "Llama", "Cohere", "Granite")


def prepared(model: Any) -> Any:
    enable_packing(model)
    make_lean(model)
    leave_out_unread(model)
    return model


def heeds(model: nn.Module) -> list[str]:
    """Names of the gates that heed what is read."""
    forwards = ((name, module.__dict__.get("forward")) for name, module in model.named_modules())
    return [name for name, forward in forwards if getattr(forward, "__name__", "") == "_where_read"]


def slopes(model: Any, scores: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    (scores * torch.linspace(-1, 1, len(scores))).sum().backward()
    return {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}


def agree(model: Any, plain: Any) -> None:
    """Scores, and gradients of an uneven sum of them, with every logit of every row."""
    expected, found = plain_logp(plain, ROWS), answer_logp(model, pad_rows(ROWS))
    torch.testing.assert_close(found, expected)
    wanted, given = slopes(plain, expected), slopes(model, found)
    assert set(given) == set(wanted)
    for name, slope in given.items():
        assert (slope - wanted[name]).norm() <= 1e-4 * wanted[name].norm() + 1e-7


@pytest.mark.parametrize("packed", [True, False], ids=["packed", "padded"])
@pytest.mark.parametrize("name", GATED)
def test_scores_and_gradients_are_those_of_the_whole_model(name: str, packed: bool) -> None:
    model = prepared(cached_model(name))
    if not packed:
        model.set_attn_implementation("sdpa")
    assert packs(model) is packed
    assert heeds(model) == ["model.layers.1.mlp"]
    agree(model, cached_model(name))


def test_it_is_computed_at_the_scored_positions_and_no_other() -> None:
    model, seen = prepared(random_model("Llama")), []
    for layer in model.model.layers:
        layer.mlp.down_proj.register_forward_hook(lambda _module, _inputs, output: seen.append(output[..., 0].numel()))
    answer_logp(model, pad_rows(ROWS[:1]))  # the head is looked at once
    seen.clear()
    answer_logp(model, pad_rows(ROWS))
    assert seen == [sum(len(row.ids) - 1 for row in ROWS), sum(row.tokens for row in ROWS)]
    assert seen[1] < seen[0]


def test_whoever_asks_for_all_logits_gets_them() -> None:
    ids = torch.arange(3, 17).reshape(2, 7)
    model = prepared(random_model("Llama"))
    torch.testing.assert_close(model(input_ids=ids).logits, random_model("Llama")(input_ids=ids).logits)


def test_a_gate_before_the_last_attention_is_left_whole() -> None:
    model = random_model("Llama")
    model.model.layers[1].mlp = nn.Identity()
    assert heeds(prepared(model)) == []


def test_a_model_without_gates_is_left_alone() -> None:
    assert heeds(prepared(random_model("GPT2"))) == []


def test_activations_that_are_computed_again_are_whole() -> None:
    model = prepared(random_model("Llama"))
    model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
    model.train()
    agree(model, random_model("Llama"))


def test_adapters_in_the_last_gate_learn_as_in_the_whole_model() -> None:
    plain, model = (add_lora(model, Lora(rank=2)) for model in (random_model("Llama"), prepared(random_model("Llama"))))
    generator = torch.Generator().manual_seed(1)
    for one, other in zip(plain.parameters(), model.parameters(), strict=True):
        if one.requires_grad:
            one.data = other.data.normal_(std=0.1, generator=generator).clone()
    agree(model, plain)
