"""Compressed files, against what the tools' own modules make, in pieces of any size."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forgetctl.errors import InputError
from forgetctl.files import decompression
from forgetctl.files.decompression import CHUNK, KINDS, decompressed
from forgetctl.files.outside import compression

PATH = Path("rows.jsonl.packed")
PACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": lambda data: pa.Codec("zstd").compress(data, asbytes=True),
}
packed = pytest.mark.parametrize("kind", sorted(PACK))


def unpacked(data: bytes, kind: str) -> bytes:
    with decompressed(PATH, io.BytesIO(data), kind) as file:
        return file.read()


def refusal(data: bytes, kind: str) -> str:
    with pytest.raises(InputError) as caught:
        unpacked(data, kind)
    assert caught.value.path == PATH
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    return caught.value.why


def test_there_is_a_packer_for_each_kind() -> None:
    assert PACK.keys() == KINDS


@packed
@settings(deadline=None, max_examples=25)
@given(parts=st.lists(st.binary(max_size=300), min_size=1, max_size=4), times=st.sampled_from([1, 2000]))
def test_members_one_after_another_are_one_file(kind: str, parts: list[bytes], times: int) -> None:
    data = b"".join(PACK[kind](part * times) for part in parts)
    assert compression(data) == kind
    assert unpacked(data, kind) == b"".join(part * times for part in parts)


@packed
def test_lines_are_read_as_a_stream(kind: str) -> None:
    lines = [b"%d\n" % number for number in range(200_000)]
    file = io.BytesIO(PACK[kind](b"".join(lines)))
    text = decompressed(PATH, file, kind)
    assert text.readline() == b"0\n"
    assert file.tell() <= CHUNK  # and not all of it, as far as it is longer
    assert [b"0\n", *text] == lines


@packed
def test_what_is_cut_off_or_goes_on_is_damage(kind: str) -> None:
    data = PACK[kind](b"Velmira Oskandt" * 50)
    why = f"is damaged, and cannot be decompressed ({kind})"
    for end in range(1, len(data)):
        assert refusal(data[:end], kind) == why
    assert refusal(data + b"and more", kind) == why
    spoilt = data[: len(data) // 2] + bytes(8) + data[len(data) // 2 + 8 :]
    if kind != "zstd":  # which has a sum to check only where the tool added it
        assert refusal(spoilt, kind) == why


@packed
def test_a_bomb_goes_off_within_bounds(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of some KiB stands for a GiB; no more than the first part of it is ever made."""
    monkeypatch.setattr(decompression, "UNBOUNDED", 2**20)
    data = PACK[kind](bytes(2**28))
    made: list[int] = []
    text = decompressed(PATH, io.BytesIO(data), kind)
    with pytest.raises(InputError) as caught:
        made.extend(map(len, iter(lambda: text.read1(CHUNK), b"")))
    assert caught.value.why == "holds more than 250 times its own size once it is decompressed"
    assert sum(made) <= 2**20 + 250 * len(data)


@packed
def test_no_more_than_the_largest_is_read(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decompression, "LARGEST", 2**20)
    assert unpacked(PACK[kind](bytes(2**20)), kind) == bytes(2**20)
    assert refusal(PACK[kind](bytes(2**20 + 1)), kind) == "holds more than 1 MiB once it is decompressed"


def test_xz_that_asks_for_much_memory_is_refused() -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 2**29}]
    data = lzma.compress(b"a", filters=filters)
    assert refusal(data, "xz") == "is damaged, and cannot be decompressed (xz)"


@pytest.mark.parametrize(("tool", "kind"), [("gzip", "gzip"), ("bzip2", "bzip2"), ("xz", "xz"), ("zstd", "zstd")])
def test_what_the_tools_write(tool: str, kind: str) -> None:
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
    text = b"".join(b'{"text": "Velmira %d"}\n' % number for number in range(5000))
    data = subprocess.run([tool, "-c"], input=text, stdout=subprocess.PIPE, check=True).stdout
    assert compression(data) == kind
    assert unpacked(data, kind) == text
