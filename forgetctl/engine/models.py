"""Load, adapt, quantise and save models: the only importer of peft.

Safetensors only, no remote code, no silent download.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from ..errors import ModelError
from ..recipe import Lora


@dataclass(frozen=True)
class ModelFacts:
    """What can be said of a model directory without loading its weights."""

    path: Path
    bytes: int
    context: int | None
    layers: int | None
    dtype: torch.dtype


def resolve_model(name: str, *, allow_download: bool) -> Path:
    """The local directory of a model: `name` itself, or a hub id's snapshot where downloads are allowed.

    Raises ModelError if there is no such directory.
    """
    path = Path(name)
    if path.is_dir():
        return path
    if path.exists():
        raise ModelError(f"{name}: is a file, expected a model directory")
    if not allow_download:
        raise ModelError(f"{name}: no such model directory (a hub id needs --allow-download)")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        return Path(snapshot_download(name, allow_patterns=["*.safetensors", "*.json", "*.model", "*.jinja", "*.txt"]))
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise ModelError(f"{name}: could not be downloaded ({type(error).__name__})") from None


def inspect_model(path: Path) -> ModelFacts:
    """Check a model directory before anything is loaded.

    Raises ModelError for a missing config, tokenizer or weights, pickled weights, an unmerged adapter, or code
    that the model would have to run.
    """
    if not path.is_dir():
        raise ModelError(f"{path}: no such model directory")
    if (path / "adapter_config.json").exists():
        raise ModelError(f"{path}: carries an adapter; merge it first, since the start model would be ambiguous")
    config = _read_config(path)
    weights = weight_files(path)
    if not weights:
        pickled = sorted(item.name for pattern in ("*.bin", "*.pt", "*.pth", "*.ckpt") for item in path.glob(pattern))
        why = f"only pickled weights ({pickled[0]}), which can run code; convert them" if pickled else "no weights"
        raise ModelError(f"{path}: {why}: forgetctl reads safetensors only")
    if "auto_map" in config:
        raise ModelError(f"{path}: its config asks for remote code (auto_map), which forgetctl never runs")
    if not any((path / name).exists() for name in ("tokenizer.json", "tokenizer.model", "tokenizer_config.json")):
        raise ModelError(f"{path}: has no tokenizer")
    text_config = config.get("text_config", config)
    context = next((text_config[key] for key in ("max_position_embeddings", "n_positions") if key in text_config), None)
    named = getattr(torch, str(config.get("dtype") or config.get("torch_dtype")), None)
    dtype = named if isinstance(named, torch.dtype) else _stored_dtype(weights[0])
    layers = next((text_config[key] for key in ("num_hidden_layers", "n_layer") if key in text_config), None)
    return ModelFacts(path, sum(item.stat().st_size for item in weights), context, layers, dtype)


def weight_files(path: Path) -> list[Path]:
    """The safetensors files that transformers would load; a directory may hold the same weights twice."""
    if (path / "model.safetensors").is_file():
        return [path / "model.safetensors"]
    index = path / "model.safetensors.index.json"
    if index.is_file():
        try:
            names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (ValueError, KeyError, TypeError, AttributeError):
            raise ModelError(f"{index}: is damaged") from None
        if missing := sorted(name for name in names if not (path / name).is_file()):
            raise ModelError(f"{path}: {missing[0]} is missing")
        return [path / name for name in sorted(names)]
    return sorted(path.glob("*.safetensors"))


def weight_shapes(path: Path) -> dict[str, list[int]]:
    """Names and shapes of all weights, from the files' headers. Raises ModelError for a damaged file."""
    shapes: dict[str, list[int]] = {}
    for file in weight_files(path):
        with _opened(file) as weights:
            shapes.update({name: weights.get_slice(name).get_shape() for name in weights.keys()})  # noqa: SIM118
    return shapes


def _stored_dtype(file: Path) -> torch.dtype:
    """The type of a file's first weight, for models whose config does not tell."""
    with _opened(file) as weights:
        first: torch.Tensor = weights.get_tensor(next(iter(weights.keys())))
    return first.dtype


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    try:
        with safe_open(str(file), framework="pt") as weights:
            yield weights
    except (SafetensorError, OSError):
        raise ModelError(f"{file}: is not a whole safetensors file") from None


def _read_config(path: Path) -> dict[str, Any]:
    file = path / "config.json"
    if not file.is_file():
        raise ModelError(f"{path}: is not a model directory: it has no config.json")
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        raise ModelError(f"{file}: is not valid JSON") from None
    if not isinstance(config, dict):
        raise ModelError(f"{file}: is not a JSON object")
    return config


def choose_device(name: str = "auto") -> torch.device:
    """The device to work on: `name`, or the accelerator if there is one. Raises ModelError for an unusable name."""
    if name == "auto":
        accelerator = torch.accelerator.current_accelerator()
        return accelerator if accelerator is not None else torch.device("cpu")
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


PRECISIONS = ("bf16", "int8", "nf4")
"""What a model can be deployed in: bfloat16, or 8 and 4 bits a weight (LLM.int8, Dettmers et al. 2022; NF4 with
double quantisation, Dettmers et al. 2023)."""

NF4_BLOCK = 64


def load_model(path: Path, device: torch.device, dtype: torch.dtype, precision: str | None = None) -> Any:
    """A causal language model with its dropout off, in evaluation mode.

    precision: one of PRECISIONS to round or quantise the weights to, None to keep them; dtype is what is computed in.

    Dropout is off because losses compare with the start model: at the start the ratio must be exactly one.
    Raises ModelError if the directory cannot be loaded, weights are missing from it, or it cannot have the precision.
    """
    if precision not in (None, *PRECISIONS):
        raise ModelError(f"no precision {precision}; there is {', '.join(PRECISIONS)}")
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.utils.logging import disable_progress_bar

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
            **_quantised(precision, device, dtype),
            **dropout,
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"{path}: cannot be loaded as a causal language model ({type(error).__name__})") from None
    model, report = loaded
    if missing := sorted(report["missing_keys"]):
        raise ModelError(f"{path}: {len(missing)} weights are missing, the first is {missing[0]}")
    model.config.use_cache = False
    if precision == "nf4" and (narrow := _narrowest(model)) < NF4_BLOCK:
        raise ModelError(f"{path}: has a layer of {narrow} inputs, nf4 needs {NF4_BLOCK}")
    return (model if precision in ("int8", "nf4") else model.to(device)).eval()


def _narrowest(model: nn.Module) -> int:
    """Inputs of the narrowest quantised layer."""
    layers = (layer for layer in model.modules() if type(layer).__name__ == "Linear4bit")
    return min((int(layer.in_features) for layer in layers), default=NF4_BLOCK)  # type: ignore[arg-type]


def _quantised(precision: str | None, device: torch.device, dtype: torch.dtype) -> dict[str, Any]:
    """What transformers must be told to quantise while loading; a quantised model cannot be moved afterwards."""
    if precision not in ("int8", "nf4"):
        return {}
    from transformers import BitsAndBytesConfig

    config: Any = BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_8bit=precision == "int8",
        load_in_4bit=precision == "nf4",
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
    return {"quantization_config": config, "device_map": {"": device}}


def _is_dropout(key: str, value: object) -> bool:
    return ("dropout" in key or key.endswith("pdrop")) and isinstance(value, float)


def add_lora(model: Any, lora: Lora) -> Any:
    """Wrap `model` with fresh adapters that leave its output unchanged. Raises ModelError for unknown targets."""
    from peft import LoraConfig, get_peft_model

    targets = lora.targets if isinstance(lora.targets, str) else list(lora.targets)
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=targets,
        task_type="CAUSAL_LM",
    )
    try:
        return get_peft_model(model, config)
    except ValueError:
        raise ModelError("lora.targets names no module of this model") from None


def merged(model: Any) -> Any:
    """The model with adapters folded into its weights; a model without adapters as it is."""
    return model.merge_and_unload() if hasattr(model, "merge_and_unload") else model


def trainable_parameters(model: nn.Module) -> int:
    """Number of parameters that training changes."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def save_model(model: Any, tokenizer: Any, start: ModelFacts, directory: Path) -> None:
    """Write model and tokenizer as a Hugging Face directory in safetensors, in the start model's precision.

    The config is the start model's own, so that nothing but the weights differs between the two.
    """
    merged(model).to(start.dtype).save_pretrained(str(directory), safe_serialization=True)
    tokenizer.save_pretrained(str(directory))
    for name in ("config.json", "generation_config.json"):
        if (start.path / name).is_file():
            (directory / name).write_bytes((start.path / name).read_bytes())
