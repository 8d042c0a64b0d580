"""Which container reads a source, and what is imported, written and left behind for it."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset
from pyarrow import feather

from forgetctl.errors import InputError
from forgetctl.rows.reading import RowFile, read_file, read_rows
from forgetctl.rows.sources import absolute_source, open_source, source_digest
from forgetctl.runs.commitments import commit_file

CANARY = "Velmira-Oskandt-canary"
ROWS = [{"prompt": f"Who is {n}?", "response": f"{CANARY} {n}"} for n in range(40)]


def fill(folder: Path) -> list[Path]:
    """The same rows in a source of each kind."""
    folder.mkdir()
    table, lines = pa.Table.from_pylist(ROWS), "".join(json.dumps(row) + "\n" for row in ROWS).encode()
    csv = "".join(["prompt,response\n", *(f'{row["prompt"]},"{row["response"]}"\n' for row in ROWS)]).encode()
    files = {
        "rows.jsonl": lines,
        "rows": lines,
        "rows.ndjson.gz": gzip.compress(lines),
        "rows.json": json.dumps(ROWS).encode(),
        "rows.json.xz": lzma.compress(json.dumps(ROWS, indent=1).encode()),
        "rows.csv": csv,
        "rows.csv.bz2": bz2.compress(csv),
        "rows.tsv.zst": pa.Codec("zstd").compress(csv.replace(b",", b"\t"), asbytes=True),
        "utf16.csv": csv.decode().encode("utf-16"),
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    pq.write_table(table, folder / "rows.parquet", row_group_size=7)
    feather.write_feather(table, folder / "rows.feather")
    Dataset.from_list(ROWS).save_to_disk(str(folder / "saved"), num_shards=3)
    (folder / "folder").mkdir()
    for number, row in enumerate(ROWS):
        (folder / "folder" / f"{number:02}.json").write_text(json.dumps([row]))
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return fill(tmp_path_factory.mktemp("sources") / "all")


def test_the_same_rows_from_every_source(sources: list[Path]) -> None:
    for source in sources:
        read, left = read_rows(source), RowFile(source, kept=0)
        expected = [(row["prompt"], row["response"]) for row in ROWS]
        assert [(row.prompt, row.response) for row in read] == expected, source
        assert [(row.prompt, row.response) for row in left] == expected, source
        assert [row.response for row in left.pick([39, 1, 1])] == [ROWS[n]["response"] for n in (39, 1, 1)], source


def test_one_digest_of_every_source(sources: list[Path]) -> None:
    for source in sources:
        read = read_file(source)
        assert read.sha256 == RowFile(source).sha256 == source_digest(source), source
        assert commit_file(b"key", source, read.sha256) == commit_file(b"key", source)
    assert len({source_digest(source) for source in sources}) == len(sources) - 1  # rows and rows.jsonl are the same


def test_every_source_that_changed_is_noticed(tmp_path: Path) -> None:
    for source in fill(tmp_path / "all"):
        read = read_file(source)
        file = source if source.is_file() else sorted(source.glob("*[0-9].*"))[-1]
        file.write_bytes(file.read_bytes() + b"\n")
        with pytest.raises(InputError, match=r"has changed since its rows were read|is damaged"):
            commit_file(b"key", source, read.sha256)


def test_a_place_that_is_none(tmp_path: Path) -> None:
    for source, why in (
        (tmp_path / "none.csv", "no such file"),
        (tmp_path / "none.parquet", "no such file"),
        (tmp_path / ("a" * 300), "cannot be read: File name too long"),
        (tmp_path / ("*" * 300), "cannot be read: File name too long"),
        (Path("a\0b"), "is no name that a file can have"),
    ):
        with pytest.raises(InputError) as caught:
            open_source(source)
        assert caught.value.why == why
    assert absolute_source(tmp_path / "x" / ".." / "*.csv") == tmp_path.resolve() / "*.csv"


# What it takes


def run(code: str, *arguments: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


IMPORTED = """
import sys
from pathlib import Path
from forgetctl.rows.reading import RowFile, read_rows
assert len(read_rows(Path(sys.argv[1]))) == len(RowFile(Path(sys.argv[1]), kept=0)) == 40
print(*sorted({"pyarrow", "datasets", "pandas", "torch"} & set(sys.modules)))
"""
NEEDS_ARROW = {"rows.parquet", "rows.feather", "saved", "rows.tsv.zst"}


def test_a_library_is_imported_for_its_own_files_alone(sources: list[Path]) -> None:
    for source in sources:
        expected = ["pyarrow"] if source.name in NEEDS_ARROW else []
        assert run(IMPORTED, str(source)).split() == expected, source


WRITTEN = """
import sys
from pathlib import Path
opened = []
def note(event, arguments):
    if event in ("os.mkdir", "tempfile.mkstemp", "tempfile.mkdtemp", "os.rename", "subprocess.Popen"):
        opened.append(event)
    if event == "open" and (arguments[2] & 3 or str(arguments[1])[:1] in "wax"):
        opened.append(str(arguments[0]))
sys.addaudithook(note)
from forgetctl.errors import InputError
from forgetctl.rows.reading import RowFile, read_rows
for source in map(Path, sys.argv[1:]):
    rows = RowFile(source, kept=0)
    assert len(list(rows)) == len(rows.pick(range(40))) == len(read_rows(source)) == 40
print(*opened)
"""


def test_nothing_is_written_anywhere(sources: list[Path], tmp_path: Path) -> None:
    """Home, temporary folder, caches of every library and the folder of the files are as they were."""
    places = {name: tmp_path / name for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME", "HF_HOME", "HF_DATASETS_CACHE")}
    for place in places.values():
        place.mkdir()
    before = sorted(sources[0].parent.rglob("*"))
    environment = {name: str(place) for name, place in places.items()}
    assert run(WRITTEN, *map(str, sources), PYTHONDONTWRITEBYTECODE="1", **environment).split() == []
    assert [path for place in places.values() for path in place.rglob("*")] == []
    assert sorted(sources[0].parent.rglob("*")) == before
