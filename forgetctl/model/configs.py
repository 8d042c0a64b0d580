"""A model's config as transformers takes it, without what it asks for of others: a config makes no code be fetched
from a hub, and none of another package be imported. And the model's class without its weights.

A config may name what computes attention or a mixture of experts: a kernel of an optional package such as flash-attn,
or of a repository on a hub (`owner/repo@rev`). torch's own is taken instead, which gives the same but for rounding.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch

from ..errors import ModelError
from .gguf import gguf_config, is_gguf
from .protocol import Model

if TYPE_CHECKING:
    from transformers import PreTrainedConfig


OWN = {
    "attn_implementation": ("eager",),
    "experts_implementation": ("eager", "batched_mm", "grouped_mm"),
}
"""What a config may choose of what torch and transformers have themselves. Without a choice transformers takes sdpa
where the architecture has it."""
DEFAULTS = {"attn_implementation": ("sdpa", "attention by sdpa"), "experts_implementation": ("", "experts by torch")}
"""What is taken instead as a config would name it, and in words."""

OUTPUTS = ("output_router_logits", "output_attentions", "output_hidden_states", "torchscript", "return_dict")
"""What a model returns beside logits, as training tools leave it in configs. The first is of mixtures of experts: a
loss of its own, from a mask of positions that is none here."""

LONGEST = 80
"""Characters of a name that are shown."""


def ignored_choices_notes(config: Mapping[str, Any]) -> Iterator[str]:
    """A line for everything that a config, or a part of one, names and that is not used."""
    for key in OWN:
        name, words = DEFAULTS[key]
        if foreign := sorted({str(value)[:LONGEST] for value in _named(config, key) if value != name}):
            yield f"config.json asks for {key} {', '.join(foreign)}, which is not used: {words} gives the same."


def load_config(path: Path) -> PreTrainedConfig:
    """The config of a model directory or a GGUF file for transformers. Raises ModelError if it cannot be used."""
    from huggingface_hub.errors import StrictDataclassError

    try:
        config: PreTrainedConfig = _read(path)
    except (StrictDataclassError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        where = "metadata" if is_gguf(path) else "config.json"
        why = f"transformers refuses its {where} ({type(error).__name__})"
        raise ModelError(f"{path}: cannot be loaded, {why}") from None
    return config


def _read(path: Path) -> Any:
    from transformers import CONFIG_MAPPING, AutoConfig, PreTrainedConfig

    if is_gguf(path):
        given = gguf_config(path)
    else:
        given, _ = PreTrainedConfig.get_config_dict(str(path), local_files_only=True)
        if _without(given) == given:
            return AutoConfig.from_pretrained(str(path), local_files_only=True, trust_remote_code=False)
    return CONFIG_MAPPING[given["model_type"]].from_dict(_without(given))


def empty_model(path: Path, dtype: torch.dtype) -> Model:
    """A new causal language model of the directory's kind; on the device "meta" it takes no memory."""
    from transformers import AutoModelForCausalLM

    classes: Any = AutoModelForCausalLM
    return cast(Model, classes.from_config(load_config(path), dtype=dtype, trust_remote_code=False))


def _named(config: Mapping[str, Any], key: str) -> Iterator[Any]:
    """Values of a key, its private spellings among them, in the config and all its parts, but for `OWN`."""
    for name, value in config.items():
        if _spelled(name) == key:
            yield from (one for one in _each(value) if one is not None and one not in OWN[key])
        elif isinstance(value, Mapping):
            yield from _named(value, key)


def _each(value: Any) -> Iterator[Any]:
    """One choice for the whole, or one for each part, in any depth."""
    if isinstance(value, Mapping):
        for one in value.values():
            yield from _each(one)
    else:
        yield value


def _without(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config without `OUTPUTS`, and without choices that are not of `OWN`."""
    kept = {}
    for name, value in config.items():
        key = _spelled(name)
        if name in OUTPUTS:
            continue
        if key not in OWN:
            kept[name] = _without(value) if isinstance(value, Mapping) else value
        elif all(one is None or one in OWN[key] for one in _each(value)):
            kept[name] = value
    return kept


def _spelled(name: str) -> str:
    return name.removeprefix("_").removesuffix("_internal")
