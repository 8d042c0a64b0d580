"""A model's class without its weights: which modules and weights it has, and of which shapes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from .configs import load_config


def empty_model(path: Path, dtype: torch.dtype) -> Any:
    """A new causal language model of the directory's kind; on the device "meta" it takes no memory."""
    from transformers import AutoModelForCausalLM

    classes: Any = AutoModelForCausalLM
    return classes.from_config(load_config(path), dtype=dtype, trust_remote_code=False)
