"""What of a model is in training while it trains: no more than has to be.

Losses compare with the start model, whose ratio must be exactly one at the start. Dropout is off (`models.load_model`),
but some models compute more than dropout in another way in training: routers that draw experts at random (Phi-MoE),
layers left out (LayerDrop), weights read past an adapter (Gemma 3n), refusals of lengths (Reformer).
"""

from __future__ import annotations

from typing import Any

from torch import nn

from ..model.protocol import Model


def set_training(model: Model) -> None:
    """Set to training the dropout of adapters, which is the recipe's own, and what computes activations again for the
    backward pass, since transformers does so in training only; to evaluation everything else."""
    model.eval()
    for module in model.modules():
        if getattr(module, "gradient_checkpointing", False):
            module.training = True
        dropout: Any = getattr(module, "lora_dropout", None)
        if isinstance(dropout, nn.ModuleDict):
            dropout.train()
