"""What a model directory or a GGUF file holds, read without loading any weights, and what is refused in one.

Safetensors and GGUF only, no remote code, no silent download.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from ..errors import InputError, ModelError
from ..files.strict_json import read_object
from .companions import ADAPTER_CONFIG as ADAPTER_CONFIG  # these are part of this module's own interface
from .companions import ADAPTER_WEIGHTS as ADAPTER_WEIGHTS
from .companions import wanted_from_hub
from .configs import ignored_choices_notes, load_config
from .gguf import describe, is_gguf, lone_gguf, read_gguf, stop_ids
from .sampling import Sampling
from .weights import dequantised_layout, opened, refuse_strange_types, stored_dtype, weight_files

NO_LIMIT = int(1e30)
"""What transformers writes for the length of a tokenizer that has none."""


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


@dataclass(frozen=True, kw_only=True)
class ModelFacts:
    """What can be said of a model without loading its weights.

    path: its directory, or its GGUF file. bytes: of its weights, of a GGUF file once they are dequantised. context: the
    longest input in tokens, None if there is no bound. vocabulary: number of embeddings. stops: ids of tokens at which
    the model's generation settings end an answer. quantised: how its weights are quantised, None if they are not.
    notes: what its owner should know of it.
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
    """The local place of a model: `name` itself, its one GGUF file, or a hub id's snapshot where downloads are allowed.

    Raises ModelError if there is no such place, or if it holds several GGUF files.
    """
    path = Path(name)
    if path.is_dir():
        return model_place(path)
    if is_gguf(path) and path.exists():
        return path
    if path.exists():
        raise ModelError(f"{name}: is a file, expected a model directory or a .gguf file")
    if not allow_download:
        raise ModelError(f"{name}: no such model directory (a hub id needs --allow-download)")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    try:
        wanted, unwanted = map(list, wanted_from_hub())
        return Path(snapshot_download(name, allow_patterns=wanted, ignore_patterns=unwanted))
    except (HfHubHTTPError, HFValidationError, OSError) as error:
        raise ModelError(f"{name}: could not be downloaded ({type(error).__name__})") from None


def model_place(path: Path) -> Path:
    """A path as everything here takes it: of a directory that holds nothing but one GGUF file, that file. Raises
    ModelError if it holds several."""
    return (lone_gguf(path) or path) if path.is_dir() else path


def inspect_model(path: Path) -> ModelFacts:
    """Check a model before anything is loaded.

    Raises ModelError for a missing config, tokenizer or weights, pickled weights, an unmerged adapter, code that the
    model would have to run, or a GGUF file that is not whole or cannot be dequantised.
    """
    if is_gguf(path):
        return _inspect_gguf(path)
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
    path = model_place(path)
    if is_gguf(path):
        return _inspect_gguf(path)
    config = read_config(path / "config.json")
    weights = weight_files(path)
    if not weights:
        pickled = sorted(item.name for pattern in ("*.bin", "*.pt", "*.pth", "*.ckpt") for item in path.glob(pattern))
        why = f"only pickled weights ({pickled[0]}), which can run code; convert them" if pickled else "no weights"
        raise ModelError(f"{path}: {why}: forgetctl reads safetensors and GGUF only")
    tokenizer = path / "tokenizer_config.json"
    for part in (config, read_config(tokenizer) if tokenizer.is_file() else {}):
        if "auto_map" in part:
            which = "config" if part is config else "tokenizer's config"
            raise ModelError(f"{path}: its {which} asks for remote code (auto_map), which forgetctl never runs")
    if not any((path / name).exists() for name in ("tokenizer.json", "tokenizer.model", "tokenizer_config.json")):
        raise ModelError(f"{path}: has no tokenizer")
    quantised = quantisation_method(path)
    for file in weights:
        with opened(file):  # its header is checked
            pass
        if quantised is None:
            refuse_strange_types(file)
    named = getattr(torch, str(config.get("dtype") or config.get("torch_dtype")), None)
    dtype = named if isinstance(named, torch.dtype) else stored_dtype(weights[0])
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
        notes=tuple(ignored_choices_notes(config)),
    )


def _inspect_gguf(path: Path) -> ModelFacts:
    header = read_gguf(path)
    text = _text_config(path)
    layers, vocabulary = (_count(path, text, name) for name in ("num_hidden_layers", "vocab_size"))
    size = dequantised_layout(path).bytes
    return ModelFacts(
        path=path,
        bytes=size,
        context=_count(path, text, *LONGEST_INPUT),
        layers=layers,
        dtype=header.dtype,
        vocabulary=vocabulary,
        stops=stop_ids(path, header),
        notes=(describe(path, header, size),),
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
    name, count = next(((n, v) for n in names if (v := getattr(config, n, None)) is not None), ("", None))
    if count is None:
        return None
    if type(count) is not int or not 0 < count < 2**31:
        where = path if is_gguf(path) else path / "config.json"
        raise ModelError(f"{where}: has no usable {name}")
    return count


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


def quantisation_method(path: Path) -> str | None:
    """The method by which a model's config says that its weights are quantised, None if it says nothing of it, or if
    they are dequantised in loading. Raises ModelError if there is no config."""
    if is_gguf(path):
        return None
    config = read_config(path / "config.json")
    text = config.get("text_config")
    for part in (config, text if isinstance(text, dict) else {}):
        named = part.get("quantization_config", part.get("compression_config"))
        if named is not None:
            return str(named.get("quant_method") or "unnamed") if isinstance(named, dict) else "unnamed"
    return None


def read_config(file: Path) -> dict[str, Any]:
    """A config of a model or an adapter. Raises ModelError if it is missing or no JSON object."""
    if not file.is_file():
        raise ModelError(f"{file.parent}: is not a model directory: it has no {file.name}")
    try:
        return read_object(file, NO_LIMIT)
    except InputError as error:
        raise ModelError(str(error)) from None


def own_sampling(path: Path) -> Sampling | None:
    """What the generation settings of a model say, None where they say nothing, or that the likeliest token is taken.

    What they leave out cuts nothing off. Raises ModelError for settings that nobody can draw with.
    """
    file = path / "generation_config.json"
    config = read_config(file) if file.is_file() else {}
    said = {key: config[key] for key in Sampling.model_fields if config.get(key) is not None}
    if config.get("do_sample") is False or not said or said.get("temperature") == 0:
        return None
    try:
        return Sampling.model_validate({key: value for key, value in said.items() if not _cuts_nothing(key, value)})
    except ValidationError:
        raise ModelError(f"{file}: has no usable temperature, top_k or top_p") from None


def _cuts_nothing(key: str, value: Any) -> bool:
    """0 and -1 stand for no top-k."""
    return key == "top_k" and value in (0, -1)
