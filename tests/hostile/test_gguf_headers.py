"""GGUF files whose headers lie: an error of ours that names the file, before anything else reads it."""

from __future__ import annotations

import os
import struct
import tracemalloc
from pathlib import Path

import pytest

from forgetctl.errors import ModelError
from forgetctl.model.directories import inspect_model
from forgetctl.model.gguf import read_gguf
from forgetctl.model.load import load_tokenizer
from tests.model.gguf_files import ARCHITECTURE, header, key, tensor, text

LONG = struct.pack("<Q", 2**62)
LIES = {
    "nothing": b"",
    "cut in the magic": b"GG",
    "of the other byte order": b"GGUF" + struct.pack(">IQQ", 3, 1, 1),
    "version 1": header(tensor(), version=1),
    "version 2**31": header(tensor(), version=2**31),
    "safetensors": struct.pack("<Q", 2) + b"{}",
    "zip": b"PK\x03\x04" + bytes(40),
    "2**63 tensors": header(counts=(2**63, 1)),
    "2**63 keys": header(counts=(0, 2**63)),
    "more tensors than there are": header(tensor(), counts=(2, 1), data=0),
    "more keys than there are": header(counts=(0, 60_000), data=0),
    "key of 2**62 bytes": header(keys=(LONG + b"a",)),
    "text of 2**62 bytes": header(keys=(key("general.architecture", 8, LONG + b"llama"),)),
    "text of 8 MB": header(keys=(ARCHITECTURE, key("a", 8, text("a" * 2**23)))),
    "key that is no UTF-8": header(keys=(struct.pack("<Q", 1) + b"\xff" + struct.pack("<II", 4, 0),)),
    "text that is no UTF-8": header(keys=(key("general.architecture", 8, struct.pack("<Q", 1) + b"\xff"),)),
    "no architecture": header(tensor(), keys=()),
    "architecture that is a number": header(tensor(), keys=(key("general.architecture", 4, bytes(4)),)),
    "key twice": header(tensor(), keys=(ARCHITECTURE, ARCHITECTURE)),
    "value of an unknown type": header(keys=(ARCHITECTURE, key("a", 13, bytes(8)))),
    "array of 2**62 items": header(keys=(ARCHITECTURE, key("a", 9, struct.pack("<I", 0) + LONG))),
    "array of 2**62 texts": header(keys=(ARCHITECTURE, key("a", 9, struct.pack("<I", 8) + LONG))),
    "array of arrays": header(keys=(ARCHITECTURE, key("a", 9, struct.pack("<IQ", 9, 1)))),
    "array of an unknown type": header(keys=(ARCHITECTURE, key("a", 9, struct.pack("<IQ", 77, 1)))),
    "alignment of 0": header(tensor(), keys=(ARCHITECTURE, key("general.alignment", 4, struct.pack("<I", 0)))),
    "alignment of 24": header(tensor(), keys=(ARCHITECTURE, key("general.alignment", 4, struct.pack("<I", 24)))),
    "alignment of 2**31": header(tensor(), keys=(ARCHITECTURE, key("general.alignment", 4, struct.pack("<I", 2**31)))),
    "alignment that is a text": header(tensor(), keys=(ARCHITECTURE, key("general.alignment", 8, text("32")))),
    "no dimensions": header(tensor(shape=())),
    "2**31 dimensions": header(text("a") + struct.pack("<I", 2**31)),
    "five dimensions": header(tensor(shape=(1, 1, 1, 1, 32))),
    "shape with 0": header(tensor(shape=(0, 32))),
    "shape that overflows": header(tensor(shape=(2**63, 2**63))),
    "rows that are no blocks": header(tensor(shape=(1, 33), kind=8)),
    "name twice": header(tensor(), tensor(offset=128), data=256),
    "overlap": header(tensor(), tensor("b", offset=64), data=256),
    "offset off the alignment": header(tensor(offset=4), data=256),
    "offset of 2**63": header(tensor(offset=2**63)),
    "data beyond the file": header(tensor(shape=(64,))),
    "one byte short": header(tensor())[:-1],
}


def stored(folder: Path, data: bytes, name: str = "model.gguf") -> Path:
    place = folder / name
    place.write_bytes(data)
    return place


def refusal(place: Path) -> str:
    with pytest.raises(ModelError) as caught:
        inspect_model(place)
    return str(caught.value)


@pytest.mark.parametrize("name", LIES)
def test_a_lie(name: str, tmp_path: Path) -> None:
    place = stored(tmp_path, LIES[name])
    tracemalloc.start()
    try:
        assert refusal(place).startswith(f"{place}: is not a whole GGUF file: ")
        assert tracemalloc.get_traced_memory()[1] < 64 * 2**20
    finally:
        tracemalloc.stop()


def test_the_truth_is_read(tmp_path: Path) -> None:
    found = read_gguf(stored(tmp_path, header(tensor(), tensor("b", (2, 32), 8, 128), data=256)))
    assert found.architecture == "llama"
    assert [(one.name, one.kind, one.shape, one.end - one.begin) for one in found.tensors] == [
        ("a", "F32", (32,), 128),
        ("b", "Q8_0", (2, 32), 68),
    ]


def test_no_weights(tmp_path: Path) -> None:
    place = stored(tmp_path, header())
    assert refusal(place) == f"{place}: holds no weights"


@pytest.mark.parametrize("kind", [24, 26, 27, 28, 15, 9])
def test_a_type_that_cannot_be_dequantised(kind: int, tmp_path: Path) -> None:
    place = stored(tmp_path, header(tensor(shape=(256,), kind=kind), data=8 * 256))
    assert "which cannot be dequantised" in refusal(place)


@pytest.mark.parametrize("kind", [4, 5, 77, 2**31])
def test_a_type_that_nobody_knows(kind: int, tmp_path: Path) -> None:
    place = stored(tmp_path, header(tensor(kind=kind)))
    assert refusal(place) == f"{place}: holds weights of the unknown type {kind}"


SCALED = key("llama.rope.scaling.type", 8, text("yarn"))


@pytest.mark.parametrize(
    "data",
    [header(tensor("rope_freqs.weight")), header(tensor(), keys=(ARCHITECTURE, SCALED))],
    ids=["factors", "type"],
)
def test_scaled_rope_that_would_be_left_out(data: bytes, tmp_path: Path) -> None:
    place = stored(tmp_path, data)
    assert refusal(place).startswith(f"{place}: scales RoPE, which transformers does not read")


def test_an_architecture_that_transformers_lacks(tmp_path: Path) -> None:
    keys = (key("general.architecture", 8, text("abacus")),)
    place = stored(tmp_path, header(tensor(), keys=keys))
    assert "transformers cannot read GGUF files of the architecture 'abacus'" in refusal(place)


def texts(*values: str) -> bytes:
    return struct.pack("<IQ", 8, len(values)) + b"".join(map(text, values))


LLAMA = (
    ARCHITECTURE,
    *(key(f"llama.{name}", 4, struct.pack("<I", 32)) for name in ("context_length", "embedding_length", "block_count")),
    *(key(f"llama.attention.{name}", 4, struct.pack("<I", 2)) for name in ("head_count", "head_count_kv")),
    key("general.name", 8, text("tiny")),
)
VOCABULARY = (key("tokenizer.ggml.model", 8, text("gpt2")), key("tokenizer.ggml.tokens", 9, texts("a", "b")))
TOKENIZERS = {
    "none": (),
    "of an unknown kind": (key("tokenizer.ggml.model", 8, text("abacus")), VOCABULARY[1]),
    "no merges": VOCABULARY,
    "merges of tokens that are none": (*VOCABULARY, key("tokenizer.ggml.merges", 9, texts("q z"))),
    "merges of one token": (*VOCABULARY, key("tokenizer.ggml.merges", 9, texts("a"))),
    "an end that is no token": (
        *VOCABULARY,
        key("tokenizer.ggml.merges", 9, texts()),
        key("tokenizer.ggml.eos_token_id", 4, struct.pack("<I", 99)),
    ),
    "tokens that are a number": (VOCABULARY[0], key("tokenizer.ggml.tokens", 4, bytes(4))),
}


@pytest.mark.parametrize("name", TOKENIZERS)
def test_a_tokenizer_that_is_none(name: str, tmp_path: Path) -> None:
    place = stored(tmp_path, header(tensor(), keys=(*LLAMA, *TOKENIZERS[name])))
    with pytest.raises(ModelError, match="its tokenizer cannot be loaded") as caught:
        load_tokenizer(place)
    assert caught.value.__suppress_context__


def test_a_template_that_is_no_text(tmp_path: Path) -> None:
    place = stored(tmp_path, header(tensor(), keys=(*LLAMA, *VOCABULARY, key("tokenizer.chat_template", 4, bytes(4)))))
    with pytest.raises(ModelError, match="its chat template is no text"):
        load_tokenizer(place)


def test_a_part_of_several(tmp_path: Path) -> None:
    place = stored(tmp_path, header(tensor()), "model-00001-of-00003.gguf")
    assert "is one of several parts" in refusal(place)
    counted = key("split.count", 2, struct.pack("<H", 3))
    assert "is one of several parts" in refusal(stored(tmp_path, header(tensor(), keys=(ARCHITECTURE, counted))))


def test_a_fifo_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.gguf")
    assert "is not a regular file" in refusal(tmp_path / "model.gguf")
