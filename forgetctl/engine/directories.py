"""What a model directory holds, read without loading any weights, and what is refused in one.

Safetensors only, no remote code, no silent download.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from .. import outside
from ..errors import InputError, ModelError
from ..files import WEIGHTS
from ..strict_json import LooseJSONError, parse_json, read_object
from .configs import told_foreign

LARGEST_HEADER = 100_000_000
"""Bytes, as for safetensors itself."""
NO_LIMIT = int(1e30)
"""What transformers writes for the length of a tokenizer that has none."""
ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


@dataclass(frozen=True)
class ModelFacts:
    """What can be said of a model directory without loading its weights. notes: what to tell its owner of it."""

    path: Path
    bytes: int
    context: int | None
    layers: int | None
    dtype: torch.dtype
    notes: tuple[str, ...] = ()


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
    if (path / ADAPTER_CONFIG).exists():
        base = path if (path / "config.json").is_file() else "BASE"
        raise ModelError(
            f"{path}: carries an adapter, so it is ambiguous which model is meant; merge it first: "
            f"forgetctl merge --base {base} --adapter {path} --out DIR"
        )
    return inspect_base(path)


def inspect_base(path: Path) -> ModelFacts:
    """The same of the model alone, whatever adapter lies beside it."""
    config = read_config(path / "config.json")
    weights = weight_files(path)
    if not weights:
        pickled = sorted(item.name for pattern in ("*.bin", "*.pt", "*.pth", "*.ckpt") for item in path.glob(pattern))
        why = f"only pickled weights ({pickled[0]}), which can run code; convert them" if pickled else "no weights"
        raise ModelError(f"{path}: {why}: forgetctl reads safetensors only")
    tokenizer = path / "tokenizer_config.json"
    for part in (config, read_config(tokenizer) if tokenizer.is_file() else {}):
        if "auto_map" in part:
            which = "config" if part is config else "tokenizer's config"
            raise ModelError(f"{path}: its {which} asks for remote code (auto_map), which forgetctl never runs")
    if not any((path / name).exists() for name in ("tokenizer.json", "tokenizer.model", "tokenizer_config.json")):
        raise ModelError(f"{path}: has no tokenizer")
    for file in weights:
        with opened(file):  # its header is checked
            pass
    context = _count(path, config, "max_position_embeddings", "n_positions")
    named = getattr(torch, str(config.get("dtype") or config.get("torch_dtype")), None)
    dtype = named if isinstance(named, torch.dtype) else _stored_dtype(weights[0])
    layers = _count(path, config, "num_hidden_layers", "n_layer")
    return ModelFacts(
        path, sum(item.stat().st_size for item in weights), context, layers, dtype, tuple(told_foreign(config))
    )


def _count(path: Path, config: dict[str, Any], *names: str) -> int | None:
    """The first of these keys that a config has. Raises ModelError if it is no number of anything."""
    part = config.get("text_config", config)
    found = next((part[name] for name in names if name in part), None) if isinstance(part, dict) else -1
    if found is None:
        return None
    if type(found) is not int or not 0 < found < 2**31:
        raise ModelError(f"{path / 'config.json'}: has no usable {names[0]}")
    return found


def weight_files(path: Path) -> list[Path]:
    """The safetensors files that transformers would load; a directory may hold the same weights twice."""
    if (path / "model.safetensors").is_file():
        return [path / "model.safetensors"]
    index = path / "model.safetensors.index.json"
    if index.is_file():
        try:
            listed = read_object(index).get("weight_map")
        except InputError as error:
            raise ModelError(str(error)) from None
        names = set(map(str, listed.values())) if isinstance(listed, dict) else set()
        if not names:
            raise ModelError(f"{index}: is damaged")
        if any(name != Path(name).name or not name.endswith(WEIGHTS) for name in names):
            raise ModelError(f"{index}: names something else than safetensors files beside it")
        if missing := sorted(name for name in names if not (path / name).is_file()):
            raise ModelError(f"{path}: {missing[0]} is missing")
        return [path / name for name in sorted(names)]
    return sorted(path.glob("*.safetensors"))


def weight_shapes(path: Path) -> dict[str, list[int]]:
    """Names and shapes of all weights, from the files' headers. Raises ModelError for a damaged file."""
    shapes: dict[str, list[int]] = {}
    for file in weight_files(path):
        with opened(file) as weights:
            shapes.update({name: weights.get_slice(name).get_shape() for name in weights.keys()})  # noqa: SIM118
    return shapes


def _stored_dtype(file: Path) -> torch.dtype:
    """The type of a file's first weight, for models whose config does not tell."""
    with opened(file) as weights:
        first: torch.Tensor | None = next((weights.get_tensor(name) for name in weights.keys()), None)  # noqa: SIM118
    if first is None:
        raise ModelError(f"{file}: holds no weights")
    return first.dtype


@contextmanager
def opened(file: Path) -> Iterator[Any]:
    """A safetensors file. Raises ModelError if it is none, or not a whole one, or has two weights of one name."""
    _refuse_loose_header(file)
    try:
        with safe_open(str(file), framework="pt") as weights:
            yield weights
    except (SafetensorError, OSError):
        raise ModelError(f"{file}: is not a whole safetensors file") from None


def _refuse_loose_header(file: Path) -> None:
    """What safetensors lets pass: of two weights of one name it takes the last, and another reader the first."""
    try:
        with outside.opened(file) as raw:
            (length,) = struct.unpack("<Q", raw.read(8).ljust(8, b"\xff"))
            # It refuses a longer header itself, and one that is no JSON.
            header = raw.read(length) if length <= LARGEST_HEADER else b""
        if header:
            parse_json(header.decode())
    except InputError as error:
        raise ModelError(str(error)) from None
    except (LooseJSONError, UnicodeDecodeError):
        raise ModelError(f"{file}: is not a whole safetensors file: its header is no strict JSON") from None


def read_config(file: Path) -> dict[str, Any]:
    """A config of a model or an adapter. Raises ModelError if it is missing or no JSON object."""
    if not file.is_file():
        raise ModelError(f"{file.parent}: is not a model directory: it has no {file.name}")
    try:
        return read_object(file, NO_LIMIT)
    except InputError as error:
        raise ModelError(str(error)) from None
