"""Low-rank adapters: which modules can have them, how they are put on, merged and kept. The only importer of peft."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeGuard, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from ..errors import ModelError
from ..recipe.recipe import Lora
from .companions import ADAPTER_WEIGHTS
from .fast.lora import add_in_place
from .protocol import AdaptedModel, Model

ALL = "all-linear"
PARAMETER = "parameter_name"
"""Attribute of an adapter that is on a weight and not on a layer: peft has such ones for experts of mixtures."""
FUSED = {"falcon_h1", "falcon_mamba", "mamba", "mamba2", "nemotron_h"}
"""Kinds of models whose kernels read the weight of `out_proj` past any adapter, which peft therefore refuses."""
QUANTISED_LAYERS = ("Linear4bit", "Linear8bitLt")


def add_lora(model: Model, lora: Lora) -> AdaptedModel:
    """Wrap `model` with fresh adapters that leave its output unchanged. Raises ModelError, naming the module, unless
    every target can have an adapter that merges into its weight."""
    adapted = _wrapped(model, lora)
    _refuse_shared(adapted, ())
    add_in_place(adapted)
    return adapted


def check_lora(model: Model, lora: Lora, stored: Collection[str]) -> str | None:
    """The same, tried on a model on the device "meta", which is wrapped by it. Returns what the user should know of it.

    stored: weights that have numbers of their own in the files, even where the model's config ties them.
    """
    with torch.device("meta"):
        adapted = _wrapped(model, lora)
    _refuse_shared(adapted, stored)
    return _left_alone(adapted) if lora.targets == ALL else None


def _wrapped(model: Model, lora: Lora) -> AdaptedModel:
    from peft import LoraConfig

    if unknown := unknown_targets(lora.targets, (name for name, _ in model.named_modules())):
        raise ModelError(f"lora.targets: the model has no module {', '.join(unknown)}")
    if lora.targets != ALL:
        for name, target in model.named_modules():
            if _is_named(lora.targets, name) and not _can_have_adapter(target):
                raise ModelError(f"lora.targets: {name} is a {type(target).__name__}, which can have no adapter")
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=lora.targets if isinstance(lora.targets, str) else list(lora.targets),
        exclude_modules=unfit_layers(model) if lora.targets == ALL else None,
        task_type="CAUSAL_LM",
    )
    try:
        with warnings.catch_warnings():
            # Of the orientation of GPT-2's weights, which peft then sets right itself, and of tied ones, see below.
            warnings.simplefilter("ignore")
            adapted = _with_adapters(model, config)
    except ValueError as error:
        raise ModelError(f"lora.targets cannot be used on this model: {str(error).splitlines()[0]}") from None
    for name, layer in adapted_weights(adapted).items():
        if not hasattr(layer, PARAMETER) and not _can_have_adapter(base := layer.get_base_layer()):
            module = name.rpartition(".")[0]
            raise ModelError(f"lora.targets: {module} is a {type(base).__name__}, which can have no adapter")
    return adapted


def _with_adapters(model: Model, config: object) -> AdaptedModel:
    import peft

    wrap: Callable[[Model, object], AdaptedModel] = cast(Any, peft.get_peft_model)
    return wrap(model, config)


def is_adapted(model: Model) -> TypeGuard[AdaptedModel]:
    """Whether peft wrapped the model."""
    return hasattr(model, "merge_and_unload")


def adapted_weights(model: AdaptedModel) -> dict[str, Any]:
    """The layers of a wrapped model that have an adapter, by the names of the weights that it changes."""
    return {
        f"{_own_name(name)}.{getattr(layer, PARAMETER, 'weight')}".removeprefix("."): layer
        for name, layer in model.get_base_model().named_modules()
        if hasattr(layer, "get_delta_weight")
    }


def own_weights(model: Model) -> dict[str, torch.Tensor]:
    """Weights and buffers of a model, wrapped with adapters or not, by their names in a model without."""
    plain = model.get_base_model() if is_adapted(model) else model
    weights = (*plain.named_parameters(remove_duplicate=False), *plain.named_buffers())
    return {_own_name(name): weight for name, weight in weights}


def _own_name(name: str) -> str:
    """The name of a module or weight in a model without adapters."""
    return ".".join(part for part in name.split(".") if part != "base_layer")


def _refuse_shared(adapted: AdaptedModel, stored: Collection[str]) -> None:
    """Raise ModelError for an adapter on one of two weights that are the same: merged, it would change the other too.

    peft would also train it as if it were on that one alone.
    """
    owners: dict[int, list[str]] = {}
    for name, weight in adapted.get_base_model().named_parameters(remove_duplicate=False):
        owners.setdefault(id(weight), []).append(_own_name(name))
    changed = adapted_weights(adapted)
    for names in owners.values():
        if len(names) > 1 and not changed.keys().isdisjoint(names) and not set(stored).issuperset(names):
            name = next(each for each in names if each in changed)
            other = next(each for each in names if each != name)
            raise ModelError(
                f"lora.targets: {name.removesuffix('.weight')} shares its weight with {other.removesuffix('.weight')}, "
                "so an adapter on it cannot be merged; leave it out"
            )


def _left_alone(adapted: AdaptedModel) -> str | None:
    """The note about matrices without an adapter, such as a mixture's experts, which are in no linear layer."""
    model = adapted.get_base_model()
    outside = [model.get_input_embeddings(), model.get_output_embeddings()]
    outside += [module for module in model.modules() if isinstance(module, (nn.Embedding, nn.Conv1d, nn.Conv2d))]
    ignored = {id(weight) for module in outside if module is not None for weight in module.parameters()}
    changed, total = adapted_weights(adapted), 0
    alone: dict[str, int] = {}
    for name, weight in model.named_parameters():
        if weight.requires_grad:  # the adapters' own
            continue
        total += weight.numel()
        if weight.ndim > 1 and id(weight) not in ignored and _own_name(name) not in changed:
            alone[_own_name(name)] = weight.numel()
    if not alone:
        return None
    return (
        f"lora.targets: {ALL} leaves {sum(alone.values()) / total:.0%} of the weights without adapters, "
        f"{max(alone, key=lambda name: alone[name])} the largest of them: they do not change."
    )


def _can_have_adapter(module: nn.Module) -> bool:
    """Whether a module computes what its kind does, so that an adapter beside its weight can be added to that."""
    from transformers.pytorch_utils import Conv1D

    kind: Any = type(module)
    if isinstance(module, nn.Embedding):
        return kind.forward is nn.Embedding.forward or hasattr(module, "embed_scale")  # which peft knows of
    if kind is Conv1D or kind.__name__ in QUANTISED_LAYERS:
        return True
    return isinstance(module, nn.Linear) and _multiplies(kind)


@cache
def _multiplies(kind: Any) -> bool:
    """Whether linear layers of the class give states @ weight.T, told by what they do."""
    with torch.device("cpu"):
        layer, states, weight = kind.__new__(kind), torch.ones(2, 3, 5), torch.arange(20.0).view(4, 5)
        nn.Module.__init__(layer)
        layer.weight, layer.bias = nn.Parameter(weight, requires_grad=False), None
        try:
            product = kind.forward(layer, states)
        except (AttributeError, TypeError, ValueError, RuntimeError):  # it expects more than a layer has
            return False
    return isinstance(product, torch.Tensor) and torch.equal(product, states @ weight.T)


def unfit_layers(model: Model) -> list[str]:
    """Names of the linear layers that "all-linear" leaves out beside the output head.

    Those that some models make of `nn.Linear` and that give something else than a product, such as routers; those
    that peft refuses; and those that share their weights (Zamba), into which their adapters could not be merged each
    for itself.
    """
    fused = getattr(model.config, "model_type", None) in FUSED
    weights = Counter(id(weight) for _, weight in model.named_parameters(remove_duplicate=False))
    head = model.get_output_embeddings()

    def unfit(name: str, layer: Any) -> bool:
        refused = fused and name.endswith(".out_proj")
        return refused or not _can_have_adapter(layer) or weights[id(layer.weight)] > 1

    layers = ((name, module) for name, module in model.named_modules() if isinstance(module, nn.Linear))
    return [name for name, layer in layers if layer is not head and unfit(name, layer)]


def unknown_targets(targets: str | Sequence[str], modules: Iterable[str]) -> list[str]:
    """Those of `lora.targets` that no module has: the ends of names, or a pattern of a whole name. Raises ModelError
    if that is no regular expression."""
    names = list(modules)
    if isinstance(targets, str):
        return [] if targets == ALL or any(_is_named(targets, name) for name in names) else [targets]
    return [target for target in targets if not any(_is_named([target], name) for name in names)]


def _is_named(targets: str | Sequence[str], module: str) -> bool:
    if isinstance(targets, str):
        try:
            return re.fullmatch(targets, module) is not None
        except re.error:
            raise ModelError("lora.targets is no regular expression") from None
    return any(f".{module}".endswith(f".{target}") for target in targets)


def put_on(model: Model, adapter: Path) -> AdaptedModel:
    """`model` with the LoRA adapter of a directory, read from safetensors only and by nothing but names and shapes.

    Raises ModelError if it is of another kind or does not belong to this model.
    """
    from peft import LoraConfig, set_peft_model_state_dict

    try:
        config = LoraConfig.from_pretrained(str(adapter), local_files_only=True)
        config.inference_mode, config.base_model_name_or_path = True, None  # this base is the one it is put on
        adapted = _with_adapters(model, config)
        report: Any = set_peft_model_state_dict(cast(nn.Module, adapted), load_file(adapter / ADAPTER_WEIGHTS))
    except (ValueError, KeyError, TypeError, RuntimeError, SafetensorError, OSError) as error:
        raise ModelError(f"{adapter}: does not fit this base model ({type(error).__name__})") from None
    missing = [name for name in report.missing_keys if "lora_" in name or "modules_to_save" in name]
    if strange := sorted([*missing, *report.unexpected_keys]):
        raise ModelError(f"{adapter}: does not fit this base model: {len(strange)} weights, the first is {strange[0]}")
    return adapted.eval()


def merged(model: Model) -> Model:
    """The model with adapters folded into its weights; a model without adapters as it is."""
    return model.merge_and_unload() if is_adapted(model) else model


def keep_adapter(model: AdaptedModel, base: str, directory: Path) -> None:
    """Write a model's adapter as peft saves it, its config and its weights. base: what the base model is called."""
    (config,) = model.peft_config.values()
    config.base_model_name_or_path = base
    model.save_pretrained(str(directory), save_embedding_layers=False)
    (directory / "README.md").unlink()  # a form to fill in, with the place where the base model lay
