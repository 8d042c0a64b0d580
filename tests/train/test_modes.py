"""What of a model is in training while it trains, for models that compute another way in training."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM, PhimoeConfig

from forgetctl.model.adapters import add_lora
from forgetctl.recipe.recipe import Lora
from forgetctl.train._modes import set_training
from tests.model.oracles import HEADS, SMALL, TOKENS, plain_logp, random_model, random_rows


def drawing_model() -> Any:
    """Phi-MoE, whose routers draw their experts at random in training."""
    config = PhimoeConfig(**SMALL, **HEADS, **TOKENS, num_local_experts=4, router_jitter_noise=0.5)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config, experts_implementation="eager")
    for weight in model.parameters():
        if weight.ndim > 1:
            nn.init.normal_(weight, std=0.3)
    return model


@torch.no_grad()
def test_a_model_computes_in_training_what_it_computes_in_evaluation() -> None:
    model, rows = drawing_model(), random_rows(4)
    expected = plain_logp(model.eval(), rows)
    assert not torch.allclose(plain_logp(model.train(), rows), expected, atol=1e-2)
    set_training(model)
    assert torch.equal(plain_logp(model, rows), expected)


def test_the_dropout_of_adapters_is_in_training_and_nothing_else() -> None:
    model = add_lora(random_model("GPT2"), Lora(rank=2, alpha=4, dropout=0.5))
    set_training(model)
    training = {name for name, module in model.named_modules() if module.training}
    assert training == {name for name, _ in model.named_modules() if "lora_dropout" in name}
    assert len(training) == 8 * 2  # two layers with four products each: the dropout and what holds it


def test_what_computes_activations_again_does_so() -> None:
    model, rows = random_model("Llama"), random_rows(1)
    model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
    calls: list[int] = []
    model.model.layers[0].mlp.register_forward_pre_hook(lambda *_: calls.append(1))
    set_training(model)
    plain_logp(model, rows).sum().backward()  # type: ignore[no-untyped-call]
    assert len(calls) == 2
