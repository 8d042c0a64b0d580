"""Low-rank adapters: which modules can have them, how they are put on, merged and kept. The only importer of peft."""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from ..errors import ModelError
from ..recipe import Lora
from .companions import ADAPTER_WEIGHTS
from .low_rank import add_in_place

ALL = "all-linear"
QUANTISED_LAYERS = ("Linear4bit", "Linear8bitLt")


def add_lora(model: Any, lora: Lora) -> Any:
    """Wrap `model` with fresh adapters that leave its output unchanged. Raises ModelError as `check_targets`."""
    from peft import LoraConfig, get_peft_model

    check_targets(model, lora)
    targets = lora.targets if isinstance(lora.targets, str) else list(lora.targets)
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=targets,
        task_type="CAUSAL_LM",
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the orientation of GPT-2's weights, which it then sets right itself
            adapted = get_peft_model(model, config)
    except ValueError as error:
        raise ModelError(f"lora.targets cannot be used on this model: {str(error).splitlines()[0]}") from None
    add_in_place(adapted)
    return adapted


def check_targets(model: Any, lora: Lora, stored: Collection[str] = ()) -> None:
    """Raise ModelError, naming the module, unless every target can have an adapter that merges into its weight.

    stored: weights of a model that was not loaded which have numbers of their own, even where its config ties them.
    """
    if unknown := unknown_targets(lora.targets, (name for name, _ in model.named_modules())):
        raise ModelError(f"lora.targets: the model has no module {', '.join(unknown)}")
    owners: dict[int, list[str]] = {}
    for name, weight in model.named_parameters(remove_duplicate=False):
        owners.setdefault(id(weight), []).append(name)
    for name, module in targeted(model, lora):
        if not _can_have_adapter(module):
            raise ModelError(f"lora.targets: {name} is a {type(module).__name__}, which can have no adapter")
        shared = owners[id(module.weight)]
        if len(shared) > 1 and not set(stored).issuperset(shared):
            other = next(each for each in shared if each != f"{name}.weight").removesuffix(".weight")
            raise ModelError(
                f"lora.targets: {name} shares its weight with {other}, so an adapter on it cannot be merged; "
                "leave it out"
            )


def targeted(model: Any, lora: Lora) -> list[tuple[str, Any]]:
    """The modules that get an adapter, with their names: of all-linear every linear layer but the output's."""
    modules = list(model.named_modules())
    if lora.targets == ALL:
        head = model.get_output_embeddings()
        return [(name, each) for name, each in modules if _is_linear(each) and each is not head]
    return [(name, each) for name, each in modules if _is_named(lora.targets, name)]


def _is_linear(module: nn.Module) -> bool:
    from transformers.pytorch_utils import Conv1D

    return isinstance(module, (nn.Linear, Conv1D))


def _can_have_adapter(module: nn.Module) -> bool:
    """Whether a module computes what its kind does, so that an adapter beside its weight can be added to that."""
    from transformers.pytorch_utils import Conv1D

    kind = type(module)
    if isinstance(module, nn.Embedding):
        return kind.forward is nn.Embedding.forward or hasattr(module, "embed_scale")  # which peft knows of
    linear = isinstance(module, nn.Linear) and kind.forward is nn.Linear.forward
    return linear or kind is Conv1D or kind.__name__ in QUANTISED_LAYERS


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


def without_adapters(model: Any, lora: Lora) -> str | None:
    """What to tell of weights that adapters leave alone because they are in no linear layer, as a mixture's experts."""
    inside = tuple(f"{name}." for name, _ in targeted(model, lora))
    weights = dict(model.named_parameters())
    alone = [name for name, weight in weights.items() if weight.ndim == 3 and not name.startswith(inside)]
    convolutions = {f"{name}.weight" for name, module in model.named_modules() if isinstance(module, nn.Conv1d)}
    alone = [name for name in alone if name not in convolutions]
    if not alone:
        return None
    share = sum(weights[name].numel() for name in alone) / sum(weight.numel() for weight in weights.values())
    return (
        f"The adapters leave {share:.0%} of the weights alone, {alone[0]} the first of them: "
        "they are in no layers that lora.targets can name."
    )


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


def keep_adapter(model: Any, base: str, directory: Path) -> None:
    """Write a model's adapter as peft saves it, its config and its weights. base: what the base model is called."""
    (config,) = model.peft_config.values()
    config.base_model_name_or_path = base
    model.save_pretrained(str(directory), save_embedding_layers=False)
    (directory / "README.md").unlink()  # a form to fill in, with the place where the base model lay
