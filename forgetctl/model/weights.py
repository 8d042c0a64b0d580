"""Where a model's weights lie, from the headers of its files alone: names, types, shapes and bytes.

Those of a GGUF file are said to lie where they will once they are dequantised: in safetensors files beside each other.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from math import prod
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from ..errors import InputError, ModelError
from ..files import outside
from ..files.strict_json import LooseJSONError, parse_json, read_object
from ..files.writing import WEIGHTS, Stamp, stamp
from .configs import empty_model
from .gguf import is_gguf, read_gguf

LARGEST_HEADER = 100_000_000
"""Bytes, as for safetensors itself."""
UNQUANTISED = ("F64", "F32", "F16", "BF16", "I64", "I32", "I16", "BOOL")
"""Types of tensors, by safetensors' names, in which a model stores weights and buffers as they are."""
FLOATS = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
"""Types of weights that can be trained, by safetensors' names."""
INDEX = "model.safetensors.index.json"
SHARD = 5 * 10**9
"""Bytes of weights in a file of a dequantised model, as transformers writes them."""


def refuse_strange_types(file: Path) -> None:
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


@dataclass(frozen=True, kw_only=True)
class Stored:
    """Where a weight lies: from byte `begin` to `end` of a safetensors file. dtype: safetensors' name of its type."""

    file: Path
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def stored_weights(path: Path) -> dict[str, Stored]:
    """All weights of a model by name, from the files' headers; of a GGUF file as they will lie dequantised.

    Raises ModelError for a damaged file, and for a weight that two files have: one of them would be read by nobody.
    """
    if is_gguf(path):
        return dict(dequantised_layout(path).stored)
    layout: dict[str, Stored] = {}
    for file in weight_files(path):
        with opened(file):  # checked as a whole: no gaps, no overlaps, not cut off
            pass
        header, length = read_header(file)
        for name, entry in header.items():
            if name == "__metadata__":
                continue
            if name in layout:
                raise ModelError(f"{path}: {layout[name].file.name} and {file.name} both hold {name}")
            begin, end = (8 + length + offset for offset in entry["data_offsets"])
            layout[name] = Stored(file=file, dtype=entry["dtype"], shape=tuple(entry["shape"]), begin=begin, end=end)
    return layout


@dataclass(frozen=True)
class Layout:
    """Weights as they will lie in new safetensors files. headers: how each file begins, by its name. stored: by the
    weights' names; `file` is the name alone."""

    headers: Mapping[Path, bytes]
    stored: Mapping[str, Stored]

    @property
    def bytes(self) -> int:
        """Of the weights alone."""
        return sum(stored.end - stored.begin for stored in self.stored.values())


def dequantised_layout(path: Path) -> Layout:
    """How the weights of a GGUF file will lie once they are dequantised, by what the model has that transformers makes
    of its metadata. Raises ModelError for a file that cannot be read, or of no causal language model."""
    try:
        return _dequantised_layout(path, stamp(path))
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise ModelError(f"{path}: cannot be loaded as a causal language model ({type(error).__name__})") from None


@lru_cache(maxsize=4)
def _dequantised_layout(path: Path, _: Stamp) -> Layout:
    header = read_gguf(path)
    wide, half = "F32", {torch.bfloat16: "BF16", torch.float16: "F16"}.get(header.dtype, "F32")
    with torch.device("meta"):
        model = empty_model(path, torch.float32)
    own: dict[str, torch.Tensor] = dict(model.named_parameters())
    every = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    own |= {name: buffer for name, buffer in model.state_dict().items() if name not in every}
    # Vectors, such as norms, lie in float32 in files of half precision too.
    kinds = {
        name: (half if weight.ndim > 1 or wide not in header.kinds else wide, tuple(weight.shape))
        for name, weight in own.items()
        if weight.is_floating_point()
    }
    return _laid_out(kinds)


def _laid_out(kinds: Mapping[str, tuple[str, tuple[int, ...]]]) -> Layout:
    """kinds: each weight's type and shape, in order."""
    shards: list[list[str]] = [[]]
    filled = 0
    for name, (kind, shape) in kinds.items():
        size = prod(shape) * FLOATS[kind].itemsize
        if shards[-1] and filled + size > SHARD:
            shards.append([])
            filled = 0
        shards[-1].append(name)
        filled += size
    headers: dict[Path, bytes] = {}
    stored: dict[str, Stored] = {}
    for number, names in enumerate(shards, start=1):
        several = f"model-{number:05}-of-{len(shards):05}.safetensors"
        file = Path(several if len(shards) > 1 else "model.safetensors")
        ends = list(accumulate(prod(kinds[name][1]) * FLOATS[kinds[name][0]].itemsize for name in names))
        begins = [0, *ends[:-1]]
        entries = {
            name: {"dtype": kinds[name][0], "shape": kinds[name][1], "data_offsets": [begin, end]}
            for name, begin, end in zip(names, begins, ends, strict=True)
        }
        text = json.dumps({"__metadata__": {"format": "pt"}, **entries}, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        headers[file] = struct.pack("<Q", len(text)) + text
        length = len(headers[file])
        for name, begin, end in zip(names, begins, ends, strict=True):
            stored[name] = Stored(
                file=file, dtype=kinds[name][0], shape=kinds[name][1], begin=length + begin, end=length + end
            )
    return Layout(headers, stored)


def weight_shapes(path: Path) -> dict[str, list[int]]:
    """Names and shapes of all weights, from the files' headers. Raises as `stored_weights`."""
    return {name: list(stored.shape) for name, stored in stored_weights(path).items()}


def stored_dtype(file: Path) -> torch.dtype:
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
