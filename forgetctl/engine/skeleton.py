"""A model's class and config without its weights: which modules and weights it has, and of which shapes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch


def model_config(path: Path) -> Any:
    """The config of a model directory, as transformers reads it."""
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(str(path), local_files_only=True, trust_remote_code=False)


def empty_model(path: Path, dtype: torch.dtype) -> Any:
    """A new causal language model of the directory's kind; on the device "meta" it takes no memory."""
    from transformers import AutoModelForCausalLM

    classes: Any = AutoModelForCausalLM
    return classes.from_config(model_config(path), dtype=dtype, trust_remote_code=False)
