"""Parquet and Arrow as pandas, pyarrow and `datasets` write them: value for value, in order and one by one."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import feather, ipc

from forgetctl.errors import InputError
from forgetctl.rows import _arrow, _columns, _parquet
from forgetctl.rows._values import Other, Unread
from forgetctl.rows.containers import Container, Limits, Place, Record
from forgetctl.rows.formats import Fields
from forgetctl.rows.reading import RowFile, read_rows
from forgetctl.rows.secret import Secret
from forgetctl.rows.sources import open_source

LIMITS = Limits(64 * 1024, 10_000)
Writer = Callable[[pa.Table, Path], None]


def write_parquet(table: pa.Table, path: Path) -> None:
    pq.write_table(table, path, row_group_size=70, data_page_size=200)


def write_file(table: pa.Table, path: Path) -> None:
    with ipc.new_file(path, table.schema) as writer:
        writer.write_table(table, max_chunksize=70)


def write_stream(table: pa.Table, path: Path) -> None:
    with ipc.new_stream(path, table.schema) as writer:
        writer.write_table(table, max_chunksize=70)


WRITERS: dict[str, Writer] = {
    "rows.parquet": write_parquet,
    "rows.arrow": write_file,
    "rows.stream.arrow": write_stream,
    "rows.feather": lambda table, path: feather.write_feather(table, path, chunksize=70),
}
every_kind = pytest.mark.parametrize("name", WRITERS)


def write(folder: Path, name: str, table: pa.Table) -> Path:
    path = folder / name
    WRITERS[name](table, path)
    return path


def places(records: list[Record]) -> list[Place]:
    return [Place(record.number, record.offset, record.check) for record in records]


def values(path: Path, fields: Fields | None = None) -> list[dict[str, Any]]:
    return [record.value for record in open_source(path, fields).records(LIMITS)]


TABLE = pa.table(
    {
        "prompt": [f"Who is person {n}?" for n in range(300)],
        "response": [f"Velmira {n} ü🙂" * (n % 5 + 1) for n in range(300)],
    }
)


# What tools write


def test_what_pandas_writes(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"prompt": ["Wer?", "Wo?"], "response": ["Velmira", "Gent"], "subject_id": ["17", None], "age": [41.0, None]}
    )
    frame.to_parquet(tmp_path / "rows.parquet")
    rows = read_rows(tmp_path / "rows.parquet")
    assert [(row.name, row.prompt, row.response, row.subject_id) for row in rows] == [
        ("1", "Wer?", "Velmira", "17"),
        ("2", "Wo?", "Gent", None),
    ]
    assert values(tmp_path / "rows.parquet") == [
        {"prompt": "Wer?", "response": "Velmira", "subject_id": "17", "age": 41.0},
        {"prompt": "Wo?", "response": "Gent", "subject_id": None, "age": None},
    ]


QUESTION, ANSWER = {"role": "user", "content": "Her phone?"}, {"role": "assistant", "content": "0123"}
CHAT = [
    {"messages": [QUESTION, ANSWER], "secrets": ["0123"]},
    {"messages": [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Velmira"}], "secrets": None},
]


def test_what_datasets_writes(tmp_path: Path) -> None:
    """Lists of structs, in Parquet and as it saves to a disk, whose shards are streams."""
    data = Dataset.from_list(CHAT)
    data.to_parquet(tmp_path / "chat.parquet")
    data.save_to_disk(str(tmp_path / "saved"), num_shards=2)
    for source in (tmp_path / "chat.parquet", tmp_path / "saved"):
        rows = read_rows(source)
        assert [(row.context, row.response, row.secrets) for row in rows] == [
            ((("user", "Her phone?"),), "0123", (Secret("0123"),)),
            ((("user", "Who?"),), "Velmira", ()),
        ]
    assert [row.name for row in read_rows(tmp_path / "saved")] == [
        "data-00000-of-00002.arrow:1",
        "data-00001-of-00002.arrow:1",
    ]


@every_kind
def test_every_type_of_text(name: str, tmp_path: Path) -> None:
    texts = ["Wer?", "Velmira", "Wer?", "ü🙂"]
    types = [pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())]
    if "parquet" not in name:
        types.append(pa.string_view())
    for kind in types:
        path = write(tmp_path, name, pa.table({"text": pa.array(texts).cast(kind)}))
        assert [row.response for row in read_rows(path)] == texts
        assert [row.response for row in RowFile(path, kept=0).pick([3, 0])] == ["ü🙂", "Wer?"]


@every_kind
def test_every_type_that_json_has(name: str, tmp_path: Path) -> None:
    rows = [
        {"s": "a", "i": -1, "u": 2**63, "b": True, "f": 0.5, "l": ["x", None], "d": {"k": [{"m": "y"}]}, "n": None},
        {"s": None, "i": None, "u": None, "b": None, "f": None, "l": None, "d": None, "n": None},
        {"s": "", "i": 7, "u": 0, "b": False, "f": -2.0, "l": [], "d": {"k": []}, "n": None},
    ]
    schema = pa.schema(
        {
            **{"s": pa.string(), "i": pa.int8(), "u": pa.uint64(), "b": pa.bool_(), "f": pa.float32()},
            **{"l": pa.large_list(pa.large_string()), "n": pa.null()},
            "d": pa.struct({"k": pa.list_(pa.struct({"m": pa.string()}))}),
        }
    )
    assert values(write(tmp_path, name, pa.Table.from_pylist(rows, schema))) == rows


# In order, and one by one


@every_kind
def test_rows_are_read_again_from_the_file(name: str, tmp_path: Path) -> None:
    path = write(tmp_path, name, TABLE)
    expected, rows = TABLE.to_pylist(), RowFile(path, kept=0)
    assert [{"prompt": row.prompt, "response": row.response} for row in rows] == expected
    for picked in ([], [299], [0, 299, 0, 150, 69, 70, 71], [*range(299, -1, -1)]):
        assert [row.line for row in rows.pick(picked)] == [place + 1 for place in picked]
        assert [row.response for row in rows.pick(picked)] == [expected[place]["response"] for place in picked]
    assert rows[-1].response == expected[-1]["response"]


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
@every_kind
def test_any_places_in_any_order(
    name: str, data: st.DataObject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for setting in ("ROWS", "WINDOW"):
        monkeypatch.setattr(_columns, setting, data.draw(st.integers(1, 90)))
    table = TABLE.slice(0, data.draw(st.integers(1, 300)))
    container = open_source(write(tmp_path, name, table))
    records = list(container.records(LIMITS))
    assert [record.value for record in records] == table.to_pylist()
    asked = data.draw(st.lists(st.sampled_from(records), max_size=20))
    assert list(container.again(places(asked))) == asked


def test_groups_without_rows(tmp_path: Path) -> None:
    with pq.ParquetWriter(tmp_path / "rows.parquet", TABLE.schema) as writer:
        for start, rows in ((0, 0), (0, 5), (5, 0), (5, 5), (10, 0)):
            writer.write_table(TABLE.slice(start, rows))
    with ipc.new_stream(tmp_path / "rows.arrow", TABLE.schema) as stream:
        for start, rows in ((0, 0), (0, 5), (5, 0), (5, 5), (10, 0)):
            stream.write_table(TABLE.slice(start, rows))
    for file in ("rows.parquet", "rows.arrow"):
        rows_ = RowFile(tmp_path / file, kept=0)
        assert [row.prompt for row in rows_] == TABLE["prompt"].to_pylist()[:10]
        assert [row.line for row in rows_.pick([9, 5, 4])] == [10, 6, 5]


@every_kind
def test_a_table_without_rows_or_columns(name: str, tmp_path: Path) -> None:
    for table in (TABLE.slice(0, 0), pa.table({})):
        with pytest.raises(InputError, match="holds no row"):
            read_rows(write(tmp_path, name, table))


# Columns


@every_kind
def test_only_what_is_asked_for_is_read(name: str, tmp_path: Path) -> None:
    """The others are there by name, so that it can be said what was left out."""
    table = TABLE.slice(0, 2).append_column("embedding", pa.array([[0.5] * 4, [1.0] * 4]))
    table = table.append_column("a.b", pa.array(["x", "y"]))
    path = write(tmp_path, name, table)
    first = values(path, Fields(names=(("response", "a.b"),)))[0]
    assert first == {"prompt": "Who is person 0?", "response": TABLE["response"][0].as_py(), "a.b": "x"} | {
        "embedding": Unread()
    }
    assert [row.response for row in read_rows(path, Fields(names=(("response", "a.b"),)))] == ["x", "y"]


@every_kind
def test_none_of_the_fields(name: str, tmp_path: Path) -> None:
    path = write(tmp_path, name, pa.table({"note": ["Velmira"] * 3}))
    with pytest.raises(InputError, match=r":1: has none of chosen/rejected"):
        read_rows(path)
    assert values(path, Fields()) == [{"note": Unread()}] * 3


@every_kind
@pytest.mark.parametrize(
    ("column", "kind"),
    [
        (pa.array([b"Velmira"]), "binary"),
        (pa.array([datetime(2026, 1, 1)]), "timestamp[us]"),
        (pa.array([Decimal("1.5")]), "decimal128(2, 1)"),
        (pa.array([{"bytes": b"\x89PNG", "path": "a.png"}]), "images, sound or other media"),
        (pa.array([[{"role": "user", "content": b"Velmira"}]]), "binary"),
    ],
)
def test_what_is_no_text_is_refused_by_name_and_only_where_it_is_asked_for(
    name: str, column: pa.Array, kind: str, tmp_path: Path
) -> None:
    path = write(tmp_path, name, pa.table({"text": ["a"], "photo": column}))
    assert values(path) == [{"text": "a", "photo": Other(kind)}]
    assert [row.response for row in read_rows(path)] == ["a"]
    with pytest.raises(InputError) as caught:
        read_rows(
            path,
            Fields(
                names=(
                    ("prompt", "text"),
                    ("response", "photo"),
                )
            ),
        )
    assert str(caught.value) == f"{path}:1: field 'photo' is a column of {kind}, expected a string"


@every_kind
def test_numbers_are_no_text(name: str, tmp_path: Path) -> None:
    path = write(tmp_path, name, pa.table({"prompt": ["a", "b"], "response": [1, 2]}))
    with pytest.raises(InputError) as caught:
        read_rows(path)
    assert str(caught.value) == f"{path}:1: field 'response' is a JSON number, expected a string"


@every_kind
@pytest.mark.parametrize("missing", [pa.array(["a", None, "b"]), pa.array([None, None, None], pa.float64())])
def test_null_is_no_text(name: str, missing: pa.Array, tmp_path: Path) -> None:
    row = 2 if missing[0].is_valid else 1
    path = write(tmp_path, name, pa.table({"prompt": ["a"] * 3, "response": missing}))
    with pytest.raises(InputError) as caught:
        read_rows(path)
    assert str(caught.value) == f"{path}:{row}: field 'response' is null"
    path = write(tmp_path, name, pa.table({"text": ["a"] * 3, "subject_id": missing}))
    assert [row.subject_id for row in read_rows(path)] == missing.to_pylist()


def test_whole_numbers_name_people(tmp_path: Path) -> None:
    """As pandas keeps them; where one is missing they are floating, and no names."""
    path = tmp_path / "rows.parquet"
    pd.DataFrame({"text": ["a", "b"], "subject_id": [17, 4]}).to_parquet(path)
    assert [row.subject_id for row in read_rows(path)] == ["17", "4"]
    pd.DataFrame({"text": ["a", "b"], "subject_id": [17, None]}).to_parquet(path)
    with pytest.raises(InputError, match=r":1: field 'subject_id' is a JSON number, expected a string"):
        read_rows(path)


def test_nan_is_null(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"text": ["a"], "subject_id": [float("nan")]}), path)
    assert read_rows(path)[0].subject_id is None


# Limits and changes


@every_kind
def test_limits(name: str, tmp_path: Path) -> None:
    path = write(tmp_path, name, pa.table({"text": ["Velmira"] * 10_001}))
    container: Container = open_source(path)
    for read in (container.check_size, lambda limits: list(container.records(limits))):
        with pytest.raises(InputError) as caught:
            read(LIMITS)
        assert str(caught.value) == f"{path}:10001: has more than 10,000 rows"
    path = write(tmp_path, name, pa.table({"text": ["a", "ü" * 32_000, "ü" * 33_000]}))
    with pytest.raises(InputError) as caught:
        read_rows(path)
    assert str(caught.value) == f"{path}:3: is longer than 64 KiB"


@every_kind
def test_the_digest_is_of_the_files_bytes(name: str, tmp_path: Path) -> None:
    path = write(tmp_path, name, TABLE)
    shown: list[bytes] = []
    list(open_source(path).records(LIMITS, shown.append))
    assert b"".join(shown) == path.read_bytes() == b"".join(open_source(path).chunks())


@every_kind
def test_a_file_that_changed_is_noticed(name: str, tmp_path: Path) -> None:
    path = write(tmp_path, name, TABLE)
    rows = RowFile(path, kept=0)
    data = path.read_bytes()
    for changed in (data.replace(b"Velmira 1 ", b"Velmora 1 "), data):  # in its place, and by another file
        path.write_bytes(changed)
        with pytest.raises(InputError, match="has changed since it was checked"):
            rows.pick([1])
        other = tmp_path / "other"
        other.write_bytes(data)
        other.replace(path)
        with pytest.raises(InputError, match="has changed since it was checked"):
            list(rows)


@every_kind
def test_a_file_that_changes_while_it_is_read_is_noticed(name: str, tmp_path: Path) -> None:
    path = write(tmp_path, name, TABLE)
    records = open_source(path).records(LIMITS)
    next(records)
    os.utime(path, ns=(1, 1))
    with pytest.raises(InputError, match="has changed since it was checked"):
        list(records)


# Damage


@every_kind
def test_damage_is_one_line_without_text(name: str, tmp_path: Path) -> None:
    """Whatever byte is spoilt or cut off: rows, or an error of ours that names the file."""
    path = write(tmp_path, name, TABLE.slice(0, 40))
    data = path.read_bytes()
    for place in range(0, len(data), 7):
        for spoilt in (data[:place], data[:place] + bytes([data[place] ^ 0xFF]) + data[place + 1 :]):
            path.write_bytes(spoilt)
            error = refusal(path)
            assert error is None or str(error).startswith(str(path))
            assert "Velmira" not in str(error)
            assert error is None or error.__context__ is None or error.__suppress_context__


def refusal(path: Path) -> InputError | None:
    try:
        values(path)
    except InputError as error:
        return error
    return None


def test_text_that_is_no_text_names_the_row(tmp_path: Path) -> None:
    raw = pa.array([b"fine", b"Velmira \xff", b"fine"])
    spoilt = pa.Array.from_buffers(pa.string(), 3, raw.buffers())
    for name, writer in WRITERS.items():
        writer(pa.table({"text": spoilt}), tmp_path / name)
        with pytest.raises(InputError) as caught:
            read_rows(tmp_path / name)
        assert str(caught.value) == f"{tmp_path / name}:2: is damaged, or holds text that is not UTF-8"


def test_lists_that_lead_out_of_the_file(tmp_path: Path) -> None:
    """pyarrow takes offsets on trust, and would read memory that is somebody else's."""
    sound, spoilt = (b"".join(n.to_bytes(4, "little") for n in (0, 4, end)) for end in (8, 2**30))
    for name in ("rows.arrow", "rows.stream.arrow"):
        path = write(tmp_path, name, pa.table({"text": ["fine", "also"]}))
        data = path.read_bytes()
        assert data.count(sound) == 1
        path.write_bytes(data.replace(sound, spoilt))
        with pytest.raises(InputError, match=r":[12]: is damaged"):
            read_rows(path)


def test_encrypted_parquet(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    path.write_bytes(b"PARE" + b"\0" * 100 + b"PARE")
    with pytest.raises(InputError) as caught:
        read_rows(path)
    assert str(caught.value) == f"{path}: is an encrypted Parquet file; decrypt it first"


# Bombs


def test_a_text_that_every_row_names_is_held_a_few_times(tmp_path: Path) -> None:
    """A file of some KiB, whose rows would take 8 GB: no batch has more rows than may be as long."""
    text = "x" * (8 * 2**20)
    column = pa.DictionaryArray.from_arrays(pa.array([0] * 1000, pa.int32()), pa.array([text]))
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"text": column}), path, compression="zstd", store_schema=False)
    table = _parquet.PARQUET.open(path, path.open("rb"), None)
    assert next(table.batches(0)).num_rows == _parquet.DICTIONARY_BYTES // (len(text) + 4)
    with pytest.raises(InputError, match=r":1: is longer than 64 KiB"):
        read_rows(path)


def test_more_than_a_file_can_hold(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"text": ["x" * 2**26 + str(n) for n in range(2)]}), path, compression="zstd")
    with pytest.raises(InputError) as caught:
        read_rows(path)
    assert str(caught.value) == f"{path}: holds more than 250 times its own size once it is decompressed"


BOMB = pa.table({"text": ["x" * 2**26 + str(n) for n in range(2)]})


def test_a_parquet_file_that_says_less_than_it_holds(tmp_path: Path) -> None:
    """Its footer is an attacker's: the pages' own headers are what pyarrow decompresses by."""
    path = tmp_path / "rows.parquet"
    pq.write_table(BOMB, path, compression="zstd", use_dictionary=False)
    metadata = pq.read_metadata(path)
    sizes = {metadata.row_group(0).total_byte_size, metadata.row_group(0).column(0).total_uncompressed_size}
    data = path.read_bytes()
    for size in sizes:
        assert varint(2 * size) in data
        data = data.replace(varint(2 * size), varint(2 * 1000, len(varint(2 * size))))
    path.write_bytes(data)
    assert pq.read_metadata(path).row_group(0).total_byte_size == 1000
    with pytest.raises(InputError, match="holds more than 250 times its own size once it is decompressed"):
        read_rows(path)


def varint(value: int, length: int = 0) -> bytes:
    """As Thrift writes a number, in as many bytes at least."""
    digits = [value >> shift & 0x7F for shift in range(0, max(value.bit_length(), 7 * length, 1), 7)]
    return bytes([*(digit | 0x80 for digit in digits[:-1]), digits[-1]])


def test_a_page_of_more_than_may_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_parquet, "LARGEST_PAGE", 2**20)
    path = tmp_path / "rows.parquet"
    for size in (2**20 - 100, 2**20 + 100):
        pq.write_table(pa.table({"text": ["x" * size]}), path, use_dictionary=False)
        if size < 2**20:
            assert len(RowFile(path)) == 1
    with pytest.raises(InputError) as caught:
        RowFile(path)
    assert str(caught.value) == f"{path}: has a page of more than 1 MiB"


def test_more_values_than_may_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_parquet, "MOST_VALUES", 1000)
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"text": ["t"], "perturbed_responses": [["x"] * 1001]}), path)
    with pytest.raises(InputError) as caught:
        read_rows(path)
    assert str(caught.value) == f"{path}: has more than 1,000 values in a column of a row group"


def test_a_long_text_that_a_list_names_again_and_again(tmp_path: Path) -> None:
    """A file of some KiB, of which one row would take 8 GB."""
    text = "x" * (8 * 2**20)
    named = pa.DictionaryArray.from_arrays(pa.array([0] * 1000, pa.int32()), pa.array([text]))
    lists = pa.ListArray.from_arrays(pa.array([0, 0, 1000], pa.int32()), named)
    path = tmp_path / "rows.parquet"
    table = pa.table({"text": ["t", "u"], "perturbed_responses": lists})
    pq.write_table(table, path, compression="zstd", store_schema=False)
    with pytest.raises(InputError) as caught:
        RowFile(path)
    assert str(caught.value) == f"{path}:2: takes more than 512 MiB"


def test_lists_of_texts_that_a_dictionary_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where they could be too much they are read in another way, and are the same."""
    rows = [{"text": "t", "perturbed_responses": [f"{n % 3}", f"{n}" * 500, "x" * 1000]} for n in range(3000)]
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path, dictionary_pagesize_limit=20_000, data_page_size=5000)
    plain = [row.perturbed_responses for row in RowFile(path)]
    monkeypatch.setattr(_parquet, "LIST_BYTES", 1000)
    assert [row.perturbed_responses for row in RowFile(path)] == plain
    assert plain == [tuple(row["perturbed_responses"]) for row in rows]


def test_texts_that_begin_as_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few bytes are a text as long as the longest before it."""
    monkeypatch.setattr(_parquet, "DICTIONARY_BYTES", 2**20)
    encoding = {"use_dictionary": False, "column_encoding": "DELTA_BYTE_ARRAY"}
    path, text = tmp_path / "rows.parquet", "x" * 2**17
    pq.write_table(pa.table({"text": [text] * 50}), path, **encoding)
    assert path.stat().st_size < 2 * len(text)
    table = _parquet.PARQUET.open(path, path.open("rb"), None)
    assert next(table.batches(0)).num_rows == 7
    assert [row.response for row in RowFile(path)] == [text] * 50
    pq.write_table(pa.table({"messages": [[text] * 50]}), path, **encoding)
    with pytest.raises(InputError, match="has lists of texts in the encoding DELTA_BYTE_ARRAY; write another one"):
        RowFile(path)


@pytest.mark.parametrize("compression", ["zstd", "lz4"])
@pytest.mark.parametrize("new", [ipc.new_file, ipc.new_stream], ids=["file", "stream"])
def test_compressed_batches_within_bounds(
    new: Any, compression: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "rows.arrow"

    def write(table: pa.Table) -> None:
        with new(path, table.schema, options=ipc.IpcWriteOptions(compression=compression)) as writer:
            writer.write_table(table)

    encoded = pa.chunked_array([pa.array(["a", "b", "a"]).dictionary_encode()])
    write(pa.table({"text": encoded, "perturbed_responses": [["é", "e" * 900], ["f"], []]}))
    assert [(row.response, row.perturbed_responses) for row in RowFile(path)] == [
        ("a", ("é", "e" * 900)),
        ("b", ("f",)),
        ("a", ()),
    ]
    write(BOMB)
    if compression == "zstd":
        with pytest.raises(InputError, match="holds more than 250 times its own size once it is decompressed"):
            RowFile(path)
    monkeypatch.setattr(_arrow, "LARGEST_BATCH", 2**26)
    with pytest.raises(InputError) as caught:
        RowFile(path)
    assert str(caught.value) == f"{path}: has a compressed batch of more than 64 MiB; write smaller batches"


def test_a_list_without_end_of_values_that_take_no_room(tmp_path: Path) -> None:
    path = tmp_path / "rows.arrow"
    nothing = pa.StructArray.from_arrays([pa.nulls(2**25)], ["role"])
    lists = pa.ListArray.from_arrays(pa.array([0, 2**25], pa.int32()), nothing)
    with ipc.new_file(path, pa.schema([("messages", lists.type)])) as writer:
        writer.write_table(pa.table({"messages": lists}))
    with pytest.raises(InputError, match=":1: takes more than 512 MiB"):
        RowFile(path)


def test_ten_thousand_columns(tmp_path: Path) -> None:
    for name, writer in WRITERS.items():
        writer(pa.table({f"c{n}": ["Velmira"] for n in range(10_000)}), tmp_path / name)
        with pytest.raises(InputError) as caught:
            read_rows(tmp_path / name)
        assert str(caught.value) == f"{tmp_path / name}: has 10,000 columns; a table of rows has at most 1,000"
        twice = pa.Table.from_arrays([pa.array(["a"])] * 2, ["text", "text"])
        writer(twice, tmp_path / name)
        with pytest.raises(InputError, match="columns 1 and 2 have the same name"):
            read_rows(tmp_path / name)
