"""Load, adapt, merge and save models: the only importer of peft.

Safetensors only, no remote code, no silent download.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from ..errors import MemoryExceeded, ModelError
from ..outside import read_bytes
from ..recipe import Lora, Recipe
from .directories import ADAPTER_WEIGHTS
from .directories import ModelFacts as ModelFacts  # these are part of this module's own interface
from .directories import inspect_model as inspect_model
from .directories import resolve_model as resolve_model
from .directories import weight_files as weight_files
from .directories import weight_shapes as weight_shapes
from .hardware import keep_freed_memory, repeat_sums, settle_gpu
from .last_gate import leave_out_unread
from .lean import make_lean
from .low_rank import add_in_place
from .memory import REFUSALS, out_of_memory
from .packing import enable_packing
from .quantised import NF4_BLOCK, QUANTISED, make_trainable, narrowest, quantising
from .quantised import PRECISIONS as PRECISIONS  # part of this module's own interface
from .split import join_weights, split_weights

ALL_LINEAR = "all-linear"
FUSED = {"falcon_h1", "falcon_mamba", "mamba", "mamba2", "nemotron_h"}
"""Kinds of models whose kernels read the weight of `out_proj` past any adapter, which peft therefore refuses."""


def choose_device(name: str = "auto") -> torch.device:
    """The device to work on: `name`, or the accelerator if there is one. Raises ModelError for an unusable name."""
    if name == "auto":
        accelerator = torch.accelerator.current_accelerator()
        name = "cpu" if accelerator is None else accelerator.type
    if name.startswith("cuda"):
        settle_gpu()
    try:
        torch.empty(0, device=name)
        return torch.device(name)
    except (RuntimeError, AssertionError):
        raise ModelError(f"device '{name}' is not available here") from None


def load_tokenizer(path: Path) -> Any:
    """The model's own tokenizer. Raises ModelError if it cannot be read."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(str(path), local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{path}: its tokenizer cannot be loaded ({type(error).__name__})") from None


def load_model(path: Path, device: torch.device, dtype: torch.dtype, precision: str | None = None) -> Any:
    """A causal language model with its dropout off, in evaluation mode.

    precision: one of PRECISIONS to round or quantise the weights to, None to keep them; dtype is what is computed in.

    Dropout is off because losses compare with the start model: at the start the ratio must be exactly one.
    Raises ModelError if the directory cannot be loaded, weights are missing from it, or it cannot have the precision;
    MemoryExceeded if there is no room for it.
    """
    if precision not in (None, *PRECISIONS):
        raise ModelError(f"no precision {precision}; there is {', '.join(PRECISIONS)}")
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.utils.logging import disable_progress_bar

    if device.type == "cpu":
        keep_freed_memory()
    disable_progress_bar()  # type: ignore[no-untyped-call]  # a library must not draw on its user's terminal
    try:
        config = AutoConfig.from_pretrained(str(path), local_files_only=True, trust_remote_code=False)
        dropout = {key: 0.0 for key, value in config.to_dict().items() if _is_dropout(key, value)}
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            str(path),
            dtype=torch.bfloat16 if precision == "bf16" else dtype,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
            **quantising(precision, device, dtype),
            **dropout,
        )
        model, report = loaded
        model = model if precision in QUANTISED else model.to(device)
    except (*REFUSALS, ValueError, KeyError, SafetensorError) as error:
        if out_of_memory(error):
            raise MemoryExceeded(f"{path}: the model does not fit into the free memory") from None
        raise ModelError(f"{path}: cannot be loaded as a causal language model ({type(error).__name__})") from None
    if missing := sorted(report["missing_keys"]):
        raise ModelError(f"{path}: {len(missing)} weights are missing, the first is {missing[0]}")
    model.config.use_cache = False
    if precision == "nf4" and (narrow := narrowest(model)) < NF4_BLOCK:
        raise ModelError(f"{path}: has a layer of {narrow} inputs, nf4 needs {NF4_BLOCK}")
    model.eval()
    enable_packing(model)
    make_lean(model)
    leave_out_unread(model)
    return model


def load_for_training(facts: ModelFacts, device: torch.device, recipe: Recipe, compute: torch.dtype) -> Any:
    """The start model with its weights held as the recipe says, ready for `add_lora` where the recipe has adapters.

    compute: what training computes in. Whole weights are float32, or split into bfloat16 and the bits that float32 has
    more (`engine.split`). Frozen weights are float32, or bfloat16 where nothing is lost by it. Under QLoRA they are
    NF4, and everything else is held in `compute`; the start model of the losses is then the quantised one. So the
    start model's scores must be taken from what this returns. What a GPU computes in float32 from then on it computes
    the same every time. Raises as `load_model`.
    """
    if device.type == "cuda" and compute == torch.float32:
        repeat_sums()
    if recipe.lora and recipe.lora.quantisation != "none":
        model = load_model(facts.path, device, compute, recipe.lora.quantisation)
        make_trainable(model)
        return model
    if recipe.lora:
        return load_model(facts.path, device, frozen_dtype(facts, recipe, compute))
    if recipe.weights != "bfloat16":
        return load_model(facts.path, device, torch.float32)
    model = load_model(facts.path, device, facts.dtype if facts.dtype == torch.bfloat16 else torch.float32)
    split_weights(model)
    return model


def frozen_dtype(facts: ModelFacts, recipe: Recipe, compute: torch.dtype) -> torch.dtype:
    """What weights under adapters are held in."""
    lossless = facts.dtype == compute == torch.bfloat16 and recipe.weights == "auto"
    return torch.bfloat16 if lossless or recipe.weights == "bfloat16" else torch.float32


def _is_dropout(key: str, value: object) -> bool:
    return ("dropout" in key or key.endswith("pdrop")) and isinstance(value, float)


def add_lora(model: Any, lora: Lora) -> Any:
    """Wrap `model` with fresh adapters that leave its output unchanged. Raises ModelError for unknown targets."""
    from peft import LoraConfig, get_peft_model

    if unknown := unknown_targets(lora.targets, (name for name, _ in model.named_modules())):
        raise ModelError(f"lora.targets: the model has no module {', '.join(unknown)}")
    targets = lora.targets if isinstance(lora.targets, str) else list(lora.targets)
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=targets,
        exclude_modules=unfit_layers(model) if targets == ALL_LINEAR else None,
        task_type="CAUSAL_LM",
    )
    try:
        adapted = get_peft_model(model, config)
    except ValueError:
        raise ModelError("lora.targets names a module of this model that can have no adapter") from None
    add_in_place(adapted)
    return adapted


def unfit_layers(model: Any) -> list[str]:
    """Names of the linear layers that "all-linear" leaves out beside the output head.

    Those that some models make of `nn.Linear` and that give something else than a product, such as routers; those
    that peft refuses; and those that share their weights (Zamba), into which their adapters could not be merged each
    for itself.
    """
    fused = getattr(model.config, "model_type", None) in FUSED
    weights = Counter(id(weight) for _, weight in model.named_parameters(remove_duplicate=False))
    head = model.get_output_embeddings()
    return [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear)
        and module is not head
        and (not _multiplies(type(module)) or weights[id(module.weight)] > 1 or (fused and name.endswith(".out_proj")))
    ]


@cache
def _multiplies(kind: Any) -> bool:
    """Whether layers of the class give states @ weight.T, told by what they do if the class is a model's own."""
    if not kind.__module__.startswith("transformers.models."):
        return True
    layer, states, weight = kind.__new__(kind), torch.ones(2, 3, 5), torch.arange(20.0).view(4, 5)
    nn.Module.__init__(layer)
    layer.weight, layer.bias = nn.Parameter(weight, requires_grad=False), None
    try:
        found = kind.forward(layer, states)
    except (AttributeError, TypeError, ValueError, RuntimeError):  # it expects more than a layer has
        return False
    return isinstance(found, torch.Tensor) and torch.equal(found, states @ weight.T)


def unknown_targets(targets: str | Sequence[str], modules: Iterable[str]) -> list[str]:
    """Those of `lora.targets` that no module has: the ends of names, or a pattern of a whole name. Raises ModelError
    if that is no regular expression."""
    names = list(modules)
    if isinstance(targets, str):
        try:
            found = targets == ALL_LINEAR or any(re.fullmatch(targets, name) for name in names)
        except re.error:
            raise ModelError("lora.targets is no regular expression") from None
        return [] if found else [targets]
    return [target for target in targets if not any(f".{name}".endswith(f".{target}") for name in names)]


def put_on(model: Any, adapter: Path) -> Any:
    """`model` with the LoRA adapter of a directory, read from safetensors only and by nothing but names and shapes.

    Raises ModelError if it is of another kind or does not belong to this model.
    """
    from peft import LoraConfig, get_peft_model, set_peft_model_state_dict

    try:
        config = LoraConfig.from_pretrained(str(adapter), local_files_only=True)
        config.inference_mode, config.base_model_name_or_path = True, None  # this base is the one it is put on
        adapted = get_peft_model(model, config)
        report: Any = set_peft_model_state_dict(adapted, load_file(adapter / ADAPTER_WEIGHTS))
    except (ValueError, KeyError, TypeError, RuntimeError, SafetensorError, OSError) as error:
        raise ModelError(f"{adapter}: does not fit this base model ({type(error).__name__})") from None
    missing = [name for name in report.missing_keys if "lora_" in name or "modules_to_save" in name]
    if strange := sorted([*missing, *report.unexpected_keys]):
        raise ModelError(f"{adapter}: does not fit this base model: {len(strange)} weights, the first is {strange[0]}")
    return adapted.eval()


def merged(model: Any) -> Any:
    """The model with adapters folded into its weights; a model without adapters as it is."""
    return model.merge_and_unload() if hasattr(model, "merge_and_unload") else model


def finished(model: Any, start: ModelFacts) -> Any:
    """The model as it ships, before it is rounded to the start model's precision.

    Split weights are joined, and adapters folded in. Adapters on weights that were rounded or quantised for training
    are added to the start model's own weights, read from disk again: the adapters' change is then all that differs from
    the start, and no damage of quantisation ships. It also means that under QLoRA the shipped model's scores are near
    those that training saw, on NF4 weights, but not the same; `verify` scores the saved model and no other.
    """
    join_weights(model)
    frozen = [weight for weight in model.parameters() if not weight.requires_grad]
    if all(weight.dtype == torch.float32 for weight in frozen):
        return merged(model)
    return _added_to_start(model, start)


@torch.no_grad()
def _added_to_start(model: Any, start: ModelFacts) -> Any:
    fresh = load_model(start.path, torch.device("cpu"), start.dtype)
    for name, layer in model.get_base_model().named_modules():
        if hasattr(layer, "get_delta_weight"):  # a layer with an adapter
            weight = fresh.get_submodule(name).weight
            (adapter,) = layer.active_adapters
            weight.copy_(weight.float() + layer.get_delta_weight(adapter).float().cpu())  # rounded once, at the end
    return fresh


def trainable_parameters(model: nn.Module) -> int:
    """Number of parameters that training changes."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def save_model(model: Any, tokenizer: Any, start: ModelFacts, directory: Path) -> None:
    """Write model and tokenizer as a Hugging Face directory in safetensors, in the start model's precision.

    The config is the start model's own, so that nothing but the weights differs between the two.
    """
    finished(model, start).to(start.dtype).save_pretrained(str(directory), safe_serialization=True)
    tokenizer.save_pretrained(str(directory))
    for name in ("config.json", "generation_config.json"):
        if (start.path / name).is_file():
            (directory / name).write_bytes(read_bytes(start.path / name))
