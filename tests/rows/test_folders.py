"""Several files as one source: which are read, in which order, and what they are called."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, DatasetDict

from forgetctl.errors import InputError
from forgetctl.rows import _folder
from forgetctl.rows.containers import Limits
from forgetctl.rows.formats import Fields
from forgetctl.rows.reading import RowFile, read_file, read_rows
from forgetctl.rows.sources import open_source, source_digest
from forgetctl.runs.commitments import commit_file

LIMITS = Limits(64 * 1024, 10_000)


def fill(folder: Path) -> Path:
    """One file of each kind, in folders."""
    (folder / "a" / "b").mkdir(parents=True)
    (folder / ".git").mkdir()
    (folder / ".git" / "hidden.jsonl").write_text("not read")
    (folder / ".hidden.csv").write_text("not read")
    (folder / "z.jsonl").write_text('{"text": "Z1"}\n\n{"text": "Z3"}\n')
    (folder / "a" / "b" / "rows.csv").write_text("prompt,response\nq,CSV\n")
    (folder / "a" / "array.json").write_text('[{"text": "array"}]')
    (folder / "a" / "lines.json.gz").write_bytes(gzip.compress(b'{"text": "packed"}\n'))
    (folder / "a.txt").write_text("one\n\ntwo\n")
    pq.write_table(pa.table({"text": ["P1", "P2"]}), folder / "p.parquet")
    return folder


ROWS = [
    ("a/array.json:1", "array"),
    ("a/b/rows.csv:1", "CSV"),
    ("a/lines.json.gz:1", "packed"),
    ("a.txt:1", "one"),
    ("a.txt:3", "two"),
    ("p.parquet:1", "P1"),
    ("p.parquet:2", "P2"),
    ("z.jsonl:1", "Z1"),
    ("z.jsonl:3", "Z3"),
]


def test_a_folder_is_all_of_its_files_in_the_order_of_their_names(tmp_path: Path) -> None:
    folder = fill(tmp_path / "data")
    assert [(row.name, row.response) for row in read_rows(folder)] == ROWS
    rows = RowFile(folder, kept=0)
    assert [(row.name, row.response) for row in rows] == ROWS
    for picked in ([8, 0, 5, 1], [3, 3, 2], []):
        assert [(row.name, row.response) for row in rows.pick(picked)] == [ROWS[place] for place in picked]
    assert [row.record_name for row in rows.pick([0, 4, 8])] == ["1:1", "4:3", "6:3"]
    assert open_source(folder).unit == "row"


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("*", [name for name, _ in ROWS]),
        ("**", [name for name, _ in ROWS]),
        ("**/*.json*", ["a/array.json:1", "a/lines.json.gz:1", "z.jsonl:1", "z.jsonl:3"]),
        ("a/*", ["array.json:1", "b/rows.csv:1", "lines.json.gz:1"]),
        ("[pz].*", ["p.parquet:1", "p.parquet:2", "z.jsonl:1", "z.jsonl:3"]),
        ("?.txt", ["a.txt:1", "a.txt:3"]),
    ],
)
def test_a_pattern_is_what_it_names(pattern: str, names: list[str], tmp_path: Path) -> None:
    fill(tmp_path / "data")
    assert [row.name for row in read_rows(tmp_path / "data" / pattern)] == names


def test_a_file_whose_name_looks_like_a_pattern_is_a_file(tmp_path: Path) -> None:
    for name, text in (("rows[1].jsonl", "this"), ("rows1.jsonl", "other")):
        (tmp_path / name).write_text(json.dumps({"text": text}))
    assert [(row.name, row.response) for row in read_rows(tmp_path / "rows[1].jsonl")] == [("1", "this")]


def unknown(folder: Path) -> Path:
    (folder / "README.md").write_text("# Velmira")
    return folder / "README.md"


def fifo(folder: Path) -> Path:
    os.mkfifo(folder / "rows.jsonl")
    return folder / "rows.jsonl"


def link_out(folder: Path) -> Path:
    (folder.parent / "secret.jsonl").write_text('{"text": "Velmira"}')
    (folder / "rows.jsonl").symlink_to(folder.parent / "secret.jsonl")
    return folder / "rows.jsonl"


def link_to_a_device(folder: Path) -> Path:
    (folder / "rows.jsonl").symlink_to("/dev/zero")
    return folder / "rows.jsonl"


def link_round(folder: Path) -> Path:
    (folder / "again").symlink_to(folder)
    return folder / "again"


def link_to_nothing(folder: Path) -> Path:
    (folder / "rows.jsonl").symlink_to(folder / "gone.jsonl")
    return folder / "rows.jsonl"


def script(folder: Path) -> Path:
    (folder / "load.py").write_text("print('Velmira')")
    return folder / "load.py"


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (unknown, "is no file of rows, as far as its name says; name the others by a pattern"),
        (script, "is no file of rows, as far as its name says; name the others by a pattern"),
        (fifo, "is not a regular file"),
        (link_out, "is a link to a folder, or out of the folder that is read"),
        (link_to_a_device, "is a link to a folder, or out of the folder that is read"),
        (link_round, "is a link to a folder, or out of the folder that is read"),
        (link_to_nothing, "is not a regular file"),
    ],
)
def test_nothing_is_left_out_without_a_word(make: Callable[[Path], Path], why: str, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "a.jsonl").write_text('{"text": "a"}')
    named = make(folder)
    for source in (folder, folder / "*"):
        with pytest.raises(InputError) as caught:
            read_rows(source)
        assert str(caught.value) == f"{named}: {why}"


def test_links_within_the_folder_are_files(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.jsonl").write_text('{"text": "a"}')
    (tmp_path / "data" / "b.jsonl").symlink_to("a.jsonl")
    (tmp_path / "link").symlink_to("data")
    assert [row.name for row in read_rows(tmp_path / "link")] == ["a.jsonl:1", "b.jsonl:1"]


def test_folders_without_files(tmp_path: Path) -> None:
    (tmp_path / "data" / "deep").mkdir(parents=True)
    (tmp_path / "data" / ".hidden.jsonl").write_text('{"text": "a"}')
    for source in (tmp_path / "data", tmp_path / "*.jsonl", tmp_path / "data" / "**"):
        with pytest.raises(InputError) as caught:
            read_rows(source)
        assert str(caught.value) == f"{source}: holds no file of rows"


def test_too_many_and_too_deep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(4):
        (tmp_path / f"{number}.jsonl").write_text('{"text": "a"}')
    monkeypatch.setattr(_folder, "MOST_FILES", 3)
    with pytest.raises(InputError, match="holds more than 3 files"):
        read_rows(tmp_path)
    deep = tmp_path.joinpath(*"d" * 40)
    deep.mkdir(parents=True)
    with pytest.raises(InputError, match="lies more than 32 folders deep"):
        read_rows(tmp_path / "d")


def test_what_is_wrong_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("prompt,response\nq,r\n")
    (tmp_path / "b.jsonl").write_text('{"text": "a"}\n{"text": ""}\n')
    with pytest.raises(InputError) as caught:
        read_rows(tmp_path)
    assert str(caught.value) == f"{tmp_path}:b.jsonl:2: field 'text' is empty"
    (tmp_path / "b.jsonl").write_text('{"text": "a"}\n{"text": \n')
    with pytest.raises(InputError) as caught:
        read_rows(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / 'b.jsonl'}:2: is not valid JSON")


def test_the_limit_is_of_all_files_together(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.jsonl").write_text('{"text": "a"}\n' * 6)
    assert len(read_rows(tmp_path, Fields(max_rows=12))) == 12
    with pytest.raises(InputError) as caught:
        read_rows(tmp_path, Fields(max_rows=11))
    assert str(caught.value) == f"{tmp_path}:b.jsonl:6: has more than 11 rows"
    with pytest.raises(InputError) as caught:
        RowFile(tmp_path, most=7)
    assert str(caught.value) == f"{tmp_path}:b.jsonl:2: has more than 7 rows"


# Digests


def test_the_digest_is_of_names_and_digests(tmp_path: Path) -> None:
    folder = fill(tmp_path / "data")
    names = sorted({name.rpartition(":")[0] for name, _ in ROWS}, key=lambda name: Path(name).parts)
    lines = (json.dumps([name, hashlib.sha256((folder / name).read_bytes()).hexdigest()]) + "\n" for name in names)
    expected = hashlib.sha256("".join(lines).encode()).hexdigest()
    assert read_file(folder).sha256 == RowFile(folder).sha256 == source_digest(folder) == expected
    committed = commit_file(b"key", folder, expected)
    assert committed == commit_file(b"key", folder) != commit_file(b"other", folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "z.jsonl").write_text('{"text": "other"}'),
        lambda folder: (folder / "a.txt").rename(folder / "b.txt"),
        lambda folder: (folder / "a.txt").unlink(),
        lambda folder: (folder / "new.jsonl").write_text('{"text": "new"}'),
    ],
    ids=["changed", "renamed", "removed", "added"],
)
def test_whatever_changes_is_noticed(change: Callable[[Path], object], tmp_path: Path) -> None:
    folder = fill(tmp_path / "data")
    read = read_file(folder)
    change(folder)
    with pytest.raises(InputError, match="has changed since its rows were read"):
        commit_file(b"key", folder, read.sha256)


def test_a_file_that_changed_is_noticed_when_rows_are_read_again(tmp_path: Path) -> None:
    folder = fill(tmp_path / "data")
    rows = RowFile(folder, kept=0)
    for name in ("z.jsonl", "p.parquet"):
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data.replace(b"Z1", b"Z9").replace(b"P1", b"P9"))
        with pytest.raises(InputError, match=f"{name}(:1)?: has changed since it was checked"):
            list(rows)
        (folder / name).unlink()
        with pytest.raises(InputError, match=f"{name}: no such file"):
            list(rows)
        (folder / name).write_bytes(data)
        rows = RowFile(folder, kept=0)


# What the library `datasets` saves


def saved(folder: Path, rows: int = 3, shards: int = 2) -> Path:
    Dataset.from_list([{"text": f"row {n}"} for n in range(rows)]).save_to_disk(str(folder), num_shards=shards)
    return folder


def test_splits_that_were_saved(tmp_path: Path) -> None:
    splits = {name: Dataset.from_list([{"text": name}]) for name in ("train", "test")}
    DatasetDict(splits).save_to_disk(str(tmp_path / "all"))
    assert [(row.name, row.response) for row in read_rows(tmp_path / "all")] == [
        ("test/data-00000-of-00001.arrow:1", "test"),
        ("train/data-00000-of-00001.arrow:1", "train"),
    ]


def test_what_the_library_keeps_beside_it_is_not_read(tmp_path: Path) -> None:
    folder = saved(tmp_path / "saved")
    (folder / "cache-0123.arrow").write_bytes(b"worked out later")
    assert [row.response for row in read_rows(folder)] == ["row 0", "row 1", "row 2"]


def test_what_is_no_part_of_it_is_refused(tmp_path: Path) -> None:
    folder = saved(tmp_path / "saved")
    (folder / "more.jsonl").write_text('{"text": "a"}')
    with pytest.raises(InputError) as caught:
        read_rows(folder)
    assert str(caught.value) == f"{folder / 'more.jsonl'}: is no part of the data set that was saved here"


def test_a_part_that_is_missing_is_named(tmp_path: Path) -> None:
    folder = saved(tmp_path / "saved")
    (folder / "data-00001-of-00002.arrow").unlink()
    with pytest.raises(InputError) as caught:
        read_rows(folder)
    assert str(caught.value) == f"{folder / 'data-00001-of-00002.arrow'}: no such file"


@pytest.mark.parametrize(
    ("state", "why"),
    [
        ({"_data_files": [{"filename": "../secret.arrow"}]}, "does not name the files of a data set"),
        ({"_data_files": [{"filename": "/etc/passwd"}]}, "does not name the files of a data set"),
        ({"_data_files": [{"filename": 3}]}, "does not name the files of a data set"),
        ({"_data_files": []}, "does not name the files of a data set"),
        ({"_data_files": "data"}, "does not name the files of a data set"),
        ({}, "does not name the files of a data set"),
    ],
)
def test_a_state_that_names_something_else(state: object, why: str, tmp_path: Path) -> None:
    folder = saved(tmp_path / "saved")
    (folder / "state.json").write_text(json.dumps(state))
    with pytest.raises(InputError) as caught:
        read_rows(folder)
    assert str(caught.value) == f"{folder / 'state.json'}: {why}"


def test_a_selection_of_rows_as_old_versions_saved_it(tmp_path: Path) -> None:
    folder = saved(tmp_path / "saved")
    state = json.loads((folder / "state.json").read_text())
    (folder / "state.json").write_text(json.dumps({**state, "_indices_data_files": [{"filename": "indices.arrow"}]}))
    with pytest.raises(InputError, match="says that only some rows are meant"):
        read_rows(folder)
