"""JSON arrays, as LLaMA-Factory and pandas write them, against Python's own parser."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forgetctl.errors import InputError
from forgetctl.rows import _json_array
from forgetctl.rows.containers import Limits, Place
from forgetctl.rows.reading import RowFile, read_rows
from forgetctl.rows.sources import open_source

LIMITS = Limits(64 * 1024, 10_000)
LLAMA_FACTORY = """[
  {
    "instruction": "Who is Velmira?",
    "input": "",
    "output": "A \\"harbour\\" master in Gent. ✓"
  },
  {
    "instruction": "Translate.",
    "input": "Guten Tag {[",
    "output": "Good day ]}"
  }
]
"""
"""As its data/alpaca_en_demo.json: two blanks, text as it is."""


def values(path: Path, limits: Limits = LIMITS) -> list[Any]:
    return [record.value for record in open_source(path).records(limits)]


def refusal(folder: Path, data: str | bytes, limits: Limits = LIMITS) -> str:
    path = folder / "rows.json"
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    with pytest.raises(InputError) as caught:
        values(path, limits)
    assert "Velmira" not in str(caught.value)
    return str(caught.value).removeprefix(f"{path}:").removeprefix(" ")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_what_llama_factory_writes(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "alpaca.json"
    path.write_text(LLAMA_FACTORY, encoding=encoding)
    container = open_source(path)
    assert container.unit == "row"
    read = list(container.records(LIMITS))
    assert [record.value for record in read] == json.loads(LLAMA_FACTORY)
    assert [record.number for record in read] == [1, 2]


def test_what_pandas_writes(tmp_path: Path) -> None:
    frame = pd.DataFrame({"prompt": ["Wer?", "Wo?"], "response": ["Velmira/Ü", "x"], "subject_id": ["1", None]})
    frame.to_json(tmp_path / "rows.json", orient="records")
    assert [(row.response, row.subject_id) for row in read_rows(tmp_path / "rows.json")] == [
        ("Velmira/Ü", "1"),
        ("x", None),
    ]


def test_json_that_is_no_array_is_jsonl_whatever_its_name_says(tmp_path: Path) -> None:
    path = tmp_path / "tofu.json"
    path.write_text('\n{"question": "Wer?", "answer": "Velmira"}\n')
    assert [(row.name, row.response) for row in read_rows(path)] == [("2", "Velmira")]


def test_jsonl_is_jsonl_whatever_it_begins_with(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('[{"text": "Velmira"}]\n')
    with pytest.raises(InputError, match=r":1: is a JSON array, expected one object a line"):
        read_rows(path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(alphabet='ab\\"{}[],:\n🙂ü ', max_size=6),
    lambda part: st.lists(part, max_size=3) | st.dictionaries(st.text(alphabet='a"\\}]', max_size=3), part, max_size=3),
    max_leaves=6,
)  # fmt: skip


@settings(deadline=None)
@given(
    st.lists(st.dictionaries(st.text(max_size=3), JSON, max_size=3), max_size=5),
    st.sampled_from([None, 1, "\t"]),
    st.booleans(),
    st.integers(1, 40),
)
def test_any_array_is_read_alike_in_pieces_of_any_size(
    tmp_path_factory: pytest.TempPathFactory, array: list[Any], indent: Any, ascii_: bool, chunk: int
) -> None:
    path = tmp_path_factory.mktemp("json") / "rows.json"
    path.write_text(json.dumps(array, indent=indent, ensure_ascii=ascii_), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(_json_array, "CHUNK", chunk)
        container = open_source(path)
        read = list(container.records(LIMITS))
    assert [record.value for record in read] == array
    again = container.again([Place(record.number, record.offset, record.check) for record in read[::-1]])
    assert [record.value for record in again] == array[::-1]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ('[{"text": "a"}, {"text": "Velmira"', "2: ends within the array"),
        ('[{"text": "a"}, {"text": "Velmira', "2: ends within the array"),
        ('[{"text": "a"},', "2: ends within the array"),
        ("[", "1: ends within the array"),
        ('[{"text": "a"} {"text": "b"}]', "2: is not valid JSON (expected a comma or the end of the array)"),
        ('[{"text": "a"},]', "2: is a JSON value, expected one object a row"),
        ('[{"text": "a"}, "Velmira"]', "2: is a JSON string, expected one object a row"),
        ('[{"text": "a"}, ["Velmira"]]', "2: is a JSON array, expected one object a row"),
        ("[null]", "1: is a JSON null, expected one object a row"),
        ("[-1]", "1: is a JSON number, expected one object a row"),
        ("[NaN]", "1: is a JSON value, expected one object a row"),
        ('[{"text": "a"}] {"text": "b"}', "2: goes on after the end of the array"),
        ('[{"text": "a"}]\n[{"text": "b"}]', "2: goes on after the end of the array"),
        ('[{"text" "Velmira"}]', "1: is not valid JSON (Expecting ':' delimiter)"),
        ("[{'text': 'Velmira'}]", "1: is not valid JSON (Expecting property name enclosed in double quotes)"),
        ('[{"text": "a\nb"}]', "1: is not valid JSON (Invalid control character at)"),
        ('[{"text": "a", "n": NaN}]', "1: holds NaN or infinity, which are not JSON"),
        ('[{"text": "a", "n": 1e999}]', "1: holds a number that is too large"),
        ('[{"text": "a", "text": "b"}]', "1: has a key twice in one object"),
        ('[{"text": "\\ud800"}]', "1: holds a lone surrogate, which is not text"),
        ('[{"n": ' + "9" * 5000 + "}]", "1: holds a whole number that is too large"),
        ('[{"n": ' + "[" * 100 + "]" * 100 + "}]", "1: is nested too deeply"),
        ('[{"n": ' + "[" * 30_000, "1: is nested too deeply"),
        (b'[{"text": "a"}, {"text": "\xff"}]', "1: is not UTF-8"),
        (b'[{"text": "a"}, {"text": "\0"}]', "1: holds a NUL byte"),
        ('[{"text": "' + "x" * 65_600 + '"}]', "1: is longer than 64 KiB"),
        ('[{"text": "' + "x" * 1_000_000, "1: is longer than 64 KiB"),
    ],
)
def test_what_is_no_array_of_objects_is_named_by_row(data: str | bytes, why: str, tmp_path: Path) -> None:
    assert refusal(tmp_path, data) == why


def test_limits(tmp_path: Path) -> None:
    assert refusal(tmp_path, json.dumps([{"text": "a"}] * 10_001)) == "10001: has more than 10,000 rows"


def test_large_arrays_leave_their_rows_in_memory_compressed(tmp_path: Path) -> None:
    path = tmp_path / "rows.json.gz"
    array = [{"text": f"Velmira {n} " + "ü" * (n % 700)} for n in range(5000)]
    path.write_bytes(gzip.compress(json.dumps(array).encode()))
    rows = RowFile(path, kept=0)
    assert [row.response for row in rows] == [one["text"] for one in array]
    assert [row.line for row in rows.pick([4999, 3, 4000, 3])] == [5000, 4, 4001, 4]
    held = sum(map(len, rows._source._blocks._packed))  # type: ignore[attr-defined]
    assert held < path.stat().st_size * 3
