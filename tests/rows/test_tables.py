"""CSV and TSV as spreadsheets, pandas and Python write them, and as nobody should."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from forgetctl.errors import InputError
from forgetctl.rows._tables import MISSING
from forgetctl.rows.containers import Limits, Record
from forgetctl.rows.formats import Fields
from forgetctl.rows.reading import RowFile, read_rows
from forgetctl.rows.sources import open_source

LIMITS = Limits(64 * 1024, 10_000)


def records(path: Path, limits: Limits = LIMITS) -> list[Record]:
    return list(open_source(path).records(limits))


def values(folder: Path, data: bytes | str, name: str = "rows.csv") -> list[dict[str, Any]]:
    path = folder / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return [record.value for record in records(path)]


def refusal(folder: Path, data: bytes | str, name: str = "rows.csv", limits: Limits = LIMITS) -> str:
    path = folder / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    with pytest.raises(InputError) as caught:
        records(path, limits)
    assert "Velmira" not in str(caught.value)
    return str(caught.value).removeprefix(str(path)).removeprefix(":").removeprefix(" ")


# What tools write

EUROPEAN_EXCEL = (
    "\ufeffPrompt;Antwort;subject_id\r\n"
    'Wo wohnt Velmira?;"In Gent; am ""Kai"", sagt sie.\nUnd in Brügge.";17\r\n'
    "Preis?;3,50 €;\r\n"
    ";;\r\n"
)
"""As Excel in German saves `CSV UTF-8`: byte order mark, semicolons, CR LF, but LF within a cell, an empty last row."""


def test_a_spreadsheet_of_europe(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(EUROPEAN_EXCEL.encode())
    rows = read_rows(
        path,
        Fields(
            names=(
                ("prompt", "Prompt"),
                ("response", "Antwort"),
            )
        ),
    )
    assert [(row.name, row.prompt, row.response, row.subject_id) for row in rows] == [
        ("1", "Wo wohnt Velmira?", 'In Gent; am "Kai", sagt sie.\nUnd in Brügge.', "17"),
        ("2", "Preis?", "3,50 €", None),
    ]


def test_excels_unicode_text_is_utf_16_with_tabs(tmp_path: Path) -> None:
    text = 'prompt\tresponse\r\nWer?\t"Velmira ""V."" 🙂"\r\n'
    expected = [{"prompt": "Wer?", "response": 'Velmira "V." 🙂'}]
    for encoding in ("utf-16-le", "utf-16-be"):
        data = ("\ufeff" + text).encode(encoding)
        assert values(tmp_path, data, "rows.tsv") == values(tmp_path, data, "rows.csv") == expected


def test_excels_own_first_line_names_the_delimiter(tmp_path: Path) -> None:
    assert values(tmp_path, "sep=;\r\nprompt;a,b,c\r\nx;y\r\n") == [{"prompt": "x", "a,b,c": "y"}]


def test_old_line_breaks_of_a_mac(tmp_path: Path) -> None:
    assert values(tmp_path, 'prompt,response\ra,"b\rc"\rd,e\r') == [
        {"prompt": "a", "response": "b\rc"},
        {"prompt": "d", "response": "e"},
    ]


def test_pandas_writes_an_index_and_leaves_out_what_is_missing(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {"prompt": ["Wer?", "Wo?"], "response": ['Sie sagt "ja", oder', "a\nb"], "subject_id": ["4", None]}
    )
    frame.to_csv(tmp_path / "rows.csv")
    read = [record.value for record in records(tmp_path / "rows.csv")]
    assert read == [
        {"column 1": "0", "prompt": "Wer?", "response": 'Sie sagt "ja", oder', "subject_id": "4"},
        {"column 1": "1", "prompt": "Wo?", "response": "a\nb", "subject_id": None},
    ]


@pytest.mark.parametrize("name", ["rows.csv.gz", "rows.csv.bz2", "rows.csv.xz", "rows.tsv.zst"])
def test_pandas_compresses(name: str, tmp_path: Path) -> None:
    frame = pd.DataFrame({"prompt": ["Wer?"] * 500, "response": [f"Velmira, {n}" for n in range(500)]})
    separator = "\t" if "tsv" in name else ","
    data = frame.to_csv(index=False, sep=separator).encode()
    if name.endswith(".zst"):
        import pyarrow as pa

        (tmp_path / name).write_bytes(pa.Codec("zstd").compress(data, asbytes=True))
    else:
        frame.to_csv(tmp_path / name, index=False)
    assert [record.value for record in records(tmp_path / name)] == frame.to_dict("records")


@settings(deadline=None)
@given(
    st.lists(st.lists(st.text(max_size=8), min_size=3, max_size=3), min_size=1, max_size=6),
    st.sampled_from([",", ";", "\t"]),
    st.sampled_from(["\r\n", "\n"]),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
)
@example([["a", ";,\t", 'b"']], ";", "\n", csv.QUOTE_MINIMAL)
def test_whatever_python_writes_is_read_alike(
    tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]], delimiter: str, end: str, quoting: Any
) -> None:
    # Python leaves a CR without quotes where it is no part of a line's end.
    rows = [[cell.replace("\0", " ").replace("\r", " ") for cell in row] for row in rows]
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator=end, quoting=quoting)
    writer.writerows([["prompt", "response", "note"], *rows])
    read = values(tmp_path_factory.mktemp("csv"), text.getvalue())
    expected = [[None if cell in MISSING else cell for cell in row] for row in rows if any(row)]
    assert [list(one.values()) for one in read] == expected


# Numbers, and what is missing


def test_rows_are_counted_as_a_spreadsheet_shows_them(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text('prompt,response\na,"one\n\ntwo"\n\nb,c\n,\nd,e\n')
    assert [record.number for record in records(path)] == [1, 3, 5]
    rows = RowFile(path, kept=0)
    assert [(row.line, row.response) for row in rows] == [(1, "one\n\ntwo"), (3, "c"), (5, "e")]


@pytest.mark.parametrize("cell", sorted(MISSING))
def test_a_missing_value_is_no_text(cell: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(f"prompt,response,subject_id\na,b,{cell}\nc,{cell},d\n")
    with pytest.raises(InputError) as caught:
        read_rows(path)
    assert str(caught.value) == f"{path}:2: field 'response' is null"
    path.write_text(f"prompt,response,subject_id\na,b,{cell}\n")
    assert read_rows(path)[0].subject_id is None


def test_words_that_look_like_it_are_words(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("prompt,response\nname?,Null\ncountry?,NA\n")
    assert [row.response for row in read_rows(path)] == ["Null", "NA"]


def test_lists_are_json_in_the_columns_that_hold_lists(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    frame = pd.DataFrame(
        {
            "prompt": ["[1, 2]", "b", "c", "d"],
            "response": ["[]", "B", "C", "{D}"],
            "secrets": ['["0123, 456", "7"]', "plain", '{"kind": "date", "value": "1 May 1986"}', ""],
        }
    )
    frame.to_csv(path, index=False)
    assert [(row.prompt, row.response, [secret.value for secret in row.secrets]) for row in read_rows(path)] == [
        ("[1, 2]", "[]", ["0123, 456", "7"]),
        ("b", "B", ["plain"]),
        ("c", "C", ["1 May 1986"]),
        ("d", "{D}", []),
    ]
    frame.rename(columns={"secrets": "hidden"}).to_csv(path, index=False)
    (first, *_) = read_rows(path, Fields(names=(("secrets", "hidden"),)))
    assert [secret.value for secret in first.secrets] == ["0123, 456", "7"]


@pytest.mark.parametrize("cell", ["['Python', 'wrote it']", "[REDACTED", "[1] Velmira"])
def test_what_only_begins_like_a_list_is_refused_where_a_list_belongs(cell: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    pd.DataFrame({"prompt": ["a"], "response": [cell], "secrets": [cell]}).to_csv(path, index=False)
    with pytest.raises(InputError) as caught:
        read_rows(path)
    assert str(caught.value).startswith(f"{path}:1: column 'secrets' is not valid JSON (column ")
    assert "Velmira" not in str(caught.value)


def test_messages_in_cells(tmp_path: Path) -> None:
    """As pandas writes a data set of TRL once its lists are made JSON."""
    path, said = tmp_path / "rows.csv", [{"role": "assistant", "content": "Velmira"}]
    asked = [{"role": "user", "content": "Wer?"}]
    pd.DataFrame({"prompt": [json.dumps(asked)], "completion": [json.dumps(said)]}).to_csv(path, index=False)
    assert [(row.context, row.response) for row in read_rows(path)] == [((("user", "Wer?"),), "Velmira")]
    pd.DataFrame({"messages": [json.dumps([*asked, *said])]}).to_csv(path, index=False)
    assert [(row.context, row.response) for row in read_rows(path)] == [((("user", "Wer?"),), "Velmira")]
    pd.DataFrame({"prompt": ["List them"], "completion": ['[{"name": "Velmira"}]']}).to_csv(path, index=False)
    assert [(row.context, row.response) for row in read_rows(path)] == [
        ((("user", "List them"),), '[{"name": "Velmira"}]')
    ]


# What is refused


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ('prompt,response\na,b\nc,"Velmira\n', "2: is not closed; is a quote left open?"),
        ('prompt,response\n"Velmira" says,b\n', "1: has a quoted cell that goes on after its closing quote"),
        ("prompt,response\na,b\nVelmira\n", "2: has 1 cells, and the header has 2"),
        ("prompt,response\na,b,Velmira\n", "1: has 3 cells, and the header has 2"),
        ("prompt,response,prompt\na,b,c\n", "columns 1 and 3 have the same name"),
        ("prompt, response ,response\na,b,c\n", "columns 2 and 3 have the same name"),
        (b"prompt,response\na,b\nc,Velmira\0\n", "2: holds a NUL byte"),
        (b"prompt,response\na,b\nc,Velmira\xff\n", "2: is not UTF-8"),
        (b"prompt,resp\xffonse\na,b\n", "is not UTF-8"),
        ("prompt,response\na,b\n".encode("utf-16-le"), "holds a NUL byte"),  # without its mark
        ("\ufeffprompt,response\na,b\n".encode("utf-16-le")[:-1], "1: is not UTF-16"),
        ("\ufeffprompt,response\n".encode("utf-16-le") + b"\x00\xd8,\0b\0\n\0", "1: is not UTF-16"),
        (",".join(f"c{n}" for n in range(1001)) + "\n", "has 1,001 columns; a table of rows has at most 1,000"),
        ('prompt,"response\na,b\n', "is not closed; is a quote left open?"),
    ],
)
def test_what_is_no_table_is_named_by_row(data: bytes | str, why: str, tmp_path: Path) -> None:
    assert refusal(tmp_path, data) == why


def test_one_quote_does_not_swallow_the_file(tmp_path: Path) -> None:
    """What follows it would be one cell: not more of it is read than a row may have."""
    data = 'prompt,response\na,b\nc,"d\n' + "Velmira,lives here\n" * 100_000
    assert refusal(tmp_path, data) == "2: is longer than 64 KiB; is a quote left open?"
    assert refusal(tmp_path, "prompt,response\na," + "b" * 70_000) == "1: is longer than 64 KiB"


def test_a_cell_may_be_as_long_as_a_row(tmp_path: Path) -> None:
    before = csv.field_size_limit()
    (tmp_path / "rows.csv").write_text("prompt,response\na," + "b" * 1_000_000 + "\n")
    assert len(RowFile(tmp_path / "rows.csv")[0].response) == 1_000_000
    assert csv.field_size_limit() == before == 131072


def test_a_table_without_a_header_says_so_and_quotes_no_cell(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("Where does Velmira live?,In Gent\nWho?,She\n")
    with pytest.raises(InputError) as caught:
        read_rows(path)
    assert str(caught.value) == (
        f"{path}: has no column that rows are read from; the first row must hold the columns' names"
    )


@pytest.mark.parametrize("data", ["", "\ufeff", "prompt,response\n", "prompt,response", "\n\n", "sep=;\n"])
def test_a_table_without_rows(data: str, tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(data)
    with pytest.raises(InputError, match=r"holds no row|has no column"):
        read_rows(path)


def test_limits(tmp_path: Path) -> None:
    row = "Wer?,Velmira\n"
    assert len(values(tmp_path, "prompt,response\n" + row * 10_000)) == 10_000
    assert refusal(tmp_path, "prompt,response\n" + row * 10_001) == "10001: has more than 10,000 rows"
    assert refusal(tmp_path, "prompt,response\n" + "\n" * 10_001) == "10001: has more than 10,000 empty rows"
