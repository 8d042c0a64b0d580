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

from ..errors import InputError, ModelError
from ..files import outside
from ..files.strict_json import LooseJSONError, parse_json, read_object
from ..files.writing import WEIGHTS
from .companions import ADAPTER_CONFIG as ADAPTER_CONFIG  # these are part of this module's own interface
from .companions import ADAPTER_WEIGHTS as ADAPTER_WEIGHTS
from .companions import wanted_from_hub
from .configs import load_config, told_foreign

LARGEST_HEADER = 100_000_000
"""Bytes, as for safetensors itself."""
NO_LIMIT = int(1e30)
"""What transformers writes for the length of a tokenizer that has none."""
UNQUANTISED = ("F64", "F32", "F16", "BF16", "I64", "I32", "I16", "BOOL")
"""Types of tensors, by safetensors' names, in which a model stores weights and buffers as they are."""
INDEX = "model.safetensors.index.json"


LONGEST_INPUT = (
    "max_position_embeddings",
    "n_positions",
    "max_seq_len",
    "n_ctx",
    "max_sequence_length",
    "max_target_positions",
    "seq_length",
)
"""What configs of transformers call the longest input."""


@dataclass(frozen=True)
class ModelFacts:
    """What can be said of a model directory without loading its weights.

    context: the longest input in tokens, None if there is no bound. vocabulary: number of embeddings. stops: ids of
    tokens at which the model's generation settings end an answer. quantised: how its weights are quantised, None if
    they are not. notes: what to tell its owner of it.
    """

    path: Path
    bytes: int
    context: int | None
    layers: int | None
    dtype: torch.dtype
    vocabulary: int | None = None
    stops: tuple[int, ...] = ()
    quantised: str | None = None
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
        wanted, unwanted = map(list, wanted_from_hub())
        return Path(snapshot_download(name, allow_patterns=wanted, ignore_patterns=unwanted))
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


def inspect_trainable(path: Path) -> ModelFacts:
    """The same of a model whose weights are to be changed. Raises ModelError also where they are quantised."""
    return trainable(inspect_model(path))


def trainable(facts: ModelFacts) -> ModelFacts:
    """These facts, if the model's weights can be changed. Raises ModelError where they are quantised."""
    if facts.quantised:
        raise ModelError(
            f"{facts.path}: its weights are quantised ({facts.quantised}), too coarse for steps of training; "
            "give the model that it was quantised from, or dequantise it first (transformers: model.dequantize())"
        )
    return facts


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
    quantised = quantisation(path)
    for file in weights:
        with opened(file):  # its header is checked
            pass
        if quantised is None:
            _refuse_strange_types(file)
    named = getattr(torch, str(config.get("dtype") or config.get("torch_dtype")), None)
    dtype = named if isinstance(named, torch.dtype) else _stored_dtype(weights[0])
    text = _text_config(path)
    layers, vocabulary = (_count(path, text, name) for name in ("num_hidden_layers", "vocab_size"))
    return ModelFacts(
        path=path,
        bytes=sum(item.stat().st_size for item in weights),
        context=_count(path, text, *LONGEST_INPUT),
        layers=layers,
        dtype=dtype,
        vocabulary=vocabulary,
        stops=_stop_ids(path, text),
        quantised=quantised,
        notes=tuple(told_foreign(config)),
    )


def _text_config(path: Path) -> Any:
    """What transformers makes of the config, with its own values for what the file leaves out: of the language model
    alone, where there is more. Raises ModelError for what is no causal language model."""
    from transformers import AutoModelForCausalLM
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING

    config = load_config(path)
    kind = str(config.model_type)
    if type(config) not in AutoModelForCausalLM._model_mapping:
        raise ModelError(f"{path}: is no causal language model: transformers has none of the kind {kind}")
    if config.is_encoder_decoder:
        raise ModelError(f"{path}: is no causal language model, but an encoder and a decoder ({kind})")
    if type(config) in MODEL_FOR_MASKED_LM_MAPPING and getattr(config, "is_decoder", None) is False:
        raise ModelError(f"{path}: is no causal language model: every token sees those after it ({kind})")
    return config.get_text_config(decoder=True)


def _count(path: Path, config: Any, *names: str) -> int | None:
    """The first of these that a config has. Raises ModelError if it is no number of anything."""
    name, found = next(((n, v) for n in names if (v := getattr(config, n, None)) is not None), ("", None))
    if found is None:
        return None
    if type(found) is not int or not 0 < found < 2**31:
        raise ModelError(f"{path / 'config.json'}: has no usable {name}")
    return found


def _stop_ids(path: Path, config: Any) -> tuple[int, ...]:
    """Where `generate` would end an answer: at one token, or at any of several."""
    file = path / "generation_config.json"
    named = read_config(file).get("eos_token_id") if file.is_file() else None
    if named is None:
        file, named = path / "config.json", getattr(config, "eos_token_id", None)
    ids = named if isinstance(named, list) else [] if named is None else [named]
    if not all(type(id) is int and 0 <= id < 2**31 for id in ids):
        raise ModelError(f"{file}: has no usable eos_token_id")
    return tuple(ids)


def quantisation(path: Path) -> str | None:
    """The method by which a model's config says that its weights are quantised, None if it says nothing of it. Raises
    ModelError if there is no config."""
    config = read_config(path / "config.json")
    text = config.get("text_config")
    for part in (config, text if isinstance(text, dict) else {}):
        named = part.get("quantization_config", part.get("compression_config"))
        if named is not None:
            return str(named.get("quant_method") or "unnamed") if isinstance(named, dict) else "unnamed"
    return None


def _refuse_strange_types(file: Path) -> None:
    """Raise ModelError for weights of a type that says nothing without its scales."""
    with opened(file) as tensors:
        for name in tensors.keys():  # noqa: SIM118
            if (stored := tensors.get_slice(name).get_dtype()) not in UNQUANTISED:
                raise ModelError(
                    f"{file}: holds quantised weights ({stored}), and the config does not say how to read them"
                )


def weight_files(path: Path) -> list[Path]:
    """The safetensors files that transformers would load; a directory may hold the same weights twice."""
    if (path / "model.safetensors").is_file():
        return [path / "model.safetensors"]
    index = path / INDEX
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


@dataclass(frozen=True)
class Stored:
    """Where a weight lies: from byte `begin` to `end` of a safetensors file. dtype: safetensors' name of its type."""

    file: Path
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def stored_weights(path: Path) -> dict[str, Stored]:
    """All weights of a model by name, from the files' headers.

    Raises ModelError for a damaged file, and for a weight that two files have: one of them would be read by nobody.
    """
    found: dict[str, Stored] = {}
    for file in weight_files(path):
        with opened(file):  # checked as a whole: no gaps, no overlaps, not cut off
            pass
        header, length = read_header(file)
        for name, entry in header.items():
            if name == "__metadata__":
                continue
            if name in found:
                raise ModelError(f"{path}: {found[name].file.name} and {file.name} both hold {name}")
            begin, end = (8 + length + offset for offset in entry["data_offsets"])
            found[name] = Stored(file, entry["dtype"], tuple(entry["shape"]), begin, end)
    return found


def weight_shapes(path: Path) -> dict[str, list[int]]:
    """Names and shapes of all weights, from the files' headers. Raises as `stored_weights`."""
    return {name: list(stored.shape) for name, stored in stored_weights(path).items()}


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
    read_header(file)
    try:
        with safe_open(str(file), framework="pt") as weights:
            yield weights
    except (SafetensorError, OSError):
        raise ModelError(f"{file}: is not a whole safetensors file") from None


def read_header(file: Path) -> tuple[dict[str, Any], int]:
    """A safetensors file's header and its length in bytes. Raises ModelError for one that is no strict JSON.

    safetensors lets more pass: of two weights of one name it takes the last, and another reader the first.
    """
    try:
        with outside.opened(file) as raw:
            (length,) = struct.unpack("<Q", raw.read(8).ljust(8, b"\xff"))
            # It refuses a longer header itself, and one that is no JSON.
            header = raw.read(length) if length <= LARGEST_HEADER else b""
        return (parse_json(header.decode()) if header else {}), length
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
