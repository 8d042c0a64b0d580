"""Files of every kind that are no rows: one clear line without text, and nothing executed, kept or waited for."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import pickle
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from forgetctl.errors import InputError
from forgetctl.rows.reading import RowFile, read_rows
from tests.hostile.test_outside import never_waits as never_waits  # a fixture

CANARY = "Velmira Oskandt"


class Evil:
    """Runs a command when it is unpickled."""

    def __init__(self, ran: Path) -> None:
        self.ran = ran

    def __reduce__(self) -> object:
        return os.system, (f"touch {self.ran}",)


def archived(suffix: str) -> bytes:
    file, data = io.BytesIO(), f'{{"text": "{CANARY}"}}'.encode()
    if suffix == ".zip":
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("rows.jsonl", data)
    else:
        with tarfile.open(fileobj=file, mode="w") as archive:
            information = tarfile.TarInfo("rows.jsonl")
            information.size = len(data)
            archive.addfile(information, io.BytesIO(data))
    return file.getvalue()


def parquet() -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table({"text": [CANARY]}), file)
    return file.getvalue()


PICKLE = "is a pickle, which is code: it is never opened"
SCRIPT = "is a script, and nothing of a data set is executed"
ARCHIVE = "is a ZIP archive or a workbook; unpack it, or save its sheet as CSV"
FILES: dict[str, tuple[bytes, str]] = {
    "a.zip": (archived(".zip"), ARCHIVE),
    "a.xlsx": (archived(".zip"), ARCHIVE),
    "a.jsonl": (archived(".zip"), ARCHIVE),
    "a.csv": (archived(".zip"), ARCHIVE),
    "a.tar": (archived(".tar"), "holds a NUL byte"),
    "a.tar.gz": (gzip.compress(archived(".tar")), "holds a NUL byte"),
    "a.7z": (b"7z\xbc\xaf\x27\x1c\0\4", "is an archive; unpack it"),
    "a.py": (b"print('run')", SCRIPT),
    "a.py.gz": (gzip.compress(b"print('run')"), SCRIPT),
    "a.ipynb": (b'{"cells": []}', SCRIPT),
    "a.pkl": (pickle.dumps([CANARY], protocol=0), PICKLE),
    "b.json": (pickle.dumps([CANARY]), PICKLE),
    "b.jsonl.xz": (lzma.compress(pickle.dumps([CANARY], protocol=2)), PICKLE),
    "b.pt": (archived(".zip"), ARCHIVE),
    "a.elf": (b"\x7fELF\x02\x01", "is a program"),
    "a.csv.gz": (gzip.compress(b"\x7fELF\x02\x01"), "is a program"),
    "a.exe": (b"MZ\x90\0\3\0\0\0", "is not UTF-8"),
    "a.png": (b"\x89PNG\r\n\x1a\n", "is an image"),
    "a.jpg": (b"\xff\xd8\xff\xe0", "is an image"),
    "a.pdf": (b"%PDF-1.7", "is a workbook or a document; save it as CSV or as text"),
    "a.xls": (b"\xd0\xcf\x11\xe0\xa1\xb1", "is a workbook or a document; save it as CSV or as text"),
    "a.h5": (b"\x89HDF\r\n\x1a\n", "is no file of rows; export it as Parquet, CSV or JSONL"),
    "a.sqlite": (b"SQLite format 3\0", "is no file of rows; export it as Parquet, CSV or JSONL"),
    "a.parquet": (b'{"text": "a"}', "is neither Parquet nor Arrow, as its name says it is"),
    "a.arrow": (b"", "is neither Parquet nor Arrow, as its name says it is"),
    "a.parquet.gz": (gzip.compress(parquet()), "holds Parquet, which can only be read once it is decompressed"),
    "c.parquet": (b"PARE" + bytes(64) + b"PARE", "is an encrypted Parquet file; decrypt it first"),
    "d.parquet": (b"PAR1" + CANARY.encode(), "is damaged or encrypted: it cannot be read as Parquet"),
    "e.parquet": (b"PAR1" + bytes(64) + b"PAR1", "is damaged or encrypted: it cannot be read as Parquet"),
    "b.arrow": (b"ARROW1\0\0" + CANARY.encode(), "is damaged or encrypted: it cannot be read as an Arrow file"),
    "c.arrow": (b"\xff\xff\xff\xff" + b"\x7f" * 9, "is damaged or encrypted: it cannot be read as an Arrow stream"),
    "a.jsonl.gz": (b'{"text": "a"}', "is not compressed, as its name says it is"),
    "b.csv.gz": (gzip.compress(b"prompt,response\na,b\n" * 99)[:-9], "is damaged, and cannot be decompressed (gzip)"),
    "c.txt.bz2": (bz2.compress(CANARY.encode()) + b"more", "is damaged, and cannot be decompressed (bzip2)"),
    "nul.csv": (b"prompt,response\na,b\0\n", "holds a NUL byte"),
    "utf16.jsonl": ('\ufeff{"text": "a"}'.encode("utf-16-le"), "is not UTF-8"),
}


@pytest.mark.parametrize("read", [read_rows, RowFile])
@pytest.mark.parametrize("name", FILES)
def test_what_is_no_file_of_rows(name: str, read: Callable[[Path], object], tmp_path: Path) -> None:
    data, why = FILES[name]
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(InputError) as caught:
        read(path)
    assert caught.value.why.startswith(why)
    assert CANARY not in str(caught.value)
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    assert sorted(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["a.pkl", "a.json", "a.parquet", "a.csv", "a.txt", "a", "a.arrow"])
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_is_never_opened(name: str, protocol: int, tmp_path: Path) -> None:
    """Whatever it is called; of the oldest protocols, which are text, the text may be read."""
    ran = tmp_path / "ran"
    (tmp_path / name).write_bytes(pickle.dumps(Evil(ran), protocol=protocol))
    for read in (read_rows, RowFile):
        try:
            read(tmp_path / name)
        except InputError:
            continue
        assert (name, protocol) == ("a.txt", 0)
    assert not ran.exists()


def test_metadata_of_arrow_is_not_unpickled(tmp_path: Path) -> None:
    """Old versions of pyarrow ran a class that a file's schema named (CVE-2023-47248)."""
    ran = tmp_path / "ran"
    field = pa.field("text", pa.string()).with_metadata(
        {b"ARROW:extension:name": b"arrow.py_extension_type", b"ARROW:extension:metadata": pickle.dumps(Evil(ran))}
    )
    table = pa.Table.from_arrays([pa.array(["a"])], schema=pa.schema([field]))
    with pa.ipc.new_file(tmp_path / "a.arrow", table.schema) as writer:
        writer.write_table(table)
    pq.write_table(table, tmp_path / "a.parquet")
    for name in ("a.arrow", "a.parquet"):
        assert len(read_rows(tmp_path / name)) == 1
    assert not ran.exists()


PACK: dict[str, Callable[[bytes], bytes]] = {
    "a.jsonl.gz": gzip.compress,
    "a.json.bz2": bz2.compress,
    "a.csv.xz": lzma.compress,
    "a.txt.zst": lambda data: pa.Codec("zstd").compress(data, asbytes=True),
}
BEGIN = {"a.jsonl.gz": b'{"text": "', "a.json.bz2": b'[{"text": "', "a.csv.xz": b'prompt,response\na,"'}
ROWS = {
    "a.jsonl.gz": b'{"text": "a"}\n',
    "a.json.bz2": b'{"text": "a"},\n',
    "a.csv.xz": b"a,b\n",
    "a.txt.zst": b"a\n\n",
}
READ = """
import resource, sys
from pathlib import Path
from forgetctl.errors import InputError
from forgetctl.files import decompression
from forgetctl.rows.reading import RowFile
decompression.UNBOUNDED = int(sys.argv[2])
before = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (before + 2**29, before + 2**29))
try:
    RowFile(Path(sys.argv[1]))
except InputError as error:
    print(error.why)
"""


def read_within_half_a_gigabyte(path: Path, unbounded: int) -> str:
    code = [sys.executable, "-c", READ, str(path), str(unbounded)]
    done = subprocess.run(code, capture_output=True, text=True, check=False)
    return done.stdout.strip() or done.stderr[-500:]


@pytest.mark.parametrize("name", PACK)
def test_a_record_of_a_gigabyte(name: str, tmp_path: Path) -> None:
    pack = PACK[name]
    (tmp_path / name).write_bytes(pack(BEGIN.get(name, b"x")) + pack(b"x" * 2**22) * 2**8)
    why = read_within_half_a_gigabyte(tmp_path / name, 2**40)
    assert why.removeprefix("line ").startswith("is longer than 16384 KiB")


@pytest.mark.parametrize("name", PACK)
def test_records_without_end(name: str, tmp_path: Path) -> None:
    pack, begin = PACK[name], {"a.json.bz2": b"[", "a.csv.xz": b"prompt,response\n"}
    (tmp_path / name).write_bytes(pack(begin.get(name, b"")) + pack(ROWS[name] * 2**20))
    why = read_within_half_a_gigabyte(tmp_path / name, 2**18)
    assert why == "holds more than 250 times its own size once it is decompressed"
