"""Safetensors files whose headers lie: an error of ours that names the file, before anything is loaded."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from forgetctl.errors import ModelError
from forgetctl.model.directories import inspect_model
from forgetctl.model.merge import check_adapter
from forgetctl.model.weights import weight_files, weight_shapes

GOOD = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def header(**weights: Any) -> bytes:
    return json.dumps(weights).encode()


def stored(head: bytes, data: bytes = bytes(8), length: int | None = None) -> bytes:
    return struct.pack("<Q", len(head) if length is None else length) + head + data


def spoilt(**changes: Any) -> bytes:
    return stored(header(a={**GOOD, **changes}))


LIES = {
    "nothing": b"",
    "cut in the length": b"\1\2\3",
    "header longer than the file": stored(header(a=GOOD), length=10**6),
    "header of 100 MB": stored(header(a=GOOD), length=10**8 + 1),
    "header of 2**63 bytes": stored(header(a=GOOD), length=2**63),
    "data beyond the file": spoilt(data_offsets=[0, 80], shape=[20]),
    "offset of 2**63": spoilt(data_offsets=[0, 2**63]),
    "offset of 2**70": spoilt(data_offsets=[0, 2**70]),
    "negative offsets": spoilt(data_offsets=[-8, 0]),
    "offsets the wrong way": spoilt(data_offsets=[8, 0]),
    "three offsets": spoilt(data_offsets=[0, 4, 8]),
    "overlap": stored(header(a=GOOD, b=GOOD)),
    "hole before": spoilt(data_offsets=[4, 8], shape=[1]),
    "bytes left over": stored(header(a=GOOD), bytes(16)),
    "another size than its shape": spoilt(shape=[3]),
    "another size than its type": spoilt(dtype="F64"),
    "unknown type": spoilt(dtype="F33"),
    "negative shape": spoilt(shape=[-2]),
    "shape that overflows": spoilt(shape=[2**63, 2**63]),
    "shape of words": spoilt(shape=["two"]),
    "name twice": stored(b'{"a": %b, "a": %b}' % (header(**GOOD), header(**GOOD))),
    "key twice": stored(b'{"a": {"dtype": "F16", "dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}'),
    "no object": stored(b"[]"),
    "no JSON": stored(b"weights"),
    "not UTF-8": stored(b'{"\xff": 1}'),
    "NaN": stored(b'{"a": NaN}'),
    "deep": stored(b'{"a":' + b"[" * 10_000 + b"]" * 10_000 + b"}"),
    "pickled": b"\x80\x02}q\x00.",
    "zip": b"PK\x03\x04" + bytes(40),
}


def model(folder: Path, weights: bytes, **config: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(weights)
    return folder


def refusal(read: Callable[[], object]) -> str:
    with pytest.raises(ModelError) as caught:
        read()
    return str(caught.value)


@pytest.mark.parametrize("name", LIES)
def test_a_model(name: str, tmp_path: Path) -> None:
    place = model(tmp_path / "model", LIES[name], dtype="float32")
    why = f"{place / 'model.safetensors'}: is not a whole safetensors file"
    assert refusal(lambda: inspect_model(place)).startswith(why)
    assert refusal(lambda: weight_shapes(place)).startswith(why)


@pytest.mark.parametrize("name", LIES)
def test_an_adapter(name: str, tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    (tmp_path / "adapter_model.safetensors").write_bytes(LIES[name])
    why = refusal(lambda: check_adapter(tmp_path))
    assert why.startswith(f"{tmp_path / 'adapter_model.safetensors'}: is not a whole safetensors file")


def test_the_truth_is_accepted(tmp_path: Path) -> None:
    place = model(
        tmp_path / "model", stored(header(a=GOOD, __metadata__={"format": "pt"})), dtype="float32", model_type="llama"
    )
    assert weight_shapes(place) == {"a": [2]}
    assert inspect_model(place).bytes > 8


def test_a_file_without_weights_tells_no_type(tmp_path: Path) -> None:
    place = model(tmp_path / "model", stored(b"{}", b""))
    assert refusal(lambda: inspect_model(place)) == f"{place / 'model.safetensors'}: holds no weights"


def test_a_fifo_is_not_waited_for(tmp_path: Path) -> None:
    place = model(tmp_path / "model", b"")
    (place / "model.safetensors").rename(place / "other.safetensors")
    (place / "other.safetensors").unlink()
    os.mkfifo(place / "other.safetensors")
    assert "is not a regular file" in refusal(lambda: inspect_model(place))


@pytest.mark.parametrize(
    "index",
    [
        "[]",
        "{}",
        '{"weight_map": []}',
        '{"weight_map": {}}',
        '{"weight_map": {"a": 3}}',
        '{"weight_map": {"a": ["model.safetensors"]}}',
        '{"weight_map": {"a": "../elsewhere/model.safetensors"}}',
        '{"weight_map": {"a": "/dev/zero"}}',
        '{"weight_map": {"a": ""}}',
        '{"weight_map": {"a": "\\u0000"}}',
        '{"weight_map": {"a": "x", "a": "y"}}',
        '{"weight_map": ' + "[" * 10_000,
    ],
)
def test_an_index_that_lists_no_files_of_its_folder(index: str, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(index)
    why = refusal(lambda: weight_files(tmp_path))
    assert str(tmp_path) in why
