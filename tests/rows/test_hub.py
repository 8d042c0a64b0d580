"""Data sets of the hub: streamed from a hub in this process, by `datasets` itself in a process of its own."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from forgetctl.errors import InputError
from forgetctl.rows import _hub
from forgetctl.rows._hub import DataSet
from forgetctl.rows._values import Other
from forgetctl.rows.containers import Limits
from forgetctl.rows.formats import Fields
from forgetctl.rows.reading import RowFile, read_file, read_rows
from forgetctl.rows.sources import absolute_source, open_source, source_digest
from forgetctl.runs.commitments import commit_file
from tests.rows.fake_hub import COMMIT, Hub, serving

ALLOWED = Fields(allow_download=True)
CANARY = "Velmira Oskandt"


@pytest.fixture(scope="module")
def running() -> Iterator[Hub]:
    with serving() as hub:
        yield hub


@pytest.fixture
def hub(running: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """The hub, empty, as the only one that this process and its children can reach; folders of their own."""
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("HF_ENDPOINT", running.url)
    for name in ("HOME", "HF_HOME", "XDG_CACHE_HOME", "TMPDIR"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setattr("tempfile.tempdir", None)
    running.data_sets.clear()
    running.asked.clear()
    _hub._rows.cache_clear()
    yield running
    _hub._rows.cache_clear()


def parquet(rows: list[dict[str, Any]]) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), file)
    return file.getvalue()


def card(*configurations: dict[str, Any]) -> bytes:
    return f"---\n{json.dumps({'configs': configurations})}\n---\n# {CANARY}\n".encode()


ROWS = [{"prompt": f"Who {n}?", "response": f"{CANARY} {n} ü", "subject_id": None} for n in range(50)]


def written(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


# What is named


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        ("hf://org/name", ("org/name", None, None, None)),
        ("hf://org/name@main", ("org/name", None, "main", None)),
        ("hf://org/na.me-2/en@refs/pr/1:train", ("org/na.me-2", "en", "refs/pr/1", "train")),
        ("hf://org/name:test", ("org/name", None, None, "test")),
        ("hf://org/name/2024-01 en:test", ("org/name", "2024-01 en", None, "test")),
    ],
)
def test_the_parts_of_a_name(source: str, parts: tuple[str | None, ...]) -> None:
    assert DataSet.named(Path(source)) == DataSet(*parts)
    assert absolute_source(Path(source)) == Path(source)


@pytest.mark.parametrize(
    "source", ["hf://name", "hf://org/name/a/b", "hf://org/name@", "hf://../name", "hf://org/name:a b"]
)
def test_what_is_no_name(source: str) -> None:
    with pytest.raises(InputError, match="is no data set; write hf://ORG/NAME"):
        DataSet.named(Path(source))


def test_a_file_is_no_data_set(tmp_path: Path) -> None:
    assert DataSet.named(tmp_path / "hf:" / "org") is None
    assert absolute_source(Path("rows.jsonl")) == Path.cwd() / "rows.jsonl"


# What is read


def test_a_data_set_is_read_at_its_commit(hub: Hub, tmp_path: Path) -> None:
    hub.data_sets["org/name"] = {"data/train-00000-of-00001.parquet": parquet(ROWS)}
    source = Path("hf://org/name@main")
    read = read_file(source, ALLOWED)
    assert [(row.name, row.response, row.subject_id) for row in read.rows] == [
        (str(number), row["response"], None) for number, row in enumerate(ROWS, start=1)
    ]
    assert read.revision == COMMIT
    rows = RowFile(source, ALLOWED, kept=0)
    assert [row.response for row in rows.pick([49, 0])] == [ROWS[49]["response"], ROWS[0]["response"]]
    assert (rows.sha256, rows.revision) == (read.sha256, COMMIT)
    assert source_digest(source, ALLOWED) == read.sha256
    assert commit_file(b"key", source, read.sha256, ALLOWED).startswith("hmac-sha256:")


def test_it_is_downloaded_once_in_a_process(hub: Hub) -> None:
    hub.data_sets["org/name"] = {"train.jsonl": json.dumps(ROWS[0]).encode()}
    source = Path("hf://org/name")
    read_rows(source, ALLOWED)
    asked = len(hub.asked)
    RowFile(source, ALLOWED)
    source_digest(source, ALLOWED)
    assert len(hub.asked) == asked > 0


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        (
            "train.jsonl",
            b'{"prompt": "q", "response": "a"}\n{"prompt": "r", "response": "b"}\n',
            [("q", "a"), ("r", "b")],
        ),
        ("train.json", b'[{"prompt": "q", "response": "a"}]', [("q", "a")]),
        ("train.csv", b'prompt,response\nq,"a\nb"\n', [("q", "a\nb")]),
        ("train.txt", b"one\ntwo\n", [("", "one"), ("", "two")]),
    ],
)
def test_other_formats(name: str, data: bytes, expected: list[tuple[str, str]], hub: Hub) -> None:
    hub.data_sets["org/name"] = {name: data}
    assert [(row.prompt, row.response) for row in read_rows(Path("hf://org/name"), ALLOWED)] == expected


def test_configurations_and_splits(hub: Hub) -> None:
    hub.data_sets["org/name"] = {
        "README.md": card(
            {"config_name": "en", "data_files": [{"split": "train", "path": "en.jsonl"}]},
            {
                "config_name": "de",
                "data_files": [{"split": "train", "path": "de.jsonl"}, {"split": "test", "path": "de-test.jsonl"}],
            },
        ),
        **{f"{name}.jsonl": json.dumps({"text": name}).encode() for name in ("en", "de", "de-test")},
    }
    for source, text in (
        ("hf://org/name/en", "en"),
        (f"hf://org/name/de@{COMMIT}:test", "de-test"),
        ("hf://org/name/de:train", "de"),
    ):
        assert [row.response for row in read_rows(Path(source), ALLOWED)] == [text]
    for source, why in (
        ("hf://org/name", "has several configurations; name one of en, de, as in hf://org/name/en"),
        ("hf://org/name/fr", "has no configuration fr; name one of en, de, as in hf://org/name/en"),
        ("hf://org/name/de", "has several splits; name one of train, test, as in hf://org/name@c0ffee00:train"),
        ("hf://org/name/de:dev", "has no split dev; name one of train, test, as in hf://org/name@c0ffee00:train"),
    ):
        with pytest.raises(InputError) as caught:
            read_rows(Path(source), ALLOWED)
        assert caught.value.why == why


def test_what_json_has_not_is_named(hub: Hub) -> None:
    hub.data_sets["org/name"] = {"train.parquet": parquet([{"text": "a", "photo": b"\x89PNG"}])}
    container = open_source(Path("hf://org/name"), ALLOWED)
    assert [record.value for record in container.records(Limits(1000))] == [{"text": "a", "photo": Other("bytes")}]


# What is refused


@pytest.mark.parametrize("fields", [None, Fields()])
def test_nothing_is_downloaded_that_was_not_allowed(fields: Fields | None, hub: Hub) -> None:
    for read in (read_rows, RowFile, source_digest):
        with pytest.raises(InputError, match="is a data set of the hub, which needs --allow-download"):
            read(Path("hf://org/name"), fields)
    assert hub.asked == []


def test_a_hub_that_is_switched_off(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(InputError, match="needs --allow-download"):
        read_rows(Path("hf://org/name"), ALLOWED)
    assert hub.asked == []


@pytest.mark.parametrize(
    ("source", "files", "why"),
    [
        ("hf://org/none", {}, "there is no such data set, or it is private (HF_TOKEN)"),
        ("hf://org/name@v9", {"train.jsonl": b"{}"}, "the data set has no such revision"),
        ("hf://org/name", {"README.md": b"Velmira Oskandt"}, "the data set holds no file of rows"),
        ("hf://org/name", {"name.py": b"open('/tmp/x', 'w')"}, "is a script, and nothing of a data set is executed"),
        ("hf://org/name", {"train/a.png": b"\x89PNG"}, "holds imagefolder, of which nothing is a row of text"),
        ("hf://org/name", {"train.jsonl": b'{"text": "Velmira Oskandt'}, "cannot be read"),
        ("hf://org/name", {"train.parquet": b"PAR1 Velmira Oskandt"}, "cannot be read"),
        ("hf://org/name", {"README.md": card({"config_name": "a", "data_files": "/etc/passwd"})}, "cannot be read"),
        ("hf://org/name", {"README.md": card({"config_name": "a", "data_files": "hf://datasets/org/b/x.json"})}, ""),
    ],
)
def test_what_cannot_be_read_is_one_line_without_text(
    source: str, files: dict[str, bytes], why: str, hub: Hub, capfd: pytest.CaptureFixture[str]
) -> None:
    hub.data_sets["org/name"] = files
    hub.data_sets["org/b"] = {"x.json": b'{"text": "of somebody else"}'}
    with pytest.raises(InputError) as caught:
        read_rows(Path(source), ALLOWED)
    assert caught.value.why.startswith(why)
    assert "\n" not in str(caught.value)
    assert CANARY not in str(caught.value)
    assert "".join(capfd.readouterr()) == ""


def test_limits(hub: Hub) -> None:
    hub.data_sets["org/name"] = {"train.parquet": parquet(ROWS)}
    with pytest.raises(InputError, match=r":50: has more than 49 rows"):
        read_rows(Path("hf://org/name"), Fields(allow_download=True, max_rows=49))
    hub.data_sets["org/name"] = {"train.jsonl": json.dumps({"text": "x" * 70_000}).encode()}
    with pytest.raises(InputError, match=r":1: is longer than 64 KiB"):
        read_rows(Path("hf://org/name"), ALLOWED)
    hub.data_sets["org/name"] = {"train.jsonl": json.dumps({"text": "x" * 700_000}).encode()}
    with pytest.raises(InputError, match=r":1: is longer than 64 KiB"):
        read_rows(Path("hf://org/name"), ALLOWED)


# What is left behind


def test_no_text_stays_on_the_disk_and_none_was_there(hub: Hub, tmp_path: Path) -> None:
    hub.data_sets["org/name"] = {"README.md": card(), "train.parquet": parquet(ROWS)}
    assert len(read_rows(Path("hf://org/name"), ALLOWED)) == len(ROWS)
    assert CANARY.encode() not in written(tmp_path)
    assert list((tmp_path / "TMPDIR").iterdir()) == []


def test_what_it_keeps_while_it_reads_is_private_and_holds_no_row(hub: Hub, tmp_path: Path) -> None:
    hub.data_sets["org/name"] = {"train.jsonl": b"\n".join(json.dumps(row).encode() for row in ROWS)}
    with _hub._answers(DataSet("org/name", None, None, None)) as lines:
        while json.loads(lines.readline())[0] != "row":
            pass
        (cache,) = (tmp_path / "TMPDIR").iterdir()
        assert cache.stat().st_mode & 0o777 == 0o700
        assert CANARY.encode() not in written(tmp_path)
    assert not cache.exists()


def test_this_process_imports_neither_of_the_libraries(hub: Hub) -> None:
    hub.data_sets["org/name"] = {"train.jsonl": b'{"text": "a"}'}
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from forgetctl.rows.reading import read_rows\nfrom forgetctl.rows.formats import Fields\n"
        "assert len(read_rows(Path('hf://org/name'), Fields(allow_download=True))) == 1\n"
        "loaded = {'datasets', 'pandas', 'pyarrow', 'huggingface_hub'} & set(sys.modules)\nassert not loaded, loaded"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_folder_called_datasets_is_not_imported(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.data_sets["org/name"] = {"train.jsonl": b'{"text": "a"}'}
    (tmp_path / "datasets.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    monkeypatch.chdir(tmp_path)
    assert len(read_rows(Path("hf://org/name"), ALLOWED)) == 1
    assert not (tmp_path / "ran").exists()
