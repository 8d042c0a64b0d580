"""GGUF files: one file with the weights, the config and the tokenizer of a model, mostly quantised.

Their headers are read here, within bounds, before anything else reads them: what transformers and `gguf` make of a file
may trust that its sizes, counts and offsets are what they say. Weights are then dequantised: blocks of 2 to 8 bits are
too coarse for steps of training, and for comparing two models of which one was trained.
Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import os
import re
import struct
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache
from io import BufferedReader
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, cast

import torch

from ..errors import InputError, ModelError
from ..files.outside import is_gguf as is_gguf  # part of this module's own interface
from ..files.outside import opened
from ..files.writing import Stamp, stamp
from ._panics import tokenizer_loading
from .host import no_progress_bars
from .protocol import Tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedConfig


MAGIC, VERSIONS = b"GGUF", (2, 3)
LARGEST_HEADER = 256 * 2**20
"""Bytes. A vocabulary of 256k tokens with its merges takes 12 MB."""
LONGEST_NAME, LONGEST_TEXT = 2**10, 2**22
"""Bytes of a key or a tensor's name, and of a value such as a chat template."""
MOST_ENTRIES, MOST_ITEMS = 2**16, 2**22
"""Keys, or tensors, of a file, and items of an array such as a vocabulary."""
MOST_DIMENSIONS, LARGEST_TENSOR = 4, 2**40
"""The format's own limit, and numbers in a tensor."""
LARGEST_ALIGNMENT = 2**16
ARCHITECTURE, ALIGNMENT, PARTS = "general.architecture", "general.alignment", "split.count"
TEMPLATE = "tokenizer.chat_template"
STOPS = ("tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id", "tokenizer.ggml.eom_token_id")
"""Keys of the tokens at which llama.cpp ends an answer."""
ROPE_FACTORS = ("rope_freqs.", "rope_factors_long.", "rope_factors_short.")
"""Tensors by which llama.cpp scales RoPE, as Llama 3.1's and Phi-3's."""
_FORMATS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_TEXT, _ARRAY = 8, 9
_PLAIN = {0: "F32", 1: "F16", 30: "BF16"}
"""Types of tensors that are stored as they are, by the format's numbers."""
_PART = re.compile(r"-\d{5}-of-\d{5}\.gguf$", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class GgufTensor:
    """kind: its type by the format's name, such as Q4_1. shape: as torch has it. begin, end: bytes of the file."""

    name: str
    kind: str
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True)
class GgufHeader:
    """What a GGUF file says of itself. values: single numbers and texts by their keys, and of an array its length."""

    values: Mapping[str, Any]
    tensors: tuple[GgufTensor, ...]

    @property
    def architecture(self) -> str:
        """llama.cpp's name of the architecture."""
        return str(self.values[ARCHITECTURE])

    @property
    def kinds(self) -> tuple[str, ...]:
        """Types of the tensors, that of the most numbers first."""
        counts: Counter[str] = Counter()
        for tensor in self.tensors:
            counts[tensor.kind] += prod(tensor.shape)
        return tuple(kind for kind, _ in counts.most_common())

    @property
    def quantised(self) -> bool:
        """Whether any tensor is stored in blocks."""
        return not set(self.kinds) <= set(_PLAIN.values())

    @property
    def dtype(self) -> torch.dtype:
        """The type that holds every weight as it is; of a quantised file float32, in which its blocks are scaled.

        Norms lie in float32 beside weights of half precision, which is then the model's."""
        kinds = set(self.kinds)
        if self.quantised or kinds == {"F32"}:
            return torch.float32
        return torch.bfloat16 if "BF16" in kinds else torch.float16


def lone_gguf(folder: Path) -> Path | None:
    """The GGUF file of a folder that holds a model in no other form, None if it holds none.

    Raises ModelError if there are several.
    """
    if (folder / "config.json").exists() or any(folder.glob("*.safetensors")):
        return None
    files = sorted(path for path in folder.iterdir() if is_gguf(path))
    if len(files) > 1:
        names = ", ".join(path.name for path in files[:3]) + (" ..." if len(files) > 3 else "")
        raise ModelError(f"{folder}: holds {len(files)} GGUF files ({names}); name the one that is meant")
    return files[0] if files else None


def read_gguf(path: Path) -> GgufHeader:
    """The header of a GGUF file, checked as a whole: the file is as long as it says, no weight lies on another, and
    every weight can be dequantised.

    Raises ModelError for anything else.
    """
    try:
        return _read(path, stamp(path))
    except InputError as error:
        raise ModelError(str(error)) from None


@lru_cache(maxsize=8)
def _read(path: Path, _: Stamp) -> GgufHeader:
    if _PART.search(path.name):
        raise ModelError(f"{path}: is one of several parts; join them first (llama.cpp: llama-gguf-split --merge)")
    with opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        return _Reader(path, file, size).header()


class _Reader:
    """Reads one header; `left` counts the bytes that it may still take."""

    def __init__(self, path: Path, file: BufferedReader, size: int) -> None:
        self.path, self.file, self.size = path, file, size
        self.left = min(size, LARGEST_HEADER)

    def header(self) -> GgufHeader:
        if self._bytes(4, "its first bytes") != MAGIC:
            raise self._refused("it does not begin with GGUF")
        (version,) = self._numbers("I", 1)
        if version not in VERSIONS:
            raise self._refused(f"it is of version {version}, and {' and '.join(map(str, VERSIONS))} are read")
        tensors, keys = self._numbers("Q", 2)
        for count, what in ((tensors, "tensors"), (keys, "keys")):
            if count > MOST_ENTRIES:
                raise self._refused(f"it counts {count} {what}")
        values = self._values(keys)
        entries = [self._entry() for _ in range(tensors)]
        header = GgufHeader(values, self._placed(entries, _alignment(self, values)))
        _check_rope(self.path, header)
        return header

    def _values(self, count: int) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for _ in range(count):
            key = self._text(LONGEST_NAME, "a key")
            if key in values:
                raise self._refused("a key is there twice")
            (kind,) = self._numbers("I", 1)
            values[key] = self._value(kind)
        if not isinstance(values.get(ARCHITECTURE), str):
            raise self._refused(f"it has no {ARCHITECTURE}")
        if values.get(PARTS, 0) not in (0, 1):
            raise ModelError(f"{self.path}: is one of several parts; join them first (llama-gguf-split --merge)")
        return values

    def _value(self, kind: int) -> Any:
        if kind in _FORMATS:
            return self._numbers(_FORMATS[kind], 1)[0]
        if kind == _TEXT:
            return self._text(LONGEST_TEXT, "a text")
        if kind != _ARRAY:
            raise self._refused(f"a value is of the unknown type {kind}")
        item, count = self._numbers("I", 1)[0], self._numbers("Q", 1)[0]
        if count > MOST_ITEMS:
            raise self._refused(f"an array has {count} items")
        if item in _FORMATS:
            self._bytes(count * struct.calcsize(f"<{_FORMATS[item]}"), "an array")
        elif item == _TEXT:
            for _ in range(count):
                self._text(LONGEST_TEXT, "a text")
        else:
            raise self._refused(f"an array has items of the type {item}")
        return count

    def _entry(self) -> tuple[str, str, tuple[int, ...], int, int]:
        """A tensor's name, type and shape, its offset in the data, and its length in bytes."""
        name = self._text(LONGEST_NAME, "a tensor's name")
        (dimensions,) = self._numbers("I", 1)
        if not 1 <= dimensions <= MOST_DIMENSIONS:
            raise self._refused(f"a tensor has {dimensions} dimensions")
        shape = tuple(reversed(self._numbers("Q", dimensions)))
        number, offset = self._numbers("I", 1)[0], self._numbers("Q", 1)[0]
        if not all(shape) or prod(shape) > LARGEST_TENSOR:
            raise self._refused("a tensor has no size, or one beyond all bounds")
        kind, numbers, length = _block(self.path, number)
        if shape[-1] % numbers:
            raise self._refused(f"a tensor's rows of {shape[-1]} are no blocks of {numbers}")
        return name, kind, shape, offset, prod(shape) // numbers * length

    def _placed(
        self, entries: list[tuple[str, str, tuple[int, ...], int, int]], alignment: int
    ) -> tuple[GgufTensor, ...]:
        start = -(-self.file.tell() // alignment) * alignment
        names, end = set(), 0
        for name, _, _, offset, length in sorted(entries, key=lambda entry: entry[3]):
            if name in names:
                raise self._refused("a tensor is there twice")
            if offset % alignment or offset < end:
                raise self._refused("a tensor begins within another, or where none can")
            names.add(name)
            end = offset + length
        if not entries:
            raise ModelError(f"{self.path}: holds no weights")
        if start + end > self.size:
            raise self._refused("it is shorter than its tensors")
        return tuple(
            GgufTensor(name=name, kind=kind, shape=shape, begin=start + offset, end=start + offset + length)
            for name, kind, shape, offset, length in entries
        )

    def _text(self, longest: int, what: str) -> str:
        (length,) = self._numbers("Q", 1)
        if length > longest:
            raise self._refused(f"{what} has {length} bytes")
        try:
            return self._bytes(length, what).decode()
        except UnicodeDecodeError:
            raise self._refused(f"{what} is not UTF-8") from None

    def _numbers(self, kind: str, count: int) -> tuple[Any, ...]:
        code = f"<{count}{kind}"
        return struct.unpack(code, self._bytes(struct.calcsize(code), "a number"))

    def _bytes(self, count: int, what: str) -> bytes:
        if count > self.left:
            raise self._refused(f"it ends within {what}, or its header is larger than {LARGEST_HEADER // 2**20} MiB")
        self.left -= count
        data = self.file.read(count)
        if len(data) != count:
            raise self._refused("it was cut while it was read")
        return data

    def _refused(self, why: str) -> ModelError:
        return ModelError(f"{self.path}: is not a whole GGUF file: {why}")


def _check_rope(path: Path, header: GgufHeader) -> None:
    """transformers reads the base of RoPE from a file, and, but for gpt-oss, leaves its scaling out without a word: the
    model would answer otherwise than the one that is served. Raises ModelError for a file that has any."""
    scaling = header.values.get(f"{header.architecture}.rope.scaling.type", "none")
    scaled = scaling != "none" and header.architecture != "gpt-oss"
    if scaled or any(tensor.name.startswith(ROPE_FACTORS) for tensor in header.tensors):
        raise ModelError(
            f"{path}: scales RoPE, which transformers does not read from GGUF files; use the model's directory of "
            "safetensors"
        )


def _alignment(reader: _Reader, values: Mapping[str, Any]) -> int:
    alignment = values.get(ALIGNMENT, 32)
    if type(alignment) is not int or not 0 < alignment <= LARGEST_ALIGNMENT or alignment & (alignment - 1):
        raise reader._refused(f"its {ALIGNMENT} is no power of two")
    return alignment


def _block(path: Path, number: int) -> tuple[str, int, int]:
    """A type's name, and how many numbers a block of it has in how many bytes. Raises ModelError for one that cannot be
    dequantised."""
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
    from gguf.quants import _type_traits

    try:
        kind = GGMLQuantizationType(number)
    except ValueError:
        raise ModelError(f"{path}: holds weights of the unknown type {number}") from None
    if number not in _PLAIN and kind not in _type_traits:
        raise ModelError(
            f"{path}: holds weights of the type {kind.name}, which cannot be dequantised; quantise the model as another"
        )
    return kind.name, *GGML_QUANT_SIZES[kind]


def licence(path: Path) -> str | None:
    """The licence that a file states; None if it states none, or cannot be read any more."""
    try:
        named = read_gguf(path).values.get("general.license")
    except ModelError:
        return None
    return named if isinstance(named, str) else None


def stop_ids(path: Path, header: GgufHeader) -> tuple[int, ...]:
    """Tokens at which an answer ends. Raises ModelError for one that is no token's number."""
    ids = [header.values[key] for key in STOPS if key in header.values]
    if not all(type(id) is int and 0 <= id < 2**31 for id in ids):
        raise ModelError(f"{path}: has no usable eos_token_id")
    return tuple(dict.fromkeys(ids))


def describe(path: Path, header: GgufHeader, size: int) -> str:
    """The note for the model's owner. size: bytes of its weights, dequantised."""
    kinds, how = ", ".join(header.kinds), str(header.dtype).removeprefix("torch.")
    if not header.quantised:
        return f"{path.name} is a GGUF file ({kinds}), read as {how} ({size / 1e6:,.0f} MB)."
    return (
        f"{path.name} is a GGUF file of quantised weights ({kinds}), dequantised to {how} ({size / 1e6:,.0f} MB): "
        "what is trained, scored and written is the dequantised model."
    )


def gguf_config(path: Path) -> dict[str, Any]:
    """The config that transformers makes of a file's metadata. Raises ModelError if it knows no such architecture, and
    as transformers does."""
    header = read_gguf(path)
    try:
        return deepcopy(_config(path, stamp(path)))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, ZeroDivisionError) as error:
        why = f"transformers cannot read GGUF files of the architecture {header.architecture[:80]!r}"
        raise ModelError(f"{path}: {why} ({type(error).__name__})") from None


@lru_cache(maxsize=4)
def _config(path: Path, _: Stamp) -> dict[str, Any]:
    """Known from then on: it takes seconds to parse a vocabulary that no config has."""
    from transformers import PreTrainedConfig

    with _from_transformers() as alone:
        given, _unused = PreTrainedConfig.get_config_dict(alone, gguf_file=str(path.absolute()), local_files_only=True)
    given.pop("_model_name_or_path", None)  # whatever its maker called it, which would be taken for a place
    return dict(given)


def gguf_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer of a file. Raises ModelError if transformers cannot make it, ForgetctlError where it panics."""
    if not isinstance(read_gguf(path).values.get(TEMPLATE, ""), str):
        raise ModelError(f"{path}: its chat template is no text")
    return _tokenizer(path, stamp(path))


@lru_cache(maxsize=4)
def _tokenizer(path: Path, _: Stamp) -> Tokenizer:
    from transformers import AutoTokenizer

    with tokenizer_loading(path), _from_transformers() as alone:
        tokenizer = AutoTokenizer.from_pretrained(
            alone, gguf_file=str(path.absolute()), local_files_only=True, trust_remote_code=False
        )
    return cast(Tokenizer, tokenizer)


def dequantised(path: Path, config: PreTrainedConfig, dtype: torch.dtype) -> tuple[Any, dict[str, torch.Tensor]]:
    """The model's class, and its weights in `dtype` by their names there.

    Raises ModelError where weights are missing from the file, and as transformers does.
    """
    from transformers import AutoModelForCausalLM, GgufConfig

    read_gguf(path)
    with _from_transformers() as alone:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            alone,
            gguf_file=str(path.absolute()),
            config=config,
            dtype=dtype,
            local_files_only=True,
            trust_remote_code=False,
            quantization_config=GgufConfig(dequantize=True),
            output_loading_info=True,
        )
    model, report = loaded
    if missing := sorted(report["missing_keys"]):
        raise ModelError(f"{path}: {len(missing)} weights are missing, the first is {missing[0]}")
    return type(model), dict(model.state_dict())


@contextmanager
def _from_transformers() -> Iterator[str]:
    """An empty directory to load "from", beside the file that is named: whatever lies around that file is no part of
    the model. And no progress bar on the terminal of a library's user."""
    from transformers import modeling_gguf_pytorch_utils

    reading: Any = modeling_gguf_pytorch_utils
    shown = reading.tqdm
    reading.tqdm = lambda items, **_: items
    try:
        with no_progress_bars(), TemporaryDirectory() as alone:
            yield alone
    finally:
        reading.tqdm = shown
